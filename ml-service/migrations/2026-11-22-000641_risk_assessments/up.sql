CREATE TABLE risk_assessments (
    id uuid PRIMARY KEY,
    customer_id uuid NOT NULL,
    assessed_by uuid NOT NULL CHECK (assessed_by <> customer_id),
    purpose text NOT NULL CHECK (purpose IN ('loan', 'credit_line', 'overdraft', 'review')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    probability_ppm integer NOT NULL CHECK (probability_ppm BETWEEN 0 AND 1000000),
    band text NOT NULL CHECK (band IN ('very_low', 'low', 'medium', 'high', 'very_high')),
    model_sha256 text NOT NULL CHECK (model_sha256 ~ '^[0-9a-f]{64}$'),
    features jsonb NOT NULL CHECK (jsonb_typeof(features) = 'object'),
    reasons jsonb NOT NULL CHECK (jsonb_typeof(reasons) = 'array' AND jsonb_array_length(reasons) <= 4),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE risk_assessments IS 'How likely a customer was to fall 90 days behind, as assessed; rows never change.';
COMMENT ON COLUMN risk_assessments.probability_ppm IS 'In millionths.';
COMMENT ON COLUMN risk_assessments.features IS 'What the model saw, by name; null where it was not known.';
COMMENT ON COLUMN risk_assessments.reasons IS 'What counted most against the customer, with its exact part in the log-odds.';
CREATE INDEX risk_assessments_of_a_customer ON risk_assessments (customer_id, id DESC);
REVOKE UPDATE, DELETE ON risk_assessments FROM ml_runtime;
