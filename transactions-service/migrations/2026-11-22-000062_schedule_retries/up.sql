-- A run that cannot be made waits for longer each time, so that others are not kept from theirs.
ALTER TABLE schedules
    ADD COLUMN attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    ADD COLUMN retry_at timestamptz;
COMMENT ON COLUMN schedules.attempts IS 'How often the next run was tried, and neither made nor refused.';
COMMENT ON COLUMN schedules.retry_at IS 'The next run is not tried before.';
