DROP TRIGGER rules_of_people_are_activated ON rules;
DROP FUNCTION check_rule_of_people;
REVOKE USAGE ON SEQUENCE rules_version_seq FROM ml_runtime;
REVOKE INSERT ON rules FROM ml_runtime;
DELETE FROM rules WHERE kind = 'expression';
ALTER TABLE rules DROP COLUMN proposal_id, DROP COLUMN changed_by;
DROP TABLE rule_proposals;
ALTER TABLE rules DROP CONSTRAINT rules_kind_is_known;
ALTER TABLE rules ADD CONSTRAINT rules_kind_check CHECK (kind IN
    ('amount_over_history', 'amount_large_for_new_account', 'velocity', 'new_counterparty_large'));
