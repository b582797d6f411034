-- What a model is and who wanted it never changes; only what it is used for, and that only by a promotion of two people.
REVOKE UPDATE ON models, model_promotions FROM ml_runtime;
GRANT UPDATE (status) ON models TO ml_runtime;
GRANT UPDATE (replaced, approved_by, approved_at, rolled_back_at) ON model_promotions TO ml_runtime;

CREATE FUNCTION check_champion() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM models WHERE id = NEW.id AND status = 'champion') AND NOT EXISTS (
        SELECT FROM model_promotions
        WHERE model_id = NEW.id AND approved_at IS NOT NULL AND rolled_back_at IS NULL
    ) THEN
        RAISE EXCEPTION 'a champion has a promotion that was approved' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
-- At the end of the transaction, which makes a model champion and notes who approved that.
CREATE CONSTRAINT TRIGGER champions_are_promoted AFTER INSERT OR UPDATE OF status ON models
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'champion') EXECUTE FUNCTION check_champion();
