-- The ledger. Balances are from the holder's point of view: a credit adds, a debit takes away, so money that customers
-- hold is positive and the clearing accounts it came through are negative; the sum over all accounts is always zero.

CREATE TABLE ledger_accounts (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('customer', 'clearing')),
    holder_id uuid,
    rail text,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'frozen', 'closed')),
    posted bigint NOT NULL DEFAULT 0 CHECK (posted BETWEEN -9007199254740991 AND 9007199254740991),
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    floor bigint,
    version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    opened_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'customer') = (holder_id IS NOT NULL)),
    CHECK ((kind = 'clearing') = (rail IS NOT NULL)),
    CHECK ((kind = 'customer') = (floor IS NOT NULL)),
    CONSTRAINT available_above_floor CHECK (posted - held >= floor),
    CONSTRAINT closed_is_empty CHECK (status <> 'closed' OR (posted = 0 AND held = 0))
) WITH (fillfactor = 50); -- room on the page, so that a balance update touches no index
CREATE UNIQUE INDEX ledger_accounts_clearing ON ledger_accounts (rail, currency) WHERE kind = 'clearing';
COMMENT ON TABLE ledger_accounts IS 'One balance each. version counts the postings; floor is the least that available (posted - held) may be, null for no limit.';
REVOKE DELETE ON ledger_accounts FROM transactions_runtime;

CREATE TABLE transfers (
    id uuid NOT NULL PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('transfer', 'deposit', 'withdrawal')),
    status text NOT NULL CHECK (status IN ('posted', 'in_review', 'rejected')),
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    debit_holder_id uuid,
    credit_holder_id uuid,
    amount bigint NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
    currency text NOT NULL,
    description text,
    metadata jsonb,
    initiated_by uuid NOT NULL,
    rejection_code text,
    hold_id uuid,
    risk_score smallint CHECK (risk_score BETWEEN 0 AND 1000),
    risk_decision text CHECK (risk_decision IN ('allow', 'review', 'block')),
    risk_reasons jsonb,
    decided_by uuid,
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    CHECK (debit_account_id <> credit_account_id),
    CHECK ((status = 'rejected') = (rejection_code IS NOT NULL)),
    CHECK ((status = 'in_review') = (completed_at IS NULL)),
    CHECK (status <> 'in_review' OR hold_id IS NOT NULL),
    CONSTRAINT separation_of_duties CHECK (decided_by <> initiated_by)
) PARTITION BY RANGE (id);
CREATE INDEX transfers_by_debit_holder ON transfers (debit_holder_id, id);
CREATE INDEX transfers_by_credit_holder ON transfers (credit_holder_id, id);
CREATE INDEX transfers_unscored ON transfers (id) WHERE risk_decision IS NULL AND kind <> 'deposit';
CREATE INDEX transfers_in_review ON transfers (id) WHERE status = 'in_review';
COMMENT ON TABLE transfers IS 'What was asked for and what became of it. Partitioned by the month in the id (UUIDv7). Only the outcome of a review or of a late score is ever updated.';
REVOKE UPDATE, DELETE ON transfers FROM transactions_runtime;
GRANT UPDATE (status, rejection_code, decided_by, completed_at, risk_score, risk_decision, risk_reasons)
    ON transfers TO transactions_runtime;

CREATE TABLE postings (
    transfer_id uuid NOT NULL,
    account_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    direction text NOT NULL CHECK (direction IN ('debit', 'credit')),
    amount bigint NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
    currency text NOT NULL,
    balance_after bigint NOT NULL,
    posted_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, sequence, transfer_id)
) PARTITION BY RANGE (transfer_id);
COMMENT ON TABLE postings IS 'The legs of posted transfers: sequence is 1, 2, 3 ... within an account. Never changed and never deleted. Partitioned like transfers.';
REVOKE UPDATE, DELETE ON postings FROM transactions_runtime;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: postings are immutable, correct a mistake with a reversal', TG_OP, TG_TABLE_NAME;
END $$;
CREATE TRIGGER postings_are_immutable BEFORE UPDATE OR DELETE ON postings
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER postings_are_kept BEFORE TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE holds (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    captured bigint NOT NULL DEFAULT 0 CHECK (captured >= 0),
    released bigint NOT NULL DEFAULT 0 CHECK (released >= 0),
    created_at timestamptz NOT NULL,
    CONSTRAINT taken_at_most_once CHECK (captured + released <= amount)
);
CREATE INDEX holds_open ON holds (account_id) WHERE captured + released < amount;
COMMENT ON TABLE holds IS 'Money set aside in an account: what is neither captured nor released counts against available.';
REVOKE DELETE ON holds FROM transactions_runtime;

CREATE TABLE idempotency_keys (
    owner_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    transfer_id uuid NOT NULL,
    status smallint NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys USING brin (created_at);
COMMENT ON TABLE idempotency_keys IS 'The answer to each request that moved money or was definitely refused, committed with its effect, kept 30 days.';
REVOKE UPDATE ON idempotency_keys FROM transactions_runtime;

CREATE TABLE outbox (
    -- Sequence numbers are not in commit order; (xid, sequence) below the oldest running transaction is.
    xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL,
    kind text NOT NULL,
    transfer_id uuid NOT NULL,
    payload json NOT NULL, -- as it is sent; nobody searches in it
    created_at timestamptz NOT NULL,
    PRIMARY KEY (xid, sequence)
);
COMMENT ON TABLE outbox IS 'One row per fact, written in the transaction that made it a fact.';
REVOKE UPDATE, DELETE ON outbox FROM transactions_runtime;

-- The bound in UUIDv7 ids between one month and the next.
CREATE FUNCTION first_id_of(month date) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN (lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

CREATE FUNCTION create_month_partitions(months_ahead integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    parent text;
    part text;
    month date;
    lower_bound text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['transfers', 'postings'] LOOP
        FOR ahead IN 0..months_ahead LOOP
            month := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead);
            part := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            -- The first partition also takes ids made just before it: a request may be older than its commit.
            lower_bound := CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhparent = parent::regclass)
                THEN quote_literal(first_id_of(month)) ELSE 'MINVALUE' END;
            -- ATTACH takes a weaker lock than CREATE … PARTITION OF, so writers are not stopped.
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format('REVOKE ALL ON %I FROM transactions_runtime', part);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)',
                parent, part, lower_bound, first_id_of((month + interval '1 month')::date));
        END LOOP;
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION create_month_partitions TO transactions_runtime;
SELECT create_month_partitions(12);
