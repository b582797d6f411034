CREATE TABLE passkeys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id bytea NOT NULL UNIQUE CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    credential jsonb NOT NULL CHECK (octet_length(credential::text) <= 16384),
    name_encrypted bytea NOT NULL CHECK (octet_length(name_encrypted) BETWEEN 31 AND 512),
    created_at timestamptz NOT NULL,
    last_used_at timestamptz
);
CREATE INDEX passkeys_user_id ON passkeys (user_id);
COMMENT ON TABLE passkeys IS 'Public keys of authenticators, by which their users log in without a password or give a second factor.';
COMMENT ON COLUMN passkeys.credential IS 'As the WebAuthn library writes it: the public key, the signature counter, and what the authenticator told of itself.';

CREATE TABLE passkey_ceremonies (
    id uuid PRIMARY KEY,
    purpose text NOT NULL CHECK (purpose IN ('registration', 'login', 'second_factor', 'step_up')),
    user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    state jsonb NOT NULL CHECK (octet_length(state::text) <= 65536),
    transfer jsonb CHECK (octet_length(transfer::text) <= 2048),
    expires_at timestamptz NOT NULL,
    CHECK ((purpose = 'login') = (user_id IS NULL)),
    CHECK (transfer IS NULL OR purpose = 'step_up')
);
CREATE INDEX passkey_ceremonies_expires_at ON passkey_ceremonies (expires_at);
CREATE INDEX passkey_ceremonies_user_id ON passkey_ceremonies (user_id);
COMMENT ON TABLE passkey_ceremonies IS 'Challenges that an authenticator was given and has not answered. Removed by the answer, right or wrong.';
COMMENT ON COLUMN passkey_ceremonies.transfer IS 'What the user agrees to with the answer: the challenge is made of it.';
REVOKE UPDATE ON passkey_ceremonies FROM auth_runtime;
