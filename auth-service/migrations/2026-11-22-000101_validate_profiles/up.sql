-- In a migration of its own: this reads whole tables, and must do so without holding the lock that adding the checks took.
ALTER TABLE users VALIDATE CONSTRAINT users_user_name_encrypted_length;
ALTER TABLE users VALIDATE CONSTRAINT users_profile_encrypted_length;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_amr_there;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_device_id_encrypted_length;
