// @generated automatically by Diesel CLI.

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
    blocks (id) {
        id -> Uuid,
        chain_id -> Uuid,
        height -> Int8,
        previous_hash -> Bytea,
        root -> Bytea,
        transfer_ids -> Array<Nullable<Uuid>>,
        leaves -> Bytea,
        created_at -> Timestamptz,
        xid -> Int8,
    }
}

diesel::table! {
    checkpoint_keys (key_id) {
        key_id -> Text,
        verifier -> Text,
        first_used_at -> Timestamptz,
    }
}

diesel::table! {
    checkpoints (number) {
        number -> Int8,
        note -> Text,
        upto_xid -> Int8,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    event_feed (only_row) {
        only_row -> Bool,
        fact -> Int8,
    }
}

diesel::table! {
    events (holder_id, position) {
        holder_id -> Uuid,
        position -> Int8,
        id -> Uuid,
        kind -> Text,
        account_id -> Uuid,
        account_sequence -> Int8,
        fact -> Int8,
    }
}

diesel::table! {
    holds (id) {
        id -> Uuid,
        account_id -> Uuid,
        transfer_id -> Nullable<Uuid>,
        amount -> Int8,
        captured -> Int8,
        released -> Int8,
        created_at -> Timestamptz,
        kind -> Text,
        credit_account_id -> Nullable<Uuid>,
        debit_holder_id -> Nullable<Uuid>,
        credit_holder_id -> Nullable<Uuid>,
        currency -> Nullable<Text>,
        description -> Nullable<Text>,
        metadata -> Nullable<Jsonb>,
        expires_at -> Nullable<Timestamptz>,
        capture_at -> Nullable<Timestamptz>,
        expired -> Bool,
    }
}

diesel::table! {
    idempotency_keys (owner_id, key) {
        owner_id -> Uuid,
        key -> Text,
        fingerprint -> Bytea,
        transfer_id -> Uuid,
        status -> Int2,
        body -> Text,
        created_at -> Timestamptz,
        subject -> Text,
    }
}

diesel::table! {
    integrity_runs (id) {
        id -> Int8,
        checked_at -> Timestamptz,
        failed -> Array<Nullable<Text>>,
        duration_ms -> Nullable<Int8>,
        violations -> Nullable<Jsonb>,
    }
}

diesel::table! {
    ledger_accounts (id) {
        id -> Uuid,
        kind -> Text,
        holder_id -> Nullable<Uuid>,
        rail -> Nullable<Text>,
        currency -> Text,
        status -> Text,
        posted -> Int8,
        held -> Int8,
        floor -> Nullable<Int8>,
        version -> Int8,
        opened_at -> Timestamptz,
        transfer_limit -> Nullable<Int8>,
        daily_limit -> Nullable<Int8>,
        monthly_limit -> Nullable<Int8>,
        spent_today -> Int8,
        spent_this_month -> Int8,
        last_changed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    outbox (xid, sequence) {
        xid -> Int8,
        sequence -> Int8,
        id -> Uuid,
        kind -> Text,
        transfer_id -> Uuid,
        payload -> Json,
        created_at -> Timestamptz,
        subject -> Text,
    }
}

diesel::table! {
    postings (account_id, sequence, transfer_id) {
        transfer_id -> Uuid,
        account_id -> Uuid,
        sequence -> Int8,
        direction -> Text,
        amount -> Int8,
        currency -> Text,
        balance_after -> Int8,
        posted_at -> Timestamptz,
    }
}

diesel::table! {
    schedule_runs (schedule_id, occurrence) {
        schedule_id -> Uuid,
        occurrence -> Int4,
        due_at -> Timestamptz,
        ran_at -> Timestamptz,
        outcome -> Text,
        transfer_id -> Nullable<Uuid>,
        failure -> Nullable<Jsonb>,
    }
}

diesel::table! {
    schedules (id) {
        id -> Uuid,
        owner_id -> Uuid,
        key -> Text,
        fingerprint -> Bytea,
        transfer -> Jsonb,
        time_zone -> Text,
        first_on -> Date,
        at_time -> Time,
        repeat_every -> Nullable<Int4>,
        repeat_unit -> Nullable<Text>,
        last_on -> Nullable<Date>,
        times -> Nullable<Int4>,
        status -> Text,
        next_occurrence -> Int4,
        next_run_at -> Nullable<Timestamptz>,
        failures_in_a_row -> Int4,
        failure -> Nullable<Jsonb>,
        created_at -> Timestamptz,
        attempts -> Int4,
        retry_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    transfer_labels (holder_id, label, transfer_id) {
        holder_id -> Uuid,
        label -> Text,
        transfer_id -> Uuid,
    }
}

diesel::table! {
    transfer_parties (holder_id, transfer_id) {
        holder_id -> Uuid,
        transfer_id -> Uuid,
    }
}

diesel::table! {
    transfers (id) {
        id -> Uuid,
        kind -> Text,
        status -> Text,
        debit_account_id -> Nullable<Uuid>,
        credit_account_id -> Nullable<Uuid>,
        debit_holder_id -> Nullable<Uuid>,
        credit_holder_id -> Nullable<Uuid>,
        amount -> Nullable<Int8>,
        currency -> Nullable<Text>,
        description -> Nullable<Text>,
        metadata -> Nullable<Jsonb>,
        initiated_by -> Uuid,
        rejection_code -> Nullable<Text>,
        hold_id -> Nullable<Uuid>,
        risk_score -> Nullable<Int2>,
        risk_decision -> Nullable<Text>,
        risk_reasons -> Nullable<Jsonb>,
        decided_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        completed_at -> Nullable<Timestamptz>,
        captured_hold_id -> Nullable<Uuid>,
        original_transfer_id -> Nullable<Uuid>,
        refunded -> Int8,
        reversal_id -> Nullable<Uuid>,
        several_legs -> Nullable<Jsonb>,
        reference -> Nullable<Text>,
        effective_date -> Nullable<Date>,
        review_reason -> Nullable<Text>,
        block_ids -> Array<Nullable<Uuid>>,
    }
}

diesel::table! {
    webhook_deliveries (id) {
        id -> Uuid,
        endpoint_id -> Uuid,
        event_id -> Uuid,
        kind -> Text,
        account_id -> Nullable<Uuid>,
        status -> Text,
        attempts -> Jsonb,
        next_attempt_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    webhook_endpoints (id) {
        id -> Uuid,
        holder_id -> Uuid,
        url -> Text,
        description -> Nullable<Text>,
        types -> Array<Nullable<Text>>,
        faults -> Array<Nullable<Text>>,
        secret -> Bytea,
        previous_secret -> Nullable<Bytea>,
        previous_secret_until -> Nullable<Timestamptz>,
        disabled_because -> Nullable<Text>,
        failing_since -> Nullable<Timestamptz>,
        due_at -> Nullable<Timestamptz>,
        leased_until -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    audit_log,
    blocks,
    checkpoint_keys,
    checkpoints,
    event_feed,
    events,
    holds,
    idempotency_keys,
    integrity_runs,
    ledger_accounts,
    outbox,
    postings,
    schedule_runs,
    schedules,
    transfer_labels,
    transfer_parties,
    transfers,
    webhook_deliveries,
    webhook_endpoints,
);
