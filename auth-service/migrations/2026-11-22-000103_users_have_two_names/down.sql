-- Fails while somebody has a user name: which of the two a hash is of cannot be told from it.
ALTER TABLE email_indexes ADD CONSTRAINT email_indexes_user_id_key_number_key UNIQUE (user_id, key_number);
