CREATE TABLE left_behind ();
COMMENT ON TABLE left_behind IS 'Shows that a migration which was held up leaves nothing behind.';
ALTER TABLE accounts ADD COLUMN colour text;
