-- A user name is found as an e-mail is.
-- contract: it said that a user has one name under each key, which is true no longer; no version relies on it.
-- squawk-ignore ban-drop-constraint
ALTER TABLE email_indexes DROP CONSTRAINT email_indexes_user_id_key_number_key;
COMMENT ON TABLE email_indexes IS 'Finds users by e-mail or user name, and keeps two from having the same: the HMAC-SHA-256 of it under each blind-index key that is filling or active in field_keys.';
