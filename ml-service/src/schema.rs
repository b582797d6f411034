// @generated automatically by Diesel CLI.

diesel::table! {
    account_states (account_id) {
        account_id -> Uuid,
        transfer_count -> Int8,
        amount_sum -> Int8,
        amount_max -> Int8,
        last_at -> Timestamptz,
        velocity_bucket -> Int8,
        velocity_counts -> Array<Nullable<Int4>>,
        counterparty_ids -> Array<Nullable<Uuid>>,
    }
}

diesel::table! {
    alerts (id) {
        id -> Uuid,
        case_id -> Uuid,
        kind -> Text,
        severity -> Text,
        status -> Text,
        account_id -> Uuid,
        holder_id -> Nullable<Uuid>,
        transfer_id -> Nullable<Uuid>,
        pattern_window -> Nullable<Int8>,
        sentence -> Text,
        transfer_ids -> Array<Nullable<Uuid>>,
        opened_at -> Timestamptz,
        due_at -> Timestamptz,
        claimed_by -> Nullable<Uuid>,
        claimed_at -> Nullable<Timestamptz>,
        escalated_by -> Nullable<Uuid>,
        escalated_at -> Nullable<Timestamptz>,
        outcome -> Nullable<Text>,
        fraud -> Nullable<Bool>,
        reason -> Nullable<Text>,
        decided_by -> Nullable<Uuid>,
        decided_at -> Nullable<Timestamptz>,
        closed_at -> Nullable<Timestamptz>,
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
    budgets (holder_id, category, currency) {
        holder_id -> Uuid,
        category -> Text,
        currency -> Text,
        amount -> Int8,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    case_history (number) {
        number -> Int8,
        case_id -> Uuid,
        alert_id -> Nullable<Uuid>,
        at -> Timestamptz,
        actor -> Nullable<Uuid>,
        action -> Text,
        text -> Nullable<Text>,
        reference -> Nullable<Text>,
    }
}

diesel::table! {
    cases (id) {
        id -> Uuid,
        subject -> Uuid,
        subject_kind -> Text,
        opened_at -> Timestamptz,
        closed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    category_rules (id) {
        id -> Uuid,
        holder_id -> Uuid,
        transfer_id -> Nullable<Uuid>,
        counterparty_account_id -> Nullable<Uuid>,
        words -> Nullable<Text>,
        category -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    cost_policies (version) {
        version -> Int8,
        review -> Float8,
        false_block_share -> Float8,
        false_block -> Float8,
        review_from -> Float8,
        block_from -> Nullable<Float8>,
        reviews_per_day -> Int4,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    entity_states (entity) {
        entity -> Bytea,
        state -> Bytea,
    }
}

diesel::table! {
    insight_feedback (holder_id, insight_id) {
        holder_id -> Uuid,
        insight_id -> Uuid,
        kind -> Text,
        rating -> Nullable<Text>,
        dismissed_at -> Nullable<Timestamptz>,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    job_positions (job) {
        job -> Text,
        position -> Int8,
    }
}

diesel::table! {
    labels (position) {
        position -> Int8,
        transfer_id -> Uuid,
        fraud -> Bool,
        source -> Text,
        labelled_by -> Uuid,
        occurred_at -> Timestamptz,
        known_at -> Timestamptz,
    }
}

diesel::table! {
    list_entries (id) {
        id -> Uuid,
        list -> Text,
        subject_kind -> Text,
        subject -> Uuid,
        reason -> Text,
        added_by -> Uuid,
        added_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        removed_by -> Nullable<Uuid>,
        removed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    model_promotions (number) {
        number -> Int8,
        model_id -> Uuid,
        replaced -> Nullable<Uuid>,
        gate -> Jsonb,
        proposed_by -> Uuid,
        proposed_at -> Timestamptz,
        approved_by -> Nullable<Uuid>,
        approved_at -> Nullable<Timestamptz>,
        rolled_back_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    models (id) {
        id -> Uuid,
        sha256 -> Text,
        artefact -> Bytea,
        card -> Jsonb,
        status -> Text,
        registered_by -> Uuid,
        registered_at -> Timestamptz,
    }
}

diesel::table! {
    observation_position (singleton) {
        singleton -> Bool,
        xid -> Int8,
        sequence -> Int8,
        applied -> Int8,
    }
}

diesel::table! {
    pattern_parameters (version) {
        version -> Int8,
        parameters -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    policies (version) {
        version -> Int8,
        review_at -> Int2,
        block_at -> Int2,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    risk_assessments (id) {
        id -> Uuid,
        customer_id -> Uuid,
        assessed_by -> Uuid,
        purpose -> Text,
        currency -> Text,
        probability_ppm -> Int4,
        band -> Text,
        model_sha256 -> Text,
        features -> Jsonb,
        reasons -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    rule_proposals (id) {
        id -> Uuid,
        code -> Text,
        expression -> Text,
        sentence -> Text,
        action -> Nullable<Text>,
        points -> Int2,
        status -> Text,
        proposed_by -> Uuid,
        proposed_at -> Timestamptz,
        tested_at -> Nullable<Timestamptz>,
        test -> Nullable<Jsonb>,
        decided_by -> Nullable<Uuid>,
        decided_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    rules (version) {
        version -> Int8,
        code -> Text,
        kind -> Text,
        params -> Jsonb,
        points -> Int2,
        enabled -> Bool,
        created_at -> Timestamptz,
        proposal_id -> Nullable<Uuid>,
        changed_by -> Nullable<Uuid>,
    }
}

diesel::table! {
    scores (transfer_id) {
        transfer_id -> Uuid,
        account_id -> Uuid,
        score -> Int2,
        decision -> Text,
        reasons -> Jsonb,
        rules_version -> Int8,
        created_at -> Timestamptz,
        device -> Nullable<Uuid>,
        address -> Nullable<Uuid>,
        requested_at -> Nullable<Timestamptz>,
        applied -> Nullable<Int8>,
        vector -> Nullable<Bytea>,
        probability -> Nullable<Float8>,
        model -> Nullable<Text>,
    }
}

diesel::table! {
    shadow_scores (transfer_id, model_id) {
        model_id -> Uuid,
        transfer_id -> Uuid,
        probability -> Float8,
    }
}

diesel::table! {
    transfers (transfer_id) {
        position -> Int8,
        transfer_id -> Uuid,
        kind -> Text,
        status -> Text,
        original_transfer_id -> Nullable<Uuid>,
        debit_account_id -> Uuid,
        credit_account_id -> Uuid,
        debit_holder_id -> Nullable<Uuid>,
        credit_holder_id -> Nullable<Uuid>,
        amount -> Int8,
        currency -> Text,
        description -> Nullable<Text>,
        code -> Nullable<Text>,
        decided_by -> Nullable<Uuid>,
        device -> Nullable<Uuid>,
        address -> Nullable<Uuid>,
        occurred_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    account_states,
    alerts,
    audit_log,
    budgets,
    case_history,
    cases,
    category_rules,
    cost_policies,
    entity_states,
    insight_feedback,
    job_positions,
    labels,
    list_entries,
    model_promotions,
    models,
    observation_position,
    pattern_parameters,
    policies,
    risk_assessments,
    rule_proposals,
    rules,
    scores,
    shadow_scores,
    transfers,
);
