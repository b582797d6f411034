-- The few that are still sealed, among all that were used: the job that forgets them looks for no others.
CREATE INDEX CONCURRENTLY refresh_tokens_sealed ON refresh_tokens (used_at) WHERE successor_sealed IS NOT NULL;
