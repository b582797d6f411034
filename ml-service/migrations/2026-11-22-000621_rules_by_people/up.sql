-- Rules that people write as expressions. A proposal is tried on what happened, runs in the shadow if somebody wants that, and
-- comes into force when a second person says so; then it is a version in `rules` like those that were seeded.

-- contract: the one that follows allows one kind more; the version before writes no rules.
-- squawk-ignore ban-drop-constraint
ALTER TABLE rules DROP CONSTRAINT rules_kind_check;
ALTER TABLE rules ADD CONSTRAINT rules_kind_is_known CHECK (kind IN
    ('amount_over_history', 'amount_large_for_new_account', 'velocity', 'new_counterparty_large', 'expression')) NOT VALID;

CREATE TABLE rule_proposals (
    id uuid PRIMARY KEY,
    code text NOT NULL CHECK (code ~ '^[a-z][a-z0-9_]{0,63}$'),
    expression text NOT NULL CHECK (octet_length(expression) BETWEEN 1 AND 1000),
    sentence text NOT NULL CHECK (octet_length(sentence) BETWEEN 1 AND 300),
    action text CHECK (action IN ('allow', 'review', 'block')),
    points smallint NOT NULL CHECK (points BETWEEN 0 AND 1000),
    status text NOT NULL DEFAULT 'proposed' CHECK (status IN ('proposed', 'shadow', 'active', 'withdrawn')),
    proposed_by uuid NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    tested_at timestamptz,
    test jsonb CHECK (jsonb_typeof(test) = 'object'),
    decided_by uuid,
    decided_at timestamptz,
    CHECK (points > 0 OR action IS NOT NULL),
    CHECK ((tested_at IS NULL) = (test IS NULL)),
    CHECK ((status IN ('active', 'withdrawn')) = (decided_at IS NOT NULL) AND (decided_at IS NULL) = (decided_by IS NULL)),
    -- Nobody lets their own rule into force, and nobody one that was never tried.
    CHECK (status <> 'active' OR (decided_by <> proposed_by AND tested_at IS NOT NULL))
);
CREATE INDEX rule_proposals_in_shadow ON rule_proposals (id) WHERE status = 'shadow';
COMMENT ON TABLE rule_proposals IS 'Rules that people propose. What one says never changes; another text is another proposal.';
COMMENT ON COLUMN rule_proposals.test IS 'What it would have done to what happened, when that was last asked.';
REVOKE DELETE, UPDATE ON rule_proposals FROM ml_runtime;
GRANT UPDATE (status, tested_at, test, decided_by, decided_at) ON rule_proposals TO ml_runtime;

ALTER TABLE rules
    ADD COLUMN proposal_id uuid,
    ADD COLUMN changed_by uuid,
    ADD CONSTRAINT rules_proposal_exists FOREIGN KEY (proposal_id) REFERENCES rule_proposals (id) NOT VALID,
    ADD CONSTRAINT rules_are_proposed CHECK (kind <> 'expression' OR proposal_id IS NOT NULL) NOT VALID;
COMMENT ON COLUMN rules.proposal_id IS 'What it was proposed as; rules that came with a version of the service have none.';
COMMENT ON COLUMN rules.changed_by IS 'Who let it into force, or retired it.';
GRANT INSERT ON rules TO ml_runtime;
GRANT USAGE ON SEQUENCE rules_version_seq TO ml_runtime;

-- Where people's rules come into force, once each: by a proposal that is active, with what the proposal says.
CREATE FUNCTION check_rule_of_people() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.kind = 'expression' AND NOT EXISTS (
        SELECT FROM rule_proposals AS proposal
        WHERE proposal.id = NEW.proposal_id AND proposal.code = NEW.code AND proposal.status = 'active'
            AND proposal.points = NEW.points AND proposal.expression = NEW.params ->> 'expression'
            AND proposal.sentence = NEW.params ->> 'sentence'
            AND proposal.action IS NOT DISTINCT FROM NEW.params ->> 'action'
    ) THEN
        RAISE EXCEPTION 'a rule of people is an active proposal' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER rules_of_people_are_activated BEFORE INSERT ON rules FOR EACH ROW EXECUTE FUNCTION check_rule_of_people();
