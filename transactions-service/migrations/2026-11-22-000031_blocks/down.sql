DROP INDEX postings_by_time;
ALTER TABLE transfers DROP COLUMN block_ids;
DROP TABLE checkpoint_keys, checkpoints, blocks;
