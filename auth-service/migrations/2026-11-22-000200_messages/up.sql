CREATE TABLE messages (
    id uuid PRIMARY KEY,
    channel text NOT NULL CHECK (channel IN ('email', 'sms')),
    kind text NOT NULL CHECK (octet_length(kind) BETWEEN 1 AND 40),
    recipient_encrypted bytea CHECK (octet_length(recipient_encrypted) BETWEEN 31 AND 512),
    content_encrypted bytea CHECK (octet_length(content_encrypted) BETWEEN 31 AND 4096),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'dropped', 'failed')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 100),
    problem text CHECK (octet_length(problem) BETWEEN 1 AND 40),
    created_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((status = 'pending') = (ended_at IS NULL)),
    CHECK ((status = 'pending') = (recipient_encrypted IS NOT NULL)),
    CHECK ((status = 'pending') = (content_encrypted IS NOT NULL))
);
CREATE INDEX messages_due ON messages (next_attempt_at) WHERE status = 'pending';
CREATE INDEX messages_ended_at ON messages (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON TABLE messages IS 'Mail and text messages on their way. To whom and what is gone as soon as nothing is to be sent any more; what is left tells what became of it, for a month.';
COMMENT ON COLUMN messages.status IS 'pending: sent at next_attempt_at, which moves on while a replica is sending it. sent: taken over by the server of the mail or the text message. dropped: there is no user with this e-mail. failed: refused, or expired.';
COMMENT ON COLUMN messages.problem IS 'What the last attempt was refused for: a code, never the words of the other side, which quote addresses.';
