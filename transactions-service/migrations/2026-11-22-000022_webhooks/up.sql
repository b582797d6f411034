-- Where events are sent, and what became of each sending.

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    holder_id uuid NOT NULL,
    url text NOT NULL CHECK (length(url) <= 2048),
    description text,
    types text[] NOT NULL,
    faults text[] NOT NULL DEFAULT '{}',
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_secret_until timestamptz,
    disabled_because text CHECK (disabled_because IN ('owner', 'gone', 'failing')),
    failing_since timestamptz,
    due_at timestamptz,
    leased_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL))
);
CREATE INDEX webhook_endpoints_by_holder ON webhook_endpoints (holder_id, id);
CREATE INDEX webhook_endpoints_due ON webhook_endpoints (due_at) WHERE disabled_because IS NULL;
COMMENT ON TABLE webhook_endpoints IS 'Where the events of a holder are sent. types: which, all if empty. Secrets are encrypted under WEBHOOK_KEYS. due_at: when the next delivery is due; leased_until: until then one replica delivers.';

CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    kind text NOT NULL,
    account_id uuid,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts jsonb NOT NULL DEFAULT '[]',
    next_attempt_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
    CONSTRAINT attempts_are_few CHECK (jsonb_array_length(attempts) <= 10)
);
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint_id, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries USING brin (created_at);
COMMENT ON TABLE webhook_deliveries IS 'An event on its way to an endpoint, with each attempt to deliver it; kept 30 days. An event that is replayed has several.';
