-- What the search for patterns reads of each account, past any number of transfers that it does not look at.
CREATE INDEX CONCURRENTLY movements_of_debit_account ON transfers (debit_account_id, occurred_at)
    WHERE status = 'posted' AND kind IN ('transfer', 'deposit', 'withdrawal', 'capture');
