-- How much a holder may spend of an account, and how much was spent; why a transfer waits for a person.

ALTER TABLE ledger_accounts
    ADD COLUMN transfer_limit bigint,
    ADD COLUMN daily_limit bigint,
    ADD COLUMN monthly_limit bigint,
    ADD COLUMN spent_today bigint NOT NULL DEFAULT 0,
    ADD COLUMN spent_this_month bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT limits_are_amounts CHECK (
        transfer_limit BETWEEN 0 AND 9007199254740991
        AND daily_limit BETWEEN 0 AND 9007199254740991
        AND monthly_limit BETWEEN 0 AND 9007199254740991) NOT VALID,
    ADD CONSTRAINT spent_adds_up CHECK (0 <= spent_today AND spent_today <= spent_this_month) NOT VALID;
COMMENT ON COLUMN ledger_accounts.daily_limit IS 'Minor units; null for none. What is posted on a day (UTC) and what is held count.';
COMMENT ON COLUMN ledger_accounts.spent_today IS 'Minor units that transfers, withdrawals and captures took on the day (UTC) of last_changed_at; spent_this_month likewise.';
-- Limits change by a command that is in the audit log; the lane only counts.
COMMENT ON COLUMN ledger_accounts.transfer_limit IS 'Minor units; null for none. Of one transfer, withdrawal or hold.';

ALTER TABLE transfers
    ADD COLUMN review_reason text,
    ADD CONSTRAINT review_reason_is_known CHECK (review_reason IN ('risk', 'amount', 'reversal')) NOT VALID;
COMMENT ON COLUMN transfers.review_reason IS 'Why a person had to decide: the fraud score, an amount above which two people are needed, or that it undoes another.';
