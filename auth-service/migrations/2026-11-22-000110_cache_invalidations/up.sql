-- What replicas keep in memory of sessions and users, and must not use any longer.

CREATE TABLE cache_invalidations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    key bytea NOT NULL CHECK (octet_length(key) IN (16, 32)),
    asked_for boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cache_invalidations_xid ON cache_invalidations (xid);
CREATE INDEX cache_invalidations_created_at ON cache_invalidations (created_at);
CREATE INDEX cache_invalidations_asked_for ON cache_invalidations (key, created_at) WHERE asked_for;
COMMENT ON TABLE cache_invalidations IS 'Sessions and users that were changed, for whoever has them cached. Written by triggers alone, read from the oldest transaction on that had not ended when it was read last, and removed when nothing from before can be in a cache.';
COMMENT ON COLUMN cache_invalidations.key IS 'secret_hash of a session, or the 16 bytes of the id of a user.';

CREATE FUNCTION invalidate_session() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO cache_invalidations (key) VALUES (OLD.secret_hash);
    RETURN NULL;
END $$;
CREATE TRIGGER invalidate_session AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at OR OLD.amr <> NEW.amr OR OLD.expires_at <> NEW.expires_at)
    EXECUTE FUNCTION invalidate_session();
CREATE TRIGGER invalidate_deleted_session AFTER DELETE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND OLD.idle_expires_at > now()) EXECUTE FUNCTION invalidate_session();

CREATE FUNCTION invalidate_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO cache_invalidations (key) VALUES (uuid_send(OLD.id));
    RETURN NULL;
END $$;
CREATE TRIGGER invalidate_user AFTER UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION invalidate_user();

-- For users who think that what is kept of them is wrong: ten times in any five minutes. Returns 0, or how many seconds to wait.
CREATE FUNCTION invalidate_caches(session uuid) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    its_user uuid;
    tenth timestamptz;
BEGIN
    SELECT user_id INTO STRICT its_user FROM sessions WHERE id = session;
    -- One at a time, so that none of them is missed by the count of another.
    PERFORM FROM users WHERE id = its_user FOR NO KEY UPDATE;
    SELECT created_at INTO tenth FROM cache_invalidations
        WHERE key = uuid_send(its_user) AND asked_for AND created_at > clock_timestamp() - interval '5 minutes'
        ORDER BY created_at DESC OFFSET 9 LIMIT 1;
    IF tenth IS NOT NULL THEN
        RETURN greatest(1, ceil(extract(epoch FROM tenth + interval '5 minutes' - clock_timestamp())));
    END IF;
    INSERT INTO cache_invalidations (key, asked_for, created_at)
        SELECT uuid_send(its_user), true, clock_timestamp()
        UNION ALL SELECT secret_hash, false, clock_timestamp() FROM sessions WHERE id = session;
    RETURN 0;
END $$;

REVOKE INSERT, UPDATE ON cache_invalidations FROM auth_runtime;
