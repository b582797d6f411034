DROP FUNCTION append_to_audit_log;
DROP FUNCTION hash_of_audit_entry;
DROP TABLE audit_log;
DROP FUNCTION refuse_rewriting;
