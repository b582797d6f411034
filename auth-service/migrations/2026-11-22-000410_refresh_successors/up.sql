ALTER TABLE refresh_tokens
    ADD COLUMN successor_sealed bytea,
    ADD CONSTRAINT refresh_tokens_successor_sealed_length
        CHECK (octet_length(successor_sealed) BETWEEN 17 AND 256) NOT VALID;
COMMENT ON COLUMN refresh_tokens.successor_sealed IS 'The token that was given for this one, for a repetition that comes soon: encrypted under a key that only this token gives, and removed soon after.';
