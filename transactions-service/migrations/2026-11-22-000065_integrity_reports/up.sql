-- What a run found is read when it is over, because one over a large ledger takes longer than a request may.
ALTER TABLE integrity_runs
    ADD COLUMN duration_ms bigint CHECK (duration_ms >= 0),
    ADD COLUMN violations jsonb;
COMMENT ON COLUMN integrity_runs.violations IS 'The first ten of each check that did not hold, by its code.';
