CREATE INDEX CONCURRENTLY email_indexes_user_id ON email_indexes (user_id);
