-- Expands only: the previous version goes on writing the plaintext columns, for as long as `plaintext` is active below.

CREATE TABLE field_keys (
    purpose text NOT NULL CHECK (purpose IN ('plaintext', 'encryption', 'blind_index')),
    number integer NOT NULL CHECK (number BETWEEN 0 AND 65535),
    status text NOT NULL CHECK (status IN ('filling', 'active', 'retiring', 'retired')),
    check_value bytea CHECK (octet_length(check_value) BETWEEN 31 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (purpose, number),
    CHECK ((purpose = 'plaintext') = (number = 0)),
    CHECK ((purpose = 'plaintext') = (check_value IS NULL)),
    CHECK (status <> 'filling' OR purpose = 'blind_index')
);
CREATE UNIQUE INDEX field_keys_active ON field_keys (purpose) WHERE status = 'active';
COMMENT ON TABLE field_keys IS 'The keys that personal data of this schema need, known by their numbers; the keys themselves are never here. `plaintext` stands for having none. Whoever writes personal data holds the advisory lock of this table shared, whoever changes a status holds it alone.';
COMMENT ON COLUMN field_keys.status IS 'filling: written beside the active one, not yet everywhere. active: written. retiring: written no more, still in use. retired: nothing uses it.';
COMMENT ON COLUMN field_keys.check_value IS 'Something that only this key makes, so that another key under its number is noticed.';
INSERT INTO field_keys (purpose, number, status) VALUES ('plaintext', 0, 'active');

-- contract: they stay filled until `plaintext` is retired in field_keys, when no version is left that reads nothing else.
-- squawk-ignore ban-drop-not-null
ALTER TABLE users ALTER COLUMN email DROP NOT NULL, ALTER COLUMN name DROP NOT NULL;

ALTER TABLE users
    ADD COLUMN email_encrypted bytea,
    ADD COLUMN name_encrypted bytea,
    ADD CONSTRAINT users_email_there CHECK (email_encrypted IS NOT NULL OR email IS NOT NULL) NOT VALID,
    ADD CONSTRAINT users_name_there CHECK (name_encrypted IS NOT NULL OR name IS NOT NULL) NOT VALID,
    ADD CONSTRAINT users_email_encrypted_length CHECK (octet_length(email_encrypted) BETWEEN 31 AND 512) NOT VALID,
    ADD CONSTRAINT users_name_encrypted_length CHECK (octet_length(name_encrypted) BETWEEN 31 AND 512) NOT VALID;
COMMENT ON TABLE users IS 'People who can log in. The login name is the normalised (lower case) e-mail, found through email_indexes; the hash is a PHC string.';
COMMENT ON COLUMN users.email IS 'Written only while a version that needs it may be running; null everywhere once `plaintext` is retired in field_keys. The same for name, and for ip and user_agent of sessions.';

ALTER TABLE sessions
    ADD COLUMN ip_encrypted bytea,
    ADD COLUMN user_agent_encrypted bytea,
    ADD CONSTRAINT sessions_ip_encrypted_length CHECK (octet_length(ip_encrypted) BETWEEN 31 AND 512) NOT VALID,
    ADD CONSTRAINT sessions_user_agent_encrypted_length
        CHECK (octet_length(user_agent_encrypted) BETWEEN 31 AND 1055) NOT VALID;

CREATE TABLE email_indexes (
    value bytea PRIMARY KEY CHECK (octet_length(value) = 32),
    key_number integer NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    UNIQUE (user_id, key_number)
);
COMMENT ON TABLE email_indexes IS 'Finds users by e-mail, and keeps two from having the same: the HMAC-SHA-256 of it under each blind-index key that is filling or active in field_keys.';

COMMENT ON TABLE login_attempts IS 'Attempts since the last success, per e-mail, whether or not a user has it. Counted before the password is looked at, removed by success. email_hash is a keyed hash.';

-- Once there is no plaintext, no version brings any back.
CREATE FUNCTION refuse_plaintext() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('auth.field_keys'));
    IF NOT EXISTS (SELECT FROM field_keys WHERE purpose = 'plaintext' AND status = 'active') THEN
        RAISE EXCEPTION 'personal data are written encrypted only'
            USING HINT = 'A version of the service from before field encryption is still running: stop it.';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse_plaintext BEFORE INSERT ON users
    FOR EACH ROW WHEN (NEW.email IS NOT NULL OR NEW.name IS NOT NULL) EXECUTE FUNCTION refuse_plaintext();
CREATE TRIGGER refuse_plaintext BEFORE INSERT ON sessions
    FOR EACH ROW WHEN (NEW.ip IS NOT NULL OR NEW.user_agent IS NOT NULL) EXECUTE FUNCTION refuse_plaintext();

REVOKE DELETE ON field_keys FROM auth_runtime;
REVOKE UPDATE ON email_indexes FROM auth_runtime;
