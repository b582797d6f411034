// @generated automatically by Diesel CLI.

diesel::table! {
    accounts (id) {
        id -> Uuid,
        owner_id -> Uuid,
        kind -> Text,
        currency -> Text,
        nickname -> Nullable<Text>,
        status -> Text,
        frozen_by -> Nullable<Text>,
        retry_at -> Nullable<Timestamptz>,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Nullable<Bytea>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        changed_by -> Nullable<Jsonb>,
    }
}
