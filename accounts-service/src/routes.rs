//! The endpoints of this service.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::account;

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(account::handlers::open_account)
        .service(account::handlers::list_accounts)
        .service(account::handlers::get_account)
        .service(account::handlers::update_account)
        .service(account::handlers::freeze_account)
        .service(account::handlers::unfreeze_account)
        .service(account::handlers::close_account)
        .service(account::limits::get_account_limits)
        .service(account::limits::set_account_limits)
        .service(account::history::list_account_postings)
        .service(account::history::export_account_postings)
        .service(account::history::get_account_balance);
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Flowlet accounts-service",
        "Accounts: opening, freezing and closing them, their balances and what was booked on them.",
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
