DO $$
BEGIN
    IF to_regclass('two_factor_methods') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS invalidate_user_of_method ON two_factor_methods;
        DROP TRIGGER IF EXISTS invalidate_user_of_removed_method ON two_factor_methods;
    END IF;
    UPDATE modules SET migrations = array_remove(migrations, 'two_factor_of_users'),
            version = least(version, cardinality(migrations) - 1)
        WHERE name = 'two-factor';
END
$$;
DROP FUNCTION two_factor_of_users();
DROP TRIGGER invalidate_user_of_passkey ON passkeys;
DROP FUNCTION invalidate_user_of_row();
DROP FUNCTION has_second_factor(uuid);
