-- What the feature engine remembers: a state for each account, counterparty, pair, device and address. All of a batch are
-- written in the transaction that takes its facts in, so that together they stand at one position of the log.
CREATE TABLE entity_states (
    entity bytea PRIMARY KEY CHECK (octet_length(entity) IN (17, 33)),
    state bytea NOT NULL CHECK (octet_length(state) BETWEEN 2 AND 4096)
) WITH (fillfactor = 70);
COMMENT ON TABLE entity_states IS 'What the feature engine (src/feature.rs) remembers of each entity. Some of each page is kept free so that updates stay in it.';
COMMENT ON COLUMN entity_states.entity IS 'A letter for its kind, and the 128 bits of one key, or of both of a pair.';
ALTER TABLE entity_states ALTER COLUMN state SET STORAGE MAIN;

ALTER TABLE observation_position ADD COLUMN applied bigint NOT NULL DEFAULT 0 CHECK (applied >= 0);
COMMENT ON COLUMN observation_position.applied IS 'The position in the log up to which entity_states have learnt.';

-- The commit of what learns does not wait for the disk; whatever a crash takes away, it takes the position with it.
REVOKE DELETE ON entity_states FROM ml_runtime;
