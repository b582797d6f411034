CREATE TABLE integrity_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    checked_at timestamptz NOT NULL,
    failed text[] NOT NULL
);
COMMENT ON TABLE integrity_runs IS 'When all books were checked, and the codes of the checks that did not hold: none when all is well.';
REVOKE UPDATE, DELETE ON integrity_runs FROM transactions_runtime;
