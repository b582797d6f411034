ALTER TABLE accounts DROP COLUMN colour;
DROP TABLE left_behind;
