ALTER TABLE users ADD COLUMN legal_hold_at timestamptz;
COMMENT ON COLUMN users.legal_hold_at IS 'Since when the user must not be erased, because a law or a court wants it so.';

CREATE FUNCTION refuse_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this user is under a legal hold';
END $$;
CREATE TRIGGER legal_hold BEFORE DELETE ON users
    FOR EACH ROW WHEN (OLD.legal_hold_at IS NOT NULL) EXECUTE FUNCTION refuse_erasure();
