//! The table of endpoints.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    audit, checkpoint, event, hold, idempotency_key, integrity, ledger_account, payment, posting, proof,
    sandbox, schedule, transfer, webhook,
};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(transfer::handlers::create_transfer)
        .service(transfer::batches::create_transfer_batch)
        .service(transfer::search::handlers::list_transfers)
        .service(transfer::search::handlers::export_transfers)
        .service(transfer::handlers::get_transfer)
        .service(transfer::handlers::approve_transfer)
        .service(transfer::handlers::reject_transfer)
        .service(transfer::returns::refund_transfer)
        .service(transfer::returns::reverse_transfer)
        .service(schedule::handlers::create_transfer_schedule)
        .service(schedule::handlers::list_transfer_schedules)
        .service(schedule::handlers::get_transfer_schedule)
        .service(schedule::handlers::list_schedule_runs)
        .service(schedule::handlers::pause_transfer_schedule)
        .service(schedule::handlers::resume_transfer_schedule)
        .service(schedule::handlers::cancel_transfer_schedule)
        .service(hold::handlers::place_hold)
        .service(hold::handlers::list_holds)
        .service(hold::handlers::get_hold)
        .service(hold::handlers::increment_hold)
        .service(hold::handlers::capture_hold)
        .service(hold::handlers::release_hold)
        .service(payment::create_deposit)
        .service(payment::create_withdrawal)
        .service(event::handlers::list_events)
        .service(webhook::handlers::create_webhook_endpoint)
        .service(webhook::handlers::list_webhook_endpoints)
        .service(webhook::handlers::get_webhook_endpoint)
        .service(webhook::handlers::change_webhook_endpoint)
        .service(webhook::handlers::delete_webhook_endpoint)
        .service(webhook::handlers::rotate_webhook_secret)
        .service(webhook::handlers::enable_webhook_endpoint)
        .service(webhook::handlers::disable_webhook_endpoint)
        .service(webhook::deliveries::test_webhook_endpoint)
        .service(webhook::deliveries::list_webhook_deliveries)
        .service(webhook::deliveries::replay_webhook_events)
        .service(sandbox::expire_hold_now)
        .service(sandbox::advance_clock)
        .service(idempotency_key::get_idempotency_key)
        .service(integrity::handlers::get_integrity_report)
        .service(integrity::handlers::start_integrity_run)
        .service(audit::handlers::list_audit_log)
        .service(proof::handlers::get_transfer_proof)
        .service(checkpoint::handlers::list_checkpoint_keys)
        .service(checkpoint::handlers::get_latest_checkpoint)
        .service(checkpoint::handlers::get_checkpoint)
        .service(proof::handlers::export_ledger)
        .map(internal);
}

/// For the other services only, and so not in the public document.
fn internal(config: &mut actix_web::web::ServiceConfig) -> &mut actix_web::web::ServiceConfig {
    config
        .service(ledger_account::handlers::open_ledger_account)
        .service(ledger_account::handlers::set_ledger_account_status)
        .service(ledger_account::handlers::query_ledger_accounts)
        .service(ledger_account::limits::get_limits)
        .service(ledger_account::limits::set_limits)
        .service(posting::handlers::list_postings)
        .service(posting::handlers::get_balance)
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Transactions",
        "Transfers, payments, and the ledger behind them.",
        configure,
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn openapi_json_is_what_the_handlers_say() {
        shared::openapi::check_golden(&super::document(), env!("CARGO_MANIFEST_DIR")).unwrap();
    }
}
