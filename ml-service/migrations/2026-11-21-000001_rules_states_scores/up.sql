-- Rules and policies are versioned by one sequence: the highest version of each rule's code and the highest policy are in
-- force, and the highest of all these versions names the whole. A change is a new row, so that a stored score can always
-- be explained by the rules that made it.
CREATE SEQUENCE rules_version_seq;

CREATE TABLE rules (
    version bigint PRIMARY KEY DEFAULT nextval('rules_version_seq') CHECK (version > 0),
    code text NOT NULL CHECK (code ~ '^[a-z][a-z0-9_]{0,63}$'),
    kind text NOT NULL CHECK (kind IN
        ('amount_over_history', 'amount_large_for_new_account', 'velocity', 'new_counterparty_large')),
    params jsonb NOT NULL CHECK (jsonb_typeof(params) = 'object'),
    points smallint NOT NULL CHECK (points BETWEEN 0 AND 1000),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (code, version)
);
COMMENT ON TABLE rules IS 'Versions of the fraud rules. The highest version of a code is in force; rows never change.';
COMMENT ON COLUMN rules.params IS 'As the kind''s parameters in src/rule.rs; amounts in whole major units.';

CREATE TABLE policies (
    version bigint PRIMARY KEY DEFAULT nextval('rules_version_seq') CHECK (version > 0),
    review_at smallint NOT NULL,
    block_at smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (0 < review_at AND review_at <= block_at AND block_at <= 1000)
);
COMMENT ON TABLE policies IS 'From which score a transfer is reviewed or blocked. The highest version is in force; rows never change.';

-- One sign alone never stops a payment, two bring a person in, three block. An amount far outside the account's history
-- counts as two signs, for both of its rules apply.
INSERT INTO policies (review_at, block_at) VALUES (500, 800);
INSERT INTO rules (code, kind, params, points) VALUES
    ('amount_over_history', 'amount_over_history',
     '{"factor": 10, "min_transfers": 5, "min_amount": 200}', 300),
    ('amount_far_over_history', 'amount_over_history',
     '{"factor": 50, "min_transfers": 5, "min_amount": 1000}', 300),
    ('amount_large_for_new_account', 'amount_large_for_new_account',
     '{"max_transfers": 5, "min_amount": 10000}', 300),
    ('velocity', 'velocity',
     '{"max_per_hour": 20, "factor": 5, "min_amount": 100}', 300),
    ('new_counterparty_large', 'new_counterparty_large',
     '{"factor": 10, "min_transfers": 5, "min_amount": 200, "large_amount": 10000}', 250);

CREATE TABLE account_states (
    account_id uuid PRIMARY KEY,
    transfer_count bigint NOT NULL CHECK (transfer_count > 0),
    amount_sum bigint NOT NULL CHECK (amount_sum > 0),
    amount_max bigint NOT NULL CHECK (amount_max > 0),
    last_at timestamptz NOT NULL,
    velocity_bucket bigint NOT NULL,
    velocity_counts int[] NOT NULL CHECK (cardinality(velocity_counts) = 12),
    counterparty_ids uuid[] NOT NULL CHECK (cardinality(counterparty_ids) <= 64)
) WITH (fillfactor = 50);
COMMENT ON TABLE account_states IS 'The habits of an account as a sender, learnt from posted transfers only. Half of each page is kept free so that updates stay in it.';
COMMENT ON COLUMN account_states.transfer_count IS 'With amount_sum it is the mean; both are halved together before the sum overflows.';
COMMENT ON COLUMN account_states.velocity_bucket IS 'The newest five minutes counted: Unix time divided by 300.';
COMMENT ON COLUMN account_states.velocity_counts IS 'Transfers in each five minutes of the hour that ends with velocity_bucket, newest first.';
COMMENT ON COLUMN account_states.counterparty_ids IS 'The accounts it paid most recently, newest first.';

CREATE TABLE observation_position (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    xid bigint NOT NULL CHECK (xid >= 0),
    sequence bigint NOT NULL CHECK (sequence >= 0)
);
COMMENT ON TABLE observation_position IS 'Up to which fact of transactions-service account_states has learnt; locked by whoever advances it.';
INSERT INTO observation_position (xid, sequence) VALUES (0, 0);

CREATE TABLE scores (
    transfer_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 1000),
    decision text NOT NULL CHECK (decision IN ('allow', 'review', 'block')),
    reasons jsonb NOT NULL CHECK (jsonb_typeof(reasons) = 'array'),
    rules_version bigint NOT NULL CHECK (rules_version > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE scores IS 'What was answered about each transfer, once and for all. account_id is the debit account.';

-- The service reads its rules, never changes them, and an answer that was given stays as it was.
REVOKE INSERT, UPDATE, DELETE ON rules, policies FROM ml_runtime;
REVOKE USAGE ON SEQUENCE rules_version_seq FROM ml_runtime;
REVOKE INSERT, DELETE ON observation_position FROM ml_runtime;
REVOKE UPDATE, DELETE ON scores FROM ml_runtime;
