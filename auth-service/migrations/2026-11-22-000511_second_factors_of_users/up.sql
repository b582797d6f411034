-- Whether a user has a second factor, in the same statement that reads the user; and whoever has the user cached hears of it.

CREATE FUNCTION has_second_factor(whose uuid) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM passkeys WHERE user_id = whose) THEN
        RETURN true;
    END IF;
    -- The table is made when the module is first switched on.
    IF to_regclass('two_factor_methods') IS NULL THEN
        RETURN false;
    END IF;
    RETURN EXISTS (SELECT FROM two_factor_methods WHERE user_id = whose AND activated_at IS NOT NULL);
END $$;
GRANT EXECUTE ON FUNCTION has_second_factor(uuid) TO auth_runtime;

CREATE FUNCTION invalidate_user_of_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO cache_invalidations (key) VALUES (uuid_send(coalesce(NEW.user_id, OLD.user_id)));
    RETURN NULL;
END $$;
CREATE TRIGGER invalidate_user_of_passkey AFTER INSERT OR DELETE ON passkeys FOR EACH ROW EXECUTE FUNCTION invalidate_user_of_row();

CREATE FUNCTION two_factor_of_users() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $module$
BEGIN
    CREATE OR REPLACE TRIGGER invalidate_user_of_method AFTER UPDATE ON two_factor_methods FOR EACH ROW
        WHEN (OLD.activated_at IS DISTINCT FROM NEW.activated_at) EXECUTE FUNCTION invalidate_user_of_row();
    CREATE OR REPLACE TRIGGER invalidate_user_of_removed_method AFTER DELETE ON two_factor_methods FOR EACH ROW
        WHEN (OLD.activated_at IS NOT NULL) EXECUTE FUNCTION invalidate_user_of_row();
END
$module$;

DO $$
BEGIN
    UPDATE modules SET migrations = migrations || 'two_factor_of_users'::text,
            version = CASE WHEN version = 0 THEN 0 ELSE cardinality(migrations) + 1 END
        WHERE name = 'two-factor';
    IF to_regclass('two_factor_methods') IS NOT NULL THEN
        PERFORM two_factor_of_users();
    END IF;
END
$$;
