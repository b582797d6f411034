ALTER TABLE schedules DROP COLUMN attempts, DROP COLUMN retry_at;
