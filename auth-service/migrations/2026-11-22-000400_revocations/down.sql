DROP TRIGGER record_deletion ON sessions;
DROP TRIGGER record_revocation ON sessions;
DROP FUNCTION record_revocation;
DROP TABLE revocations;
DROP TABLE revocation_feed;
