-- Only while every row still has its plaintext; what is encrypted only cannot be brought back here.
DROP TRIGGER refuse_plaintext ON sessions;
DROP TRIGGER refuse_plaintext ON users;
DROP FUNCTION refuse_plaintext;
DROP TABLE email_indexes;
ALTER TABLE sessions DROP COLUMN ip_encrypted, DROP COLUMN user_agent_encrypted;
ALTER TABLE users
    ALTER COLUMN email SET NOT NULL,
    ALTER COLUMN name SET NOT NULL,
    DROP COLUMN email_encrypted,
    DROP COLUMN name_encrypted;
DROP TABLE field_keys;
