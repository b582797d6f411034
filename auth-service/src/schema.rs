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
    bridge_secrets (id) {
        id -> Uuid,
        secret_hash -> Bytea,
        name -> Text,
        kind -> Text,
        slot -> Int4,
        created_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
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
    cache_invalidations (id) {
        id -> Int8,
        xid -> Int8,
        key -> Bytea,
        asked_for -> Bool,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    erasures (user_id) {
        user_id -> Uuid,
        requested_at -> Timestamptz,
        attempts -> Int4,
        problem -> Nullable<Text>,
        next_attempt_at -> Timestamptz,
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
    instance_settings (id) {
        id -> Bool,
        validation_mode -> Text,
        session_lifetime_s -> Int4,
        secret_for_registration -> Bool,
        updated_at -> Timestamptz,
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
    messages (id) {
        id -> Uuid,
        channel -> Text,
        kind -> Text,
        recipient_encrypted -> Nullable<Bytea>,
        content_encrypted -> Nullable<Bytea>,
        status -> Text,
        attempts -> Int4,
        problem -> Nullable<Text>,
        created_at -> Timestamptz,
        next_attempt_at -> Timestamptz,
        expires_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
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
    one_time_tokens (token_hash) {
        token_hash -> Bytea,
        purpose -> Text,
        user_id -> Uuid,
        email_hash -> Bytea,
        code_hash -> Nullable<Bytea>,
        attempts_left -> Int4,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
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
    pictures (id) {
        id -> Uuid,
        user_id -> Uuid,
        media_type -> Text,
        content -> Bytea,
        created_at -> Timestamptz,
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
    social_accounts (id) {
        id -> Uuid,
        user_id -> Uuid,
        provider -> Text,
        identity_hash -> Bytea,
        subject_encrypted -> Bytea,
        email_encrypted -> Nullable<Bytea>,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    social_logins (state_hash) {
        state_hash -> Bytea,
        browser_hash -> Bytea,
        provider -> Text,
        callback -> Text,
        session_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    throttles (key) {
        key -> Bytea,
        uses -> Int4,
        ends_at -> Timestamptz,
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
        has_password -> Bool,
    }
}

diesel::joinable!(api_keys -> users (user_id));
diesel::joinable!(email_indexes -> users (user_id));
diesel::joinable!(one_time_tokens -> users (user_id));
diesel::joinable!(passkey_ceremonies -> users (user_id));
diesel::joinable!(passkeys -> users (user_id));
diesel::joinable!(pending_logins -> users (user_id));
diesel::joinable!(pictures -> users (user_id));
diesel::joinable!(recovery_codes -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(remembered_devices -> users (user_id));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(social_accounts -> users (user_id));
diesel::joinable!(social_logins -> sessions (session_id));
diesel::joinable!(two_factor_attempts -> users (user_id));
diesel::joinable!(two_factor_codes -> two_factor_methods (method_id));
diesel::joinable!(two_factor_methods -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    audit_log,
    email_indexes,
    erasures,
    field_keys,
    login_attempts,
    messages,
    modules,
    one_time_tokens,
    passkey_ceremonies,
    passkeys,
    pending_logins,
    pictures,
    recovery_codes,
    refresh_tokens,
    remembered_devices,
    revocation_feed,
    revocations,
    sessions,
    social_accounts,
    social_logins,
    throttles,
    two_factor_attempts,
    two_factor_codes,
    two_factor_methods,
    two_factor_required_roles,
    users,
);
