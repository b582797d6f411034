DROP FUNCTION create_month_partitions;
DROP FUNCTION first_id_of;
DROP TABLE outbox, idempotency_keys, holds, postings, transfers, ledger_accounts;
DROP FUNCTION refuse_change;
