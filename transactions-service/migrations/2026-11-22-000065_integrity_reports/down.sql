ALTER TABLE integrity_runs DROP COLUMN duration_ms, DROP COLUMN violations;
