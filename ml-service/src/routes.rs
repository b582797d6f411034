//! The table of endpoints.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{decision, fact, label, monitoring, registered_model, score};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(decision::handlers::get_fraud_decision)
        .service(label::handlers::label_transfers)
        .service(monitoring::handlers::get_fraud_monitoring)
        .service(registered_model::handlers::list_fraud_models)
        .service(registered_model::handlers::register_fraud_model)
        .service(registered_model::handlers::shadow_fraud_model)
        .service(registered_model::handlers::retire_fraud_model)
        .service(registered_model::handlers::promote_fraud_model)
        .service(registered_model::handlers::roll_back_fraud_model)
        .map(internal);
}

/// For the other services only, and so not in the public document.
fn internal(config: &mut actix_web::web::ServiceConfig) -> &mut actix_web::web::ServiceConfig {
    config
        .service(score::handlers::score_transfers)
        .service(fact::handlers::get_fact_position)
        .service(fact::handlers::tell_facts)
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Flowlet ML",
        "Fraud scores, and what is learnt from them.",
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
