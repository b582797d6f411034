// @generated automatically by Diesel CLI.

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        kind -> Text,
        user_id -> Uuid,
        name_encrypted -> Bytea,
        secret_hash -> Bytea,
        scopes -> Array<Nullable<Text>>,
        allowed_networks -> Array<Nullable<Text>>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        last_used_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        replaced_by -> Nullable<Uuid>,
    }
}

diesel::table! {
    audit_log (number) {
        number -> Int8,
        at -> Timestamptz,
        actor -> Text,
        roles -> Text,
        action -> Text,
        subject -> Text,
        before -> Nullable<Json>,
        after -> Nullable<Json>,
        request_id -> Nullable<Text>,
        previous_hash -> Bytea,
        hash -> Bytea,
    }
}

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
    refresh_tokens (token_hash) {
        token_hash -> Bytea,
        session_id -> Uuid,
        created_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        successor_sealed -> Nullable<Bytea>,
    }
}

diesel::table! {
    revocation_feed (id) {
        id -> Bool,
        last -> Int8,
    }
}

diesel::table! {
    revocations (number) {
        number -> Int8,
        id -> Uuid,
        revoked_at -> Timestamptz,
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
        legal_hold_at -> Nullable<Timestamptz>,
    }
}

diesel::joinable!(api_keys -> users (user_id));
diesel::joinable!(email_indexes -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(sessions -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    audit_log,
    email_indexes,
    field_keys,
    login_attempts,
    refresh_tokens,
    revocation_feed,
    revocations,
    sessions,
    users,
);
