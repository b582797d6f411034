CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('api_key', 'client')),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name_encrypted bytea NOT NULL CHECK (octet_length(name_encrypted) BETWEEN 31 AND 512),
    secret_hash bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    scopes text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'write', 'money'] AND cardinality(scopes) > 0),
    allowed_networks text[] NOT NULL DEFAULT '{}' CHECK (cardinality(allowed_networks) <= 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
    last_used_at timestamptz,
    revoked_at timestamptz,
    replaced_by uuid UNIQUE REFERENCES api_keys (id) ON DELETE SET NULL
);
CREATE INDEX api_keys_user_id ON api_keys (user_id);
CREATE INDEX api_keys_expires_at ON api_keys (expires_at);
COMMENT ON TABLE api_keys IS 'What programs of a user ask with: API keys, and the secrets of OAuth clients, whose client_id is the id. The secret is only kept as its SHA-256.';
COMMENT ON COLUMN api_keys.replaced_by IS 'The key that took its place; both are good until this one expires, so that it can be replaced without an interruption.';

-- A key that ends while access tokens that were given for it are good.
CREATE CONSTRAINT TRIGGER record_revocation AFTER UPDATE OF revoked_at ON api_keys DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION record_revocation();
CREATE CONSTRAINT TRIGGER record_deletion AFTER DELETE ON api_keys DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > now()) EXECUTE FUNCTION record_revocation();

-- An access token of a client has a sid of its own, so it can be revoked alone.
CREATE FUNCTION revoke_access_token(sid uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE revocation_feed SET last = last + 1 RETURNING last INTO next;
    INSERT INTO revocations (number, id) VALUES (next, sid);
    PERFORM pg_notify('auth.revocations', '');
END $$;
GRANT EXECUTE ON FUNCTION revoke_access_token TO auth_runtime;
