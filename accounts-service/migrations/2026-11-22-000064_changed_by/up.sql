-- The repair job tells the ledger whose command it repeats.
ALTER TABLE accounts ADD COLUMN changed_by jsonb;
COMMENT ON COLUMN accounts.changed_by IS 'Who wants what the ledger is to be brought to, and in which roles; null once it agrees.';
