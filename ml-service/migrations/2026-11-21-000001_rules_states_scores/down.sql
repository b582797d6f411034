DROP TABLE scores, observation_position, account_states, policies, rules;
DROP SEQUENCE rules_version_seq;
