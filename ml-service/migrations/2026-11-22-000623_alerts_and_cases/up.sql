-- What people look at: an alert for each transfer in review, and for each pattern or watched party that was seen; a case for all
-- open alerts about one holder. What was done with them is a history that only grows.

CREATE TABLE cases (
    id uuid PRIMARY KEY,
    subject uuid NOT NULL,
    subject_kind text NOT NULL CHECK (subject_kind IN ('holder', 'account', 'erased')),
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
CREATE UNIQUE INDEX cases_open_of_subject ON cases (subject) WHERE closed_at IS NULL;
CREATE INDEX cases_open ON cases (id) WHERE closed_at IS NULL;
CREATE INDEX cases_of_subject ON cases (subject);
COMMENT ON TABLE cases IS 'The alerts about one holder, or about one account that has none, from the first that is opened to the last that is closed.';
REVOKE DELETE, UPDATE ON cases FROM ml_runtime;
GRANT UPDATE (closed_at) ON cases TO ml_runtime;

CREATE TABLE alerts (
    id uuid PRIMARY KEY,
    case_id uuid NOT NULL REFERENCES cases (id),
    kind text NOT NULL CHECK (kind IN ('review', 'watch', 'structuring', 'rapid_movement', 'fan_in', 'cycle')),
    severity text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'claimed', 'deciding', 'closed')),
    account_id uuid NOT NULL,
    holder_id uuid,
    transfer_id uuid,
    pattern_window bigint,
    sentence text NOT NULL CHECK (char_length(sentence) BETWEEN 1 AND 1000),
    transfer_ids uuid[] NOT NULL CHECK (cardinality(transfer_ids) BETWEEN 1 AND 100),
    opened_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL,
    claimed_by uuid,
    claimed_at timestamptz,
    escalated_by uuid,
    escalated_at timestamptz,
    outcome text CHECK (outcome IN ('release', 'refuse')),
    fraud boolean,
    reason text CHECK (char_length(reason) BETWEEN 1 AND 500),
    decided_by uuid,
    decided_at timestamptz,
    closed_at timestamptz,
    CHECK ((kind IN ('review', 'watch')) = (transfer_id IS NOT NULL)),
    CHECK ((kind IN ('review', 'watch')) = (pattern_window IS NULL)),
    CHECK ((status IN ('claimed', 'deciding')) <= (claimed_by IS NOT NULL)),
    CHECK ((claimed_by IS NULL) = (claimed_at IS NULL) AND (escalated_by IS NULL) = (escalated_at IS NULL)),
    CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    -- A decision is whole or not there; only a review has money to release or refuse.
    CHECK (num_nulls(fraud, reason, decided_by, decided_at) IN (0, 4)),
    CHECK (outcome IS NULL OR kind = 'review'),
    CHECK (status NOT IN ('open', 'claimed') OR decided_at IS NULL),
    CHECK (status <> 'deciding' OR decided_at IS NOT NULL)
);
CREATE UNIQUE INDEX alerts_of_transfer ON alerts (transfer_id, kind) WHERE transfer_id IS NOT NULL;
CREATE UNIQUE INDEX alerts_of_pattern ON alerts (account_id, kind, pattern_window) WHERE pattern_window IS NOT NULL;
CREATE INDEX alerts_by_due ON alerts (due_at, id) WHERE status <> 'closed';
CREATE INDEX alerts_of_assignee ON alerts (claimed_by, due_at, id) WHERE status <> 'closed';
CREATE INDEX alerts_closed ON alerts (id) WHERE status = 'closed';
CREATE INDEX alerts_of_case ON alerts (case_id, id);
CREATE INDEX alerts_of_holder ON alerts (holder_id) WHERE holder_id IS NOT NULL;
COMMENT ON TABLE alerts IS 'Something that a person has to judge. One for each transfer in review, for each posted transfer of a watched party, and for each account, pattern and window.';
COMMENT ON COLUMN alerts.pattern_window IS 'The number of the window, counted from 1970 in the length of the pattern''s own.';
COMMENT ON COLUMN alerts.transfer_ids IS 'What shows it, oldest first.';
COMMENT ON COLUMN alerts.outcome IS 'What was decided about the held money; a closed review without a decision was decided at the ledger.';
REVOKE DELETE, UPDATE ON alerts FROM ml_runtime;
GRANT UPDATE (status, claimed_by, claimed_at, escalated_by, escalated_at, outcome, fraud, reason, decided_by, decided_at, closed_at)
    ON alerts TO ml_runtime;

CREATE TABLE case_history (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id uuid NOT NULL REFERENCES cases (id),
    alert_id uuid REFERENCES alerts (id),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor uuid,
    action text NOT NULL CHECK (action IN
        ('opened', 'claimed', 'released', 'escalated', 'note', 'evidence', 'deciding', 'decision_withdrawn', 'closed')),
    text text CHECK (char_length(text) BETWEEN 1 AND 4000),
    reference text CHECK (char_length(reference) BETWEEN 1 AND 500),
    CHECK (action NOT IN ('note', 'evidence') OR text IS NOT NULL)
);
CREATE INDEX case_history_of_alert ON case_history (alert_id, number);
CREATE INDEX case_history_of_case ON case_history (case_id, number);
COMMENT ON TABLE case_history IS 'What was done with an alert, and what people noted and found. Only erasure changes a row, and only its texts.';
COMMENT ON COLUMN case_history.actor IS 'Absent when the service did it, such as after a decision at the ledger.';
REVOKE DELETE, UPDATE ON case_history FROM ml_runtime;

-- How far each job has read the log of facts. Whoever advances one holds its row.
CREATE TABLE job_positions (
    job text PRIMARY KEY CHECK (job IN ('alerts', 'patterns')),
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0)
);
COMMENT ON TABLE job_positions IS 'Up to which position of transfers a job has reacted; locked by the replica that is at it.';
INSERT INTO job_positions (job) VALUES ('alerts'), ('patterns');
REVOKE INSERT, DELETE ON job_positions FROM ml_runtime;
