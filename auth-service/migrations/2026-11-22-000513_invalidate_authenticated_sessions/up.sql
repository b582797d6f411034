-- When a user last proved who they are decides what the session may do, so whoever has it cached hears of that too.
CREATE OR REPLACE TRIGGER invalidate_session AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at OR OLD.amr <> NEW.amr OR OLD.expires_at <> NEW.expires_at
        OR OLD.authenticated_at IS DISTINCT FROM NEW.authenticated_at)
    EXECUTE FUNCTION invalidate_session();
