-- A decision is kept with what it was made from. Where the log stood, so that a replay up to there makes the same vector.
ALTER TABLE scores
    ADD COLUMN requested_at timestamptz,
    ADD COLUMN applied bigint,
    ADD COLUMN vector bytea;
COMMENT ON COLUMN scores.applied IS 'The position in the log up to which entity_states had learnt.';
COMMENT ON COLUMN scores.vector IS 'What the model was shown, as src/score/vector.rs writes it.';

CREATE TABLE labels (
    position bigint PRIMARY KEY DEFAULT nextval('positions') CHECK (position > 0),
    transfer_id uuid NOT NULL,
    fraud boolean NOT NULL,
    source text NOT NULL CHECK (source IN ('decision', 'dispute', 'partner', 'analyst')),
    labelled_by uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE labels IS 'Whether a transfer was fraud, as somebody came to know it. The newest of a transfer counts; rows never change. position is in one order with those of transfers.';
COMMENT ON COLUMN labels.occurred_at IS 'When the transfer happened, as far as it was known when the label came.';
COMMENT ON COLUMN labels.known_at IS 'Our own clock''s: nobody can have known it earlier.';
CREATE INDEX labels_of_transfer ON labels (transfer_id, position);
REVOKE UPDATE, DELETE ON labels FROM ml_runtime;
