ALTER TABLE users
    ADD COLUMN user_name_encrypted bytea,
    ADD COLUMN profile_encrypted bytea,
    ADD COLUMN email_verified_at timestamptz,
    ADD CONSTRAINT users_user_name_encrypted_length
        CHECK (octet_length(user_name_encrypted) BETWEEN 31 AND 512) NOT VALID,
    ADD CONSTRAINT users_profile_encrypted_length
        CHECK (octet_length(profile_encrypted) BETWEEN 31 AND 16384) NOT VALID;
COMMENT ON COLUMN users.profile_encrypted IS 'What the user tells of themselves besides name and e-mail, as one JSON object: it is only ever read whole.';
COMMENT ON COLUMN users.email_verified_at IS 'When the user proved to receive what is sent to the e-mail; null until then, and again after the e-mail was changed.';

ALTER TABLE sessions
    ADD COLUMN amr text[] NOT NULL DEFAULT '{pwd}',
    ADD COLUMN device_id_encrypted bytea,
    ADD CONSTRAINT sessions_amr_there CHECK (cardinality(amr) BETWEEN 1 AND 8) NOT VALID,
    ADD CONSTRAINT sessions_device_id_encrypted_length
        CHECK (octet_length(device_id_encrypted) BETWEEN 31 AND 1055) NOT VALID;
COMMENT ON COLUMN sessions.amr IS 'How the user proved who they are, by RFC 8176: the claim of the same name of access tokens.';
