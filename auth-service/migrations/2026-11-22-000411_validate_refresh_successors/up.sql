-- In a migration of its own: this reads the whole table, and must do so without holding the lock that adding the check took.
ALTER TABLE refresh_tokens VALIDATE CONSTRAINT refresh_tokens_successor_sealed_length;
