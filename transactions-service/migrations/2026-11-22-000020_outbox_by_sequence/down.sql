DROP INDEX CONCURRENTLY outbox_by_sequence;
