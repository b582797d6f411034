CREATE TABLE bridge_secrets (
    id uuid PRIMARY KEY,
    secret_hash bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    kind text NOT NULL CHECK (kind IN ('server', 'browser')),
    slot integer NOT NULL CHECK (slot IN (1, 2)),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX bridge_secrets_slots ON bridge_secrets (kind, slot) WHERE revoked_at IS NULL;
COMMENT ON TABLE bridge_secrets IS 'What backends that validate sessions over the bridge are known by: two of each kind at a time, so that one can take the place of the other. Only their SHA-256 is kept.';
COMMENT ON COLUMN bridge_secrets.kind IS 'server: may validate sessions. browser: goes with an app that anybody can read, and may only register users.';
REVOKE DELETE ON bridge_secrets FROM auth_runtime;

CREATE TABLE instance_settings (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    validation_mode text NOT NULL DEFAULT 'standard'
        CHECK (validation_mode IN ('disabled', 'standard', 'advanced', 'strict')),
    session_lifetime_s integer NOT NULL DEFAULT 2592000 CHECK (session_lifetime_s BETWEEN 3600 AND 2592000),
    secret_for_registration boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO instance_settings DEFAULT VALUES;
COMMENT ON TABLE instance_settings IS 'What an administrator decides about logins while the service runs: one row.';
REVOKE INSERT, DELETE ON instance_settings FROM auth_runtime;
