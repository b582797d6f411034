ALTER TABLE sessions DROP COLUMN device_id_encrypted, DROP COLUMN amr;
ALTER TABLE users DROP COLUMN email_verified_at, DROP COLUMN profile_encrypted, DROP COLUMN user_name_encrypted;
