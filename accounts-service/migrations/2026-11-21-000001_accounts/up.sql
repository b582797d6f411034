CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('checking', 'savings', 'business')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    nickname text CHECK (char_length(nickname) BETWEEN 1 AND 64),
    status text NOT NULL CHECK (status IN ('pending', 'active', 'frozen', 'closed')),
    frozen_by text CHECK (frozen_by IN ('owner', 'compliance')),
    retry_at timestamptz,
    idempotency_key text CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
    fingerprint bytea CHECK (octet_length(fingerprint) = 32),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (owner_id, idempotency_key),
    CHECK ((status = 'frozen') = (frozen_by IS NOT NULL)),
    CHECK ((idempotency_key IS NULL) = (fingerprint IS NULL)),
    CHECK (status <> 'pending' OR retry_at IS NOT NULL)
);
COMMENT ON TABLE accounts IS 'Account products. The money is in the ledger account with the same id, in transactions-service.';
COMMENT ON COLUMN accounts.status IS 'What the ledger is to be brought to; clients are shown what the ledger says.';
COMMENT ON COLUMN accounts.frozen_by IS 'Whose freeze it is: the owner cannot lift that of compliance.';
COMMENT ON COLUMN accounts.retry_at IS 'When the repair job takes the account next; null while the ledger is known to agree.';
COMMENT ON COLUMN accounts.fingerprint IS 'SHA-256 of the request that came with idempotency_key.';

CREATE INDEX accounts_by_owner ON accounts (owner_id, id DESC);
CREATE INDEX accounts_to_repair ON accounts (retry_at) WHERE retry_at IS NOT NULL;

-- An account that was closed stays, with its history.
REVOKE DELETE ON accounts FROM accounts_runtime;
