-- In a migration of its own: this reads whole tables, and must do so without holding the lock that adding the checks took.
ALTER TABLE users VALIDATE CONSTRAINT users_email_there;
ALTER TABLE users VALIDATE CONSTRAINT users_name_there;
ALTER TABLE users VALIDATE CONSTRAINT users_email_encrypted_length;
ALTER TABLE users VALIDATE CONSTRAINT users_name_encrypted_length;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_ip_encrypted_length;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_user_agent_encrypted_length;
