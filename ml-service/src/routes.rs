//! The table of endpoints. All of them are for other services; the public API starts elsewhere.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{fact, score};

pub fn configure(config: &mut ServiceConfig) {
    config.map(|config| {
        config
            .service(score::handlers::score_transfers)
            .service(fact::handlers::get_fact_position)
            .service(fact::handlers::tell_facts)
    });
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Flowlet ML",
        "Fraud scores. Has no public operations yet.",
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
