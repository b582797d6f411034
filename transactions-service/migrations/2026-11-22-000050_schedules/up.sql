-- Transfers that are made later, once or again and again.

CREATE TABLE schedules (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    transfer jsonb NOT NULL,
    time_zone text NOT NULL CHECK (length(time_zone) <= 64),
    first_on date NOT NULL,
    at_time time NOT NULL,
    repeat_every integer CHECK (repeat_every BETWEEN 1 AND 999),
    repeat_unit text CHECK (repeat_unit IN ('day', 'week', 'month', 'year')),
    last_on date,
    times integer CHECK (times BETWEEN 1 AND 9999),
    status text NOT NULL CHECK (status IN ('active', 'paused', 'failed', 'completed', 'cancelled')),
    next_occurrence integer NOT NULL DEFAULT 0 CHECK (next_occurrence >= 0),
    next_run_at timestamptz,
    failures_in_a_row integer NOT NULL DEFAULT 0 CHECK (failures_in_a_row >= 0),
    failure jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner_id, key),
    CHECK ((repeat_every IS NULL) = (repeat_unit IS NULL)),
    CONSTRAINT active_has_a_next_run CHECK ((status = 'active') = (next_run_at IS NOT NULL))
);
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE status = 'active';
CREATE INDEX schedules_by_owner ON schedules (owner_id, id);
COMMENT ON TABLE schedules IS 'What is to be transferred, and by which calendar. The first occurrence is number 0; next_occurrence is the one that runs at next_run_at.';
COMMENT ON COLUMN schedules.failure IS 'code and detail of the last run, if it was refused.';
REVOKE DELETE ON schedules FROM transactions_runtime;

CREATE TABLE schedule_runs (
    schedule_id uuid NOT NULL REFERENCES schedules (id),
    occurrence integer NOT NULL CHECK (occurrence >= 0),
    due_at timestamptz NOT NULL,
    ran_at timestamptz NOT NULL DEFAULT now(),
    outcome text NOT NULL CHECK (outcome IN ('posted', 'in_review', 'failed')),
    transfer_id uuid,
    failure jsonb,
    PRIMARY KEY (schedule_id, occurrence),
    CHECK ((outcome = 'failed') = (failure IS NOT NULL)),
    CHECK ((outcome = 'failed') = (transfer_id IS NULL))
);
COMMENT ON TABLE schedule_runs IS 'What became of each occurrence, once.';
REVOKE UPDATE, DELETE ON schedule_runs FROM transactions_runtime;
