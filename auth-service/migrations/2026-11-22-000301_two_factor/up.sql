-- The module `two-factor`. Nothing of it is there until it is switched on.

CREATE FUNCTION two_factor_base() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $module$
BEGIN
    CREATE TABLE IF NOT EXISTS two_factor_methods (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        kind text NOT NULL CHECK (kind IN ('totp', 'email', 'sms')),
        secret_encrypted bytea NOT NULL CHECK (octet_length(secret_encrypted) BETWEEN 31 AND 512),
        last_step bigint CHECK (last_step >= 0),
        last_sent_at timestamptz,
        created_at timestamptz NOT NULL,
        activated_at timestamptz,
        last_used_at timestamptz,
        UNIQUE (user_id, kind),
        CHECK ((kind = 'totp') OR last_step IS NULL)
    );
    COMMENT ON TABLE two_factor_methods IS 'Second factors of users, of each kind at most one. It counts once it is activated, by having been used.';
    COMMENT ON COLUMN two_factor_methods.secret_encrypted IS 'Of totp the shared secret in base32, else where codes are sent to.';
    COMMENT ON COLUMN two_factor_methods.last_step IS 'The last time step whose code was accepted: that one and those before it are accepted no more.';
    COMMENT ON COLUMN two_factor_methods.last_sent_at IS 'When a code was last sent, which is not done again at once.';

    CREATE TABLE IF NOT EXISTS two_factor_codes (
        method_id uuid NOT NULL REFERENCES two_factor_methods (id) ON DELETE CASCADE,
        asked_by bytea NOT NULL CHECK (octet_length(asked_by) = 32),
        code_hash bytea NOT NULL CHECK (octet_length(code_hash) = 32),
        attempts_left integer NOT NULL CHECK (attempts_left BETWEEN 0 AND 5),
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (method_id, asked_by)
    );
    CREATE INDEX IF NOT EXISTS two_factor_codes_expires_at ON two_factor_codes (expires_at);
    COMMENT ON TABLE two_factor_codes IS 'Codes that were sent, as keyed hashes: six digits would be found from any other. Removed by being used.';
    COMMENT ON COLUMN two_factor_codes.asked_by IS 'The login or session that it was sent for, and that alone can use it.';

    CREATE TABLE IF NOT EXISTS recovery_codes (
        code_hash bytea PRIMARY KEY CHECK (octet_length(code_hash) = 32),
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE
    );
    CREATE INDEX IF NOT EXISTS recovery_codes_user_id ON recovery_codes (user_id);
    COMMENT ON TABLE recovery_codes IS 'What a user without the second factor gets in with, by SHA-256: random enough for that. Removed by being used.';
    REVOKE UPDATE ON recovery_codes FROM auth_runtime;

    CREATE TABLE IF NOT EXISTS remembered_devices (
        token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    );
    CREATE INDEX IF NOT EXISTS remembered_devices_user_id ON remembered_devices (user_id);
    CREATE INDEX IF NOT EXISTS remembered_devices_expires_at ON remembered_devices (expires_at);
    COMMENT ON TABLE remembered_devices IS 'Devices that are not asked for the second factor, by the SHA-256 of the token they have.';

    CREATE TABLE IF NOT EXISTS pending_logins (
        id uuid PRIMARY KEY,
        secret_hash bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        amr text[] NOT NULL CHECK (cardinality(amr) BETWEEN 1 AND 8),
        enrolling boolean NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    );
    CREATE INDEX IF NOT EXISTS pending_logins_user_id ON pending_logins (user_id);
    CREATE INDEX IF NOT EXISTS pending_logins_expires_at ON pending_logins (expires_at);
    COMMENT ON TABLE pending_logins IS 'Logins that wait for the second factor. Each becomes the session with its id and its credential, and until then is none: nothing that looks for sessions finds it.';
    COMMENT ON COLUMN pending_logins.enrolling IS 'The user must have a second factor and has none: the login goes on by setting one up.';

    CREATE TABLE IF NOT EXISTS two_factor_attempts (
        user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
        failures integer NOT NULL CHECK (failures BETWEEN 1 AND 1000),
        last_attempt_at timestamptz NOT NULL
    );
    COMMENT ON TABLE two_factor_attempts IS 'Codes tried since the last right one, per user, over all logins. Counted before the code is looked at.';

    CREATE TABLE IF NOT EXISTS two_factor_required_roles (
        role text PRIMARY KEY
            CHECK (role IN ('customer', 'support', 'compliance', 'admin', 'superadmin', 'partner'))
    );
    COMMENT ON TABLE two_factor_required_roles IS 'Whoever has one of these roles needs a second factor to log in.';
END
$module$;

CREATE FUNCTION two_factor_ext_session() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $module$
BEGIN
    ALTER TABLE sessions ADD COLUMN IF NOT EXISTS two_factor_verified_at timestamptz;
    COMMENT ON COLUMN sessions.two_factor_verified_at IS 'When a second factor was last given in this session, or before it began.';
END
$module$;

INSERT INTO modules (name, migrations) VALUES ('two-factor', ARRAY['two_factor_base', 'two_factor_ext_session']);
