ALTER TABLE scores
    DROP COLUMN device,
    DROP COLUMN address;
DROP TABLE transfers;
DROP SEQUENCE positions;
