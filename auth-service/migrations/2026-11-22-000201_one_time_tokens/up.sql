CREATE TABLE one_time_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    purpose text NOT NULL CHECK (purpose IN ('email_verification', 'password_reset', 'login_link', 'login_code')),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email_hash bytea NOT NULL CHECK (octet_length(email_hash) = 32),
    code_hash bytea CHECK (octet_length(code_hash) = 32),
    attempts_left integer NOT NULL DEFAULT 5 CHECK (attempts_left BETWEEN 0 AND 5),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CHECK ((purpose = 'login_code') = (code_hash IS NOT NULL))
);
CREATE INDEX one_time_tokens_user_id ON one_time_tokens (user_id);
CREATE INDEX one_time_tokens_expires_at ON one_time_tokens (expires_at);
COMMENT ON TABLE one_time_tokens IS 'What was sent to an e-mail and proves, once, that whoever has it reads what arrives there. A row is removed by its use.';
COMMENT ON COLUMN one_time_tokens.token_hash IS 'SHA-256 of the token; of a login code, of the request that it belongs to.';
COMMENT ON COLUMN one_time_tokens.email_hash IS 'SHA-256 of the token and the e-mail that it was sent to: it proves nothing about an e-mail that the user has changed to since.';
COMMENT ON COLUMN one_time_tokens.code_hash IS 'SHA-256 of the request and the code, so that the code cannot be found by trying: the request is 256 random bits.';

CREATE TABLE throttles (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    uses integer NOT NULL CHECK (uses BETWEEN 1 AND 1000000),
    ends_at timestamptz NOT NULL
);
CREATE INDEX throttles_ends_at ON throttles (ends_at);
COMMENT ON TABLE throttles IS 'How often something was asked for in the current window, by whom or about whom: a keyed hash.';

ALTER TABLE users ADD COLUMN has_password boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN users.has_password IS 'False when nobody knows a password that matches password_hash: the user logs in otherwise, or sets one by mail.';
