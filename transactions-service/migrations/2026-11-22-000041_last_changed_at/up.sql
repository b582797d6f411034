-- Postings of an account are dated in the order of their sequence, so that a balance as of any moment can be found, and
-- never changes.
ALTER TABLE ledger_accounts ADD COLUMN last_changed_at timestamptz;
COMMENT ON COLUMN ledger_accounts.last_changed_at IS 'When its balance last changed. No later posting is dated earlier, also when the clock was set back.';
