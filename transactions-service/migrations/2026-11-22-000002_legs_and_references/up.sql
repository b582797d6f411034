-- Transfers with several debits and credits; the client's own reference; the day a transfer counts for.

ALTER TABLE transfers
    -- contract: the previous version writes it always, and nobody can make several legs through it.
    -- squawk-ignore ban-drop-not-null
    ALTER COLUMN debit_account_id DROP NOT NULL,
    -- contract: the previous version writes it always, and nobody can make several legs through it.
    -- squawk-ignore ban-drop-not-null
    ALTER COLUMN credit_account_id DROP NOT NULL,
    -- contract: the previous version writes it always, and nobody can make several legs through it.
    -- squawk-ignore ban-drop-not-null
    ALTER COLUMN amount DROP NOT NULL,
    -- contract: the previous version writes it always, and nobody can make several legs through it.
    -- squawk-ignore ban-drop-not-null
    ALTER COLUMN currency DROP NOT NULL,
    ADD COLUMN several_legs jsonb,
    ADD COLUMN reference text,
    ADD COLUMN effective_date date,
    ADD CONSTRAINT one_pair_or_several_legs CHECK (
        num_nulls(debit_account_id, credit_account_id, amount, currency) = CASE WHEN several_legs IS NULL THEN 0 ELSE 4 END) NOT VALID,
    ADD CONSTRAINT several_legs_are_not_refunded CHECK (several_legs IS NULL OR refunded = 0) NOT VALID,
    ADD CONSTRAINT reference_is_short CHECK (length(reference) BETWEEN 1 AND 64) NOT VALID;
-- contract: an index of a partitioned table cannot be made concurrently; this one is empty at first, which is one scan.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_by_reference ON transfers (initiated_by, reference, id) WHERE reference IS NOT NULL;
COMMENT ON COLUMN transfers.several_legs IS 'Of a transfer with several debits or credits, instead of the four columns of a pair: account_id, direction, amount, currency of each.';
COMMENT ON COLUMN transfers.effective_date IS 'The day it counts for, if the client named one. Balances go by when it was booked.';

CREATE TABLE transfer_parties (
    holder_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    PRIMARY KEY (holder_id, transfer_id)
);
COMMENT ON TABLE transfer_parties IS 'Who is paid by a transfer with several legs; of a pair transfers.credit_holder_id says it.';
REVOKE UPDATE, DELETE ON transfer_parties FROM transactions_runtime;

-- A transfer with several debits is held in several accounts while it is reviewed.
-- contract: only reviews have made holds so far, so the table is small and the index is made at once.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX holds_by_transfer ON holds (transfer_id) WHERE transfer_id IS NOT NULL;
