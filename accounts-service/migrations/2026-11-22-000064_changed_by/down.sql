ALTER TABLE accounts DROP COLUMN changed_by;
