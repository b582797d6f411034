-- Sequence numbers are in the order in which conflicting transactions had their locks, which events follow.
CREATE UNIQUE INDEX CONCURRENTLY outbox_by_sequence ON outbox (sequence);
