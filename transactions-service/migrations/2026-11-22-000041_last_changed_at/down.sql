ALTER TABLE ledger_accounts DROP COLUMN last_changed_at;
