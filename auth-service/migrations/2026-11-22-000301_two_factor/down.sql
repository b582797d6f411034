DELETE FROM modules WHERE name = 'two-factor';
DROP FUNCTION two_factor_base;
DROP FUNCTION two_factor_ext_session;
ALTER TABLE sessions DROP COLUMN IF EXISTS two_factor_verified_at;
DROP TABLE IF EXISTS two_factor_required_roles, two_factor_attempts, pending_logins, remembered_devices, recovery_codes,
    two_factor_codes, two_factor_methods;
