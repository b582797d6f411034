-- Models that were trained elsewhere and brought here. Which of them decides is a row, so that all replicas change together.
CREATE TABLE models (
    id uuid PRIMARY KEY,
    sha256 text NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    artefact bytea NOT NULL CHECK (octet_length(artefact) BETWEEN 1 AND 33554432),
    card jsonb NOT NULL CHECK (jsonb_typeof(card) = 'object'),
    status text NOT NULL DEFAULT 'candidate' CHECK (status IN ('candidate', 'shadow', 'champion', 'retired')),
    registered_by uuid NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE models IS 'Fraud models: the file, what it says of itself, and what it is used for. Without a champion the one that comes with the service decides.';
CREATE UNIQUE INDEX models_one_champion ON models (status) WHERE status = 'champion';

CREATE TABLE model_promotions (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id uuid NOT NULL REFERENCES models,
    replaced uuid REFERENCES models,
    gate jsonb NOT NULL CHECK (jsonb_typeof(gate) = 'object'),
    proposed_by uuid NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    approved_by uuid,
    approved_at timestamptz,
    rolled_back_at timestamptz,
    CONSTRAINT promotions_need_two_people CHECK (approved_by <> proposed_by),
    CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
    CHECK (rolled_back_at IS NULL OR approved_at IS NOT NULL)
);
COMMENT ON TABLE model_promotions IS 'That a model shall decide: proposed by one person, with how it compared then, and approved by another.';
COMMENT ON COLUMN model_promotions.replaced IS 'The champion before; nothing if that was the model that comes with the service.';
CREATE UNIQUE INDEX model_promotions_one_open ON model_promotions (model_id) WHERE approved_by IS NULL;

CREATE TABLE shadow_scores (
    model_id uuid NOT NULL REFERENCES models,
    transfer_id uuid NOT NULL,
    probability double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    PRIMARY KEY (transfer_id, model_id)
);
COMMENT ON TABLE shadow_scores IS 'What models that only watch would have said. Written after the answer; under load some are missing.';

-- Versioned like rules: the highest is in force, and rows never change.
CREATE TABLE cost_policies (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    review double precision NOT NULL CHECK (review >= 0 AND review < 1000000),
    false_block_share double precision NOT NULL CHECK (false_block_share BETWEEN 0 AND 1),
    false_block double precision NOT NULL CHECK (false_block >= 0 AND false_block < 1000000),
    review_from double precision NOT NULL CHECK (review_from BETWEEN 0 AND 1),
    block_from double precision CHECK (block_from BETWEEN review_from AND 1),
    reviews_per_day integer NOT NULL CHECK (reviews_per_day >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cost_policies IS 'What the model''s actions cost, in whole major units, and from which probability it may take them. The highest version is in force; rows never change.';
COMMENT ON COLUMN cost_policies.block_from IS 'Nothing: the model never blocks.';
-- The model that comes with the service was trained on generated payments, so by itself it blocks nothing.
INSERT INTO cost_policies (review, false_block_share, false_block, review_from, block_from, reviews_per_day)
VALUES (3, 0.05, 2, 0.5, NULL, 500);

ALTER TABLE scores
    ADD COLUMN probability double precision CHECK (probability BETWEEN 0 AND 1),
    ADD COLUMN model text;
COMMENT ON COLUMN scores.model IS 'The SHA-256 of the model that gave the probability, in hexadecimal.';

REVOKE DELETE ON models, model_promotions FROM ml_runtime;
REVOKE UPDATE, DELETE ON shadow_scores FROM ml_runtime;
REVOKE INSERT, UPDATE, DELETE ON cost_policies FROM ml_runtime;
