-- What the service was told of transfers, in the order in which it took it in: models learn from it, and people and insights
-- read it. A transfer that was in review and is decided moves to the end, so that whoever follows the positions hears of it.
CREATE SEQUENCE positions;

CREATE TABLE transfers (
    position bigint NOT NULL DEFAULT nextval('positions') CHECK (position > 0),
    transfer_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('transfer', 'deposit', 'withdrawal', 'capture', 'refund', 'reversal')),
    status text NOT NULL CHECK (status IN ('posted', 'in_review', 'rejected')),
    original_transfer_id uuid,
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    debit_holder_id uuid,
    credit_holder_id uuid,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    description text CHECK (char_length(description) <= 140),
    code text CHECK (char_length(code) <= 64),
    decided_by uuid,
    device uuid,
    address uuid,
    occurred_at timestamptz NOT NULL
);
COMMENT ON TABLE transfers IS 'What became of each transfer, as transactions-service told it. position is the order in which it was applied; a decided review gets a new one.';
COMMENT ON COLUMN transfers.code IS 'Why it was rejected, or is or was in review.';
COMMENT ON COLUMN transfers.device IS 'Of the request, like address: 128 bits of a keyed hash, or nothing where it is not known.';
CREATE UNIQUE INDEX transfers_by_position ON transfers (position);
CREATE INDEX transfers_of_debit_account ON transfers (debit_account_id, occurred_at);
CREATE INDEX transfers_of_credit_account ON transfers (credit_account_id, occurred_at);
CREATE INDEX transfers_of_debit_holder ON transfers (debit_holder_id, occurred_at) WHERE debit_holder_id IS NOT NULL;
CREATE INDEX transfers_of_credit_holder ON transfers (credit_holder_id, occurred_at) WHERE credit_holder_id IS NOT NULL;
CREATE INDEX transfers_by_time ON transfers (occurred_at);
REVOKE DELETE ON transfers FROM ml_runtime;

-- Where the request came from that is scored. The facts that follow have it from here.
ALTER TABLE scores
    ADD COLUMN device uuid,
    ADD COLUMN address uuid;
COMMENT ON COLUMN scores.device IS 'Of the request, like address: 128 bits of a keyed hash, or nothing where it is not known.';
