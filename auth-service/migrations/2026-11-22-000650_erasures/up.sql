-- Who was erased here and still has to be elsewhere. The row is written with the erasure and removed when the others have said yes.
CREATE TABLE erasures (
    user_id uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 1000),
    problem text CHECK (octet_length(problem) BETWEEN 1 AND 64),
    next_attempt_at timestamptz NOT NULL
);
CREATE INDEX erasures_due ON erasures (next_attempt_at);
COMMENT ON TABLE erasures IS 'Users who were erased here and are not yet at ml-service. A row ends when that has answered.';
COMMENT ON COLUMN erasures.problem IS 'The code of the last refusal: open_case while something about them is investigated, or unavailable.';
COMMENT ON COLUMN erasures.next_attempt_at IS 'Moves on while a replica is at it.';
