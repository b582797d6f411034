-- The facts of the outbox as the holders of the accounts see them.

CREATE TABLE event_feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    fact bigint NOT NULL DEFAULT 0
);
INSERT INTO event_feed DEFAULT VALUES;
COMMENT ON TABLE event_feed IS 'One row: the last fact, by its sequence in the outbox, that is among the events. Whoever has it locked writes events.';
REVOKE INSERT, DELETE ON event_feed FROM transactions_runtime;

CREATE TABLE events (
    holder_id uuid NOT NULL,
    position bigint NOT NULL CHECK (position > 0),
    id uuid NOT NULL,
    kind text NOT NULL,
    account_id uuid NOT NULL,
    account_sequence bigint NOT NULL CHECK (account_sequence > 0),
    fact bigint NOT NULL,
    PRIMARY KEY (holder_id, position)
);
CREATE UNIQUE INDEX events_by_id ON events (id);
CREATE UNIQUE INDEX events_by_account ON events (account_id, position);
COMMENT ON TABLE events IS 'A fact (its sequence in the outbox) as it concerns one account. position is 1, 2, 3 ... for each holder and account_sequence for each account, in the order of the facts.';
REVOKE UPDATE, DELETE ON events FROM transactions_runtime;
