CREATE TABLE pictures (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    media_type text NOT NULL CHECK (media_type IN ('image/jpeg', 'image/png')),
    content bytea NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 2097152),
    created_at timestamptz NOT NULL
);
-- It is compressed already.
ALTER TABLE pictures ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE pictures IS 'The picture of a user, as everybody sees it who is given its id: of our making, at most 512 pixels wide and high, without anything else that was in the file. Not encrypted, because it is public. A new one has a new id.';
