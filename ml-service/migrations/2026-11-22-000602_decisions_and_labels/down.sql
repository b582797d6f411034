DROP TABLE labels;
ALTER TABLE scores
    DROP COLUMN vector,
    DROP COLUMN applied,
    DROP COLUMN requested_at;
