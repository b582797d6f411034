DROP TABLE audit_log CASCADE;
DROP FUNCTION append_to_audit_log;
DROP FUNCTION refuse_rewriting;
