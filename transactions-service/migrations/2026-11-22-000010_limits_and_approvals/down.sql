ALTER TABLE transfers DROP COLUMN review_reason;
ALTER TABLE ledger_accounts
    DROP COLUMN transfer_limit,
    DROP COLUMN daily_limit,
    DROP COLUMN monthly_limit,
    DROP COLUMN spent_today,
    DROP COLUMN spent_this_month;
