CREATE OR REPLACE FUNCTION append_to_audit_log(actor text, roles text, action text, subject text, before json, after json, request_id text)
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
