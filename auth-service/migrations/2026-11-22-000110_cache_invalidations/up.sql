-- What replicas keep in memory of sessions and users, and must not use any longer.

CREATE TABLE cache_invalidations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    key bytea NOT NULL CHECK (octet_length(key) IN (16, 32)),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cache_invalidations_xid ON cache_invalidations (xid);
CREATE INDEX cache_invalidations_created_at ON cache_invalidations (created_at);
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

CREATE FUNCTION invalidate_caches(session uuid) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO cache_invalidations (key)
    SELECT unnest(ARRAY[secret_hash, uuid_send(user_id)]) FROM sessions WHERE id = session
$$;

REVOKE INSERT, UPDATE ON cache_invalidations FROM auth_runtime;
