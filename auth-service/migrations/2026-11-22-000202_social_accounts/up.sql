CREATE TABLE social_accounts (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider text NOT NULL CHECK (provider IN ('google', 'github', 'facebook', 'apple', 'discord', 'microsoft')),
    identity_hash bytea NOT NULL UNIQUE CHECK (octet_length(identity_hash) = 32),
    subject_encrypted bytea NOT NULL CHECK (octet_length(subject_encrypted) BETWEEN 31 AND 512),
    email_encrypted bytea CHECK (octet_length(email_encrypted) BETWEEN 31 AND 512),
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    UNIQUE (user_id, provider)
);
COMMENT ON TABLE social_accounts IS 'Accounts at other providers that log a user in: at most one of each provider, and each of one user.';
COMMENT ON COLUMN social_accounts.identity_hash IS 'SHA-256 of issuer and subject, which no e-mail can stand for: another person may get that later.';
COMMENT ON COLUMN social_accounts.email_encrypted IS 'As the provider said when it was linked; shown to the user and used for nothing.';

CREATE TABLE social_logins (
    state_hash bytea PRIMARY KEY CHECK (octet_length(state_hash) = 32),
    browser_hash bytea NOT NULL CHECK (octet_length(browser_hash) = 32),
    provider text NOT NULL CHECK (octet_length(provider) BETWEEN 1 AND 20),
    callback text NOT NULL CHECK (octet_length(callback) BETWEEN 1 AND 200),
    session_id uuid REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX social_logins_expires_at ON social_logins (expires_at);
CREATE INDEX social_logins_session_id ON social_logins (session_id) WHERE session_id IS NOT NULL;
COMMENT ON TABLE social_logins IS 'Visits to a provider that have not come back. A row is removed when one does.';
COMMENT ON COLUMN social_logins.browser_hash IS 'SHA-256 of the cookie of the browser that left: no other browser may come back with its state.';
COMMENT ON COLUMN social_logins.session_id IS 'The session in which the provider''s account is to be linked, and which has to go on until then; null of a login.';
