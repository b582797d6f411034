ALTER TABLE outbox DROP COLUMN subject;
ALTER TABLE idempotency_keys DROP COLUMN subject;
ALTER TABLE transfers
    DROP COLUMN captured_hold_id, DROP COLUMN original_transfer_id, DROP COLUMN refunded, DROP COLUMN reversal_id,
    DROP CONSTRAINT transfers_kind_check,
    ADD CONSTRAINT transfers_kind_check CHECK (kind IN ('transfer', 'deposit', 'withdrawal'));
ALTER TABLE holds
    DROP COLUMN kind, DROP COLUMN credit_account_id, DROP COLUMN debit_holder_id, DROP COLUMN credit_holder_id,
    DROP COLUMN currency, DROP COLUMN description, DROP COLUMN metadata, DROP COLUMN expires_at, DROP COLUMN capture_at,
    DROP COLUMN expired,
    ALTER COLUMN transfer_id SET NOT NULL;
