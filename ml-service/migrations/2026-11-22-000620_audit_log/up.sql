-- What people of staff changed in fraud work: rules, lists, alerts. Each entry has the hash of the one before, so that none can
-- be altered, left out or put in between without it being seen. It is long before this log is written so often that the one
-- lock it takes is felt.

CREATE TABLE audit_log (
    number bigint PRIMARY KEY CHECK (number > 0),
    at timestamptz NOT NULL,
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 64),
    roles text NOT NULL CHECK (length(roles) <= 128),
    action text NOT NULL CHECK (action ~ '^[a-z_]+[.][a-z_]+$'),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 64),
    before json CHECK (octet_length(before::text) <= 16384),
    after json CHECK (octet_length(after::text) <= 16384),
    request_id text CHECK (length(request_id) <= 64),
    previous_hash bytea NOT NULL UNIQUE CHECK (octet_length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX audit_log_by_subject ON audit_log (subject, number);
COMMENT ON TABLE audit_log IS 'What people changed about rules, lists and alerts: who, in which roles, what, from what to what. A chain of hashes, written by append_to_audit_log alone, never changed and never deleted.';
COMMENT ON COLUMN audit_log.actor IS 'A user''s id, or the name of the service that asked.';
COMMENT ON COLUMN audit_log.before IS 'As text it is what was hashed; json keeps it as it was written.';
REVOKE INSERT, UPDATE, DELETE ON audit_log FROM ml_runtime;

-- What an entry's hash is of: the hash before it, then each member as its length in bytes, a colon and its text, or a dash
-- where there is none, each ended by a newline.
CREATE FUNCTION hash_of_audit_entry(entry audit_log) RETURNS bytea LANGUAGE sql STABLE SET search_path FROM CURRENT
    RETURN sha256(entry.previous_hash || convert_to((
        SELECT string_agg(coalesce(octet_length(convert_to(member, 'UTF8')) || ':' || member, '-') || chr(10), '' ORDER BY place)
        FROM unnest(ARRAY[
            entry.number::text,
            to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            entry.actor, entry.roles, entry.action, entry.subject,
            entry.before::text, entry.after::text, entry.request_id
        ]) WITH ORDINALITY AS members (member, place)
    ), 'UTF8'));
GRANT EXECUTE ON FUNCTION hash_of_audit_entry TO ml_runtime;

-- The one way to write it. The lock is held to the commit, and is the last that a transaction takes, so there is one head and
-- nobody waits in a circle. It must not run at REPEATABLE READ: there the head may be an old one, which the primary key refuses.
CREATE FUNCTION append_to_audit_log(actor text, roles text, action text, subject text, before json, after json, request_id text)
    RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    entry audit_log;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('append to audit log'));
    SELECT log.number, log.hash INTO entry.number, entry.previous_hash FROM audit_log AS log ORDER BY log.number DESC LIMIT 1;
    entry.number := coalesce(entry.number, 0) + 1;
    entry.previous_hash := coalesce(entry.previous_hash, decode(repeat('00', 32), 'hex'));
    entry.at := clock_timestamp();
    entry.actor := actor;
    entry.roles := roles;
    entry.action := action;
    entry.subject := subject;
    entry.before := before;
    entry.after := after;
    entry.request_id := request_id;
    entry.hash := hash_of_audit_entry(entry);
    INSERT INTO audit_log VALUES (entry.*);
    RETURN entry.number;
END $$;
GRANT EXECUTE ON FUNCTION append_to_audit_log TO ml_runtime;

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what is written there stays as it is', TG_OP, TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_log_is_immutable BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER audit_log_is_kept BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
