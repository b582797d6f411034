-- What ended before its time, for whoever keeps verified access tokens and must hear of it at once.

CREATE TABLE revocation_feed (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    last bigint NOT NULL CHECK (last >= 0)
);
COMMENT ON TABLE revocation_feed IS 'One row: the number of the last revocation. Its lock puts numbers in the order of commits, without a gap.';
INSERT INTO revocation_feed (last) VALUES (0);

CREATE TABLE revocations (
    number bigint PRIMARY KEY CHECK (number > 0),
    id uuid NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX revocations_revoked_at ON revocations (revoked_at);
COMMENT ON TABLE revocations IS 'Sessions that ended before their time, and other things that access tokens are given for, as numbered entries. Written by triggers alone; removed when no token can be left that was given before.';

-- Deferred, so that the one lock that all of them take is the last of their transactions: nobody waits in a circle, and no
-- other lock is held while waiting for it for longer than a commit takes.
CREATE FUNCTION record_revocation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE revocation_feed SET last = last + 1 RETURNING last INTO next;
    INSERT INTO revocations (number, id) VALUES (next, OLD.id);
    PERFORM pg_notify('auth.revocations', '');
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_revocation AFTER UPDATE OF revoked_at ON sessions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION record_revocation();
CREATE CONSTRAINT TRIGGER record_deletion AFTER DELETE ON sessions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND OLD.idle_expires_at > now()) EXECUTE FUNCTION record_revocation();

REVOKE INSERT, UPDATE, DELETE ON revocation_feed FROM auth_runtime;
REVOKE INSERT, UPDATE ON revocations FROM auth_runtime;
