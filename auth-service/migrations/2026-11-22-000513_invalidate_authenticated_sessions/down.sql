CREATE OR REPLACE TRIGGER invalidate_session AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at OR OLD.amr <> NEW.amr OR OLD.expires_at <> NEW.expires_at)
    EXECUTE FUNCTION invalidate_session();
