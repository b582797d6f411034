DROP INDEX CONCURRENTLY refresh_tokens_sealed;
