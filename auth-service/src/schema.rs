// @generated automatically by Diesel CLI.

diesel::table! {
    email_indexes (value) {
        value -> Bytea,
        key_number -> Int4,
        user_id -> Uuid,
    }
}

diesel::table! {
    field_keys (purpose, number) {
        purpose -> Text,
        number -> Int4,
        status -> Text,
        check_value -> Nullable<Bytea>,
        created_at -> Timestamptz,
        changed_at -> Timestamptz,
    }
}

diesel::table! {
    login_attempts (email_hash) {
        email_hash -> Bytea,
        failures -> Int4,
        last_attempt_at -> Timestamptz,
    }
}

diesel::table! {
    modules (name) {
        name -> Text,
        migrations -> Array<Nullable<Text>>,
        version -> Int4,
        enabled -> Bool,
        changed_at -> Timestamptz,
    }
}

diesel::table! {
    passkey_ceremonies (id) {
        id -> Uuid,
        purpose -> Text,
        user_id -> Nullable<Uuid>,
        state -> Jsonb,
        transfer -> Nullable<Jsonb>,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    passkeys (id) {
        id -> Uuid,
        user_id -> Uuid,
        credential_id -> Bytea,
        credential -> Jsonb,
        name_encrypted -> Bytea,
        created_at -> Timestamptz,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    pending_logins (id) {
        id -> Uuid,
        secret_hash -> Bytea,
        user_id -> Uuid,
        amr -> Array<Nullable<Text>>,
        enrolling -> Bool,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    recovery_codes (code_hash) {
        code_hash -> Bytea,
        user_id -> Uuid,
    }
}

diesel::table! {
    refresh_tokens (token_hash) {
        token_hash -> Bytea,
        session_id -> Uuid,
        created_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    remembered_devices (token_hash) {
        token_hash -> Bytea,
        user_id -> Uuid,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        secret_hash -> Bytea,
        user_id -> Uuid,
        ip -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
        expires_at -> Timestamptz,
        idle_expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        ip_encrypted -> Nullable<Bytea>,
        user_agent_encrypted -> Nullable<Bytea>,
        amr -> Array<Nullable<Text>>,
        device_id_encrypted -> Nullable<Bytea>,
        authenticated_at -> Nullable<Timestamptz>,
        two_factor_verified_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    two_factor_attempts (user_id) {
        user_id -> Uuid,
        failures -> Int4,
        last_attempt_at -> Timestamptz,
    }
}

diesel::table! {
    two_factor_codes (method_id, asked_by) {
        method_id -> Uuid,
        asked_by -> Bytea,
        code_hash -> Bytea,
        attempts_left -> Int4,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    two_factor_methods (id) {
        id -> Uuid,
        user_id -> Uuid,
        kind -> Text,
        secret_encrypted -> Bytea,
        last_step -> Nullable<Int8>,
        last_sent_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        activated_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    two_factor_required_roles (role) {
        role -> Text,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Nullable<Text>,
        name -> Nullable<Text>,
        roles -> Array<Nullable<Text>>,
        status -> Text,
        password_hash -> Text,
        password_changed_at -> Timestamptz,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        email_encrypted -> Nullable<Bytea>,
        name_encrypted -> Nullable<Bytea>,
        user_name_encrypted -> Nullable<Bytea>,
        profile_encrypted -> Nullable<Bytea>,
        email_verified_at -> Nullable<Timestamptz>,
    }
}

diesel::joinable!(email_indexes -> users (user_id));
diesel::joinable!(passkey_ceremonies -> users (user_id));
diesel::joinable!(passkeys -> users (user_id));
diesel::joinable!(pending_logins -> users (user_id));
diesel::joinable!(recovery_codes -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(remembered_devices -> users (user_id));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(two_factor_attempts -> users (user_id));
diesel::joinable!(two_factor_codes -> two_factor_methods (method_id));
diesel::joinable!(two_factor_methods -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    email_indexes,
    field_keys,
    login_attempts,
    modules,
    passkey_ceremonies,
    passkeys,
    pending_logins,
    recovery_codes,
    refresh_tokens,
    remembered_devices,
    sessions,
    two_factor_attempts,
    two_factor_codes,
    two_factor_methods,
    two_factor_required_roles,
    users,
);
