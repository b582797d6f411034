-- Parts of the service that are switched on and off while it runs. What a module needs of the database is made when it is first
-- switched on, and stays when it is switched off.

CREATE TABLE modules (
    name text PRIMARY KEY CHECK (name ~ '^[a-z]([a-z-]{0,30}[a-z])?$'),
    migrations text[] NOT NULL CHECK (cardinality(migrations) BETWEEN 1 AND 100),
    version integer NOT NULL DEFAULT 0 CHECK (version BETWEEN 0 AND 100),
    enabled boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (NOT enabled OR version = cardinality(migrations))
);
COMMENT ON TABLE modules IS 'The modules there are, and which of them are on. Written by migrations, and by switch_module alone.';
COMMENT ON COLUMN modules.migrations IS 'The functions that make what the module needs, in their order. Each can run again and changes nothing then. A release that adds one adds it here, and runs it where the module is on.';
COMMENT ON COLUMN modules.version IS 'How many of them have run.';
REVOKE INSERT, UPDATE, DELETE ON modules FROM auth_runtime;

-- The one way in which the service changes its schema: it may not make tables itself, and what runs here was written by a
-- migration. All of it is one transaction, so a module is never half there; all of it runs each time, which repairs one that
-- somebody has damaged. Whoever switches at the same moment waits.
CREATE FUNCTION switch_module(module text, switched_on boolean) RETURNS SETOF modules
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    migration text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('auth.modules'));
    -- Whoever wants a table after it waits behind it, so it waits for none for long.
    PERFORM set_config('lock_timeout', '2s', true);
    IF switched_on THEN
        FOR migration IN
            SELECT step FROM modules, unnest(migrations) WITH ORDINALITY AS steps (step, place)
            WHERE name = module ORDER BY place
        LOOP
            EXECUTE format('SELECT %I()', migration);
        END LOOP;
    END IF;
    RETURN QUERY UPDATE modules SET
            enabled = switched_on,
            version = CASE WHEN switched_on THEN cardinality(migrations) ELSE version END,
            changed_at = CASE WHEN enabled = switched_on THEN changed_at ELSE clock_timestamp() END
        WHERE name = module RETURNING *;
END
$$;
GRANT EXECUTE ON FUNCTION switch_module TO auth_runtime;
