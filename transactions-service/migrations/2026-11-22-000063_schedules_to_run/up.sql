-- By which the runner finds what it may try. schedules_due tells what is due longest, tried or not.
CREATE INDEX CONCURRENTLY schedules_to_run ON schedules (greatest(next_run_at, retry_at)) WHERE status = 'active';
