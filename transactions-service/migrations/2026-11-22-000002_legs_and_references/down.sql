DROP INDEX holds_by_transfer;
DROP TABLE transfer_parties;
ALTER TABLE transfers
    DROP COLUMN several_legs, DROP COLUMN reference, DROP COLUMN effective_date,
    ALTER COLUMN debit_account_id SET NOT NULL,
    ALTER COLUMN credit_account_id SET NOT NULL,
    ALTER COLUMN amount SET NOT NULL,
    ALTER COLUMN currency SET NOT NULL;
