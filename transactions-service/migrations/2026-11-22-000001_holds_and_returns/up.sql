-- Holds that customers place, captures of them, refunds and reversals.

ALTER TABLE holds
    -- contract: the previous version writes transfer_id always, and reads holds only by the id that a transfer names.
    -- squawk-ignore ban-drop-not-null
    ALTER COLUMN transfer_id DROP NOT NULL,
    ADD COLUMN kind text NOT NULL DEFAULT 'review' CHECK (kind IN ('review', 'payment')),
    ADD COLUMN credit_account_id uuid,
    ADD COLUMN debit_holder_id uuid,
    ADD COLUMN credit_holder_id uuid,
    ADD COLUMN currency text,
    ADD COLUMN description text,
    ADD COLUMN metadata jsonb,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN capture_at timestamptz,
    ADD COLUMN expired boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT review_holds_belong_to_a_transfer CHECK ((kind = 'review') = (transfer_id IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT payment_holds_name_both_sides CHECK (kind = 'review' OR (credit_account_id IS NOT NULL
        AND debit_holder_id IS NOT NULL AND credit_holder_id IS NOT NULL AND currency IS NOT NULL AND expires_at IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT captured_before_it_expires CHECK (capture_at < expires_at) NOT VALID;
-- contract: only reviews have made holds so far, so the table is small and the index is made at once.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX holds_by_debit_holder ON holds (debit_holder_id, id) WHERE kind = 'payment';
-- contract: only reviews have made holds so far, so the table is small and the index is made at once.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX holds_by_credit_holder ON holds (credit_holder_id, id) WHERE kind = 'payment';
-- contract: only reviews have made holds so far, so the table is small and the index is made at once.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX holds_due ON holds (least(capture_at, expires_at)) WHERE kind = 'payment' AND captured + released < amount;
COMMENT ON COLUMN holds.kind IS 'review: of a transfer that waits for a person. payment: placed by a customer in favour of credit_account_id.';
COMMENT ON COLUMN holds.capture_at IS 'When what is left is captured by itself, by the database''s clock; null for never.';
COMMENT ON COLUMN holds.expired IS 'Whether what was left when it ended was released because its time was up.';

-- More kinds of transfer, and what came back of one: a refund is bounded by what was posted, a reversal happens once, and
-- there is never both.
ALTER TABLE transfers
    -- contract: the new check allows all that the old one did, so the previous version goes on writing what it writes.
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT transfers_kind_check,
    ADD CONSTRAINT transfers_kind_check CHECK (kind IN ('transfer', 'deposit', 'withdrawal', 'capture', 'refund', 'reversal')) NOT VALID,
    ADD COLUMN captured_hold_id uuid,
    ADD COLUMN original_transfer_id uuid,
    ADD COLUMN refunded bigint NOT NULL DEFAULT 0,
    ADD COLUMN reversal_id uuid,
    ADD CONSTRAINT refunded_at_most_once CHECK (refunded BETWEEN 0 AND amount) NOT VALID,
    ADD CONSTRAINT refunded_or_reversed CHECK (refunded = 0 OR reversal_id IS NULL) NOT VALID,
    ADD CONSTRAINT captures_name_their_hold CHECK ((kind = 'capture') = (captured_hold_id IS NOT NULL)) NOT VALID,
    ADD CONSTRAINT returns_name_their_original CHECK ((kind IN ('refund', 'reversal')) = (original_transfer_id IS NOT NULL)) NOT VALID;
-- contract: an index of a partitioned table cannot be made concurrently; this one is empty at first, which is one scan.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_by_hold ON transfers (captured_hold_id) WHERE captured_hold_id IS NOT NULL;
-- contract: an index of a partitioned table cannot be made concurrently; this one is empty at first, which is one scan.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_by_original ON transfers (original_transfer_id) WHERE original_transfer_id IS NOT NULL;
-- Only what a payer asked for is scored.
-- contract: an index of a partitioned table cannot be made concurrently; this one has only what waits for a score.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX transfers_to_score ON transfers (id) WHERE risk_decision IS NULL AND kind IN ('transfer', 'withdrawal');
-- contract: the previous version's late scoring goes on without it, by a slower way; no request waits for that.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX transfers_unscored;
GRANT UPDATE (refunded, reversal_id) ON transfers TO transactions_runtime;
COMMENT ON COLUMN transfers.captured_hold_id IS 'The hold whose money a capture took.';
COMMENT ON COLUMN transfers.original_transfer_id IS 'What a refund or reversal gives back.';
COMMENT ON COLUMN transfers.refunded IS 'Minor units of it that were refunded.';

-- A request may be about a hold, and so may a fact.
ALTER TABLE idempotency_keys
    ADD COLUMN subject text NOT NULL DEFAULT 'transfer' CHECK (subject IN ('transfer', 'hold'));
COMMENT ON COLUMN idempotency_keys.subject IS 'What transfer_id is the id of.';
ALTER TABLE outbox
    ADD COLUMN subject text NOT NULL DEFAULT 'transfer' CHECK (subject IN ('transfer', 'hold'));
COMMENT ON COLUMN outbox.subject IS 'What transfer_id is the id of.';
