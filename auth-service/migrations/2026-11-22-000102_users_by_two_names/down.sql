DROP INDEX CONCURRENTLY email_indexes_user_id;
