CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE
        CHECK (octet_length(email) BETWEEN 6 AND 254 AND email = lower(email) AND email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    roles text[] NOT NULL
        CHECK (roles <@ ARRAY['customer', 'support', 'compliance', 'admin', 'superadmin', 'partner']),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    password_hash text NOT NULL CHECK (octet_length(password_hash) BETWEEN 1 AND 512),
    password_changed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
COMMENT ON TABLE users IS 'People who can log in. The e-mail is normalised (lower case) and is the login name; the hash is a PHC string.';
COMMENT ON COLUMN users.password_changed_at IS 'Moves when the owner sets another password, not when the same one is hashed anew.';

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    secret_hash bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    user_id uuid NOT NULL REFERENCES users (id),
    ip text CHECK (char_length(ip) <= 45),
    user_agent text CHECK (char_length(user_agent) <= 256),
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    idle_expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CHECK (idle_expires_at <= expires_at)
);
CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_idle_expires_at ON sessions (idle_expires_at);
COMMENT ON TABLE sessions IS 'Logins. The id is the sid of access tokens and no secret; the session credential is only kept as its SHA-256.';
COMMENT ON COLUMN sessions.idle_expires_at IS 'The session is over from here on: moved forward by use, never past expires_at.';

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE UNIQUE INDEX refresh_tokens_unused ON refresh_tokens (session_id) WHERE used_at IS NULL;
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_used_at ON refresh_tokens (used_at) WHERE used_at IS NOT NULL;
COMMENT ON TABLE refresh_tokens IS 'Tokens that renew a session: at most one unused per session; the used ones are kept to recognise a stolen one. They end with their session.';

CREATE TABLE login_attempts (
    email_hash bytea PRIMARY KEY CHECK (octet_length(email_hash) = 32),
    failures integer NOT NULL CHECK (failures BETWEEN 1 AND 1000),
    last_attempt_at timestamptz NOT NULL
);
CREATE INDEX login_attempts_last_attempt_at ON login_attempts (last_attempt_at);
COMMENT ON TABLE login_attempts IS 'Attempts since the last success, per e-mail, whether or not a user has it. Counted before the password is looked at, removed by success.';
