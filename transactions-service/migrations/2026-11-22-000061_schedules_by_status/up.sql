-- An owner has few schedules that still run, and any number of those that are over.
CREATE INDEX CONCURRENTLY schedules_by_status ON schedules (owner_id, status, id);
