ALTER TABLE observation_position DROP COLUMN applied;
DROP TABLE entity_states;
