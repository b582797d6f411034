-- Who is always let through, never, or watched. They decide before the rules do.
CREATE TABLE list_entries (
    id uuid PRIMARY KEY,
    list text NOT NULL CHECK (list IN ('allow', 'block', 'watch')),
    subject_kind text NOT NULL CHECK (subject_kind IN ('account', 'counterparty', 'holder', 'device', 'address')),
    subject uuid NOT NULL,
    reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
    added_by uuid NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz CHECK (expires_at > added_at),
    removed_by uuid,
    removed_at timestamptz,
    CHECK ((removed_by IS NULL) = (removed_at IS NULL))
);
CREATE UNIQUE INDEX list_entries_of_subject ON list_entries (subject, subject_kind, list) WHERE removed_at IS NULL;
CREATE INDEX list_entries_by_id ON list_entries (id) WHERE removed_at IS NULL;
COMMENT ON TABLE list_entries IS 'Accounts, counterparties, holders, devices and addresses that are allowed, blocked or watched, until they expire or are removed.';
COMMENT ON COLUMN list_entries.subject IS 'An id, or of a device or address what origins are kept as: a keyed hash.';
REVOKE DELETE, UPDATE ON list_entries FROM ml_runtime;
GRANT UPDATE (removed_by, removed_at) ON list_entries TO ml_runtime;
