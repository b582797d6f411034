//! The table of endpoints. All of them are for other services; the public API starts elsewhere.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{observation, score};

pub fn configure(config: &mut ServiceConfig) {
    config.map(|config| {
        config
            .service(score::handlers::score_transfers)
            .service(observation::handlers::get_observation_position)
            .service(observation::handlers::observe_transfers)
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
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let generated = shared::openapi::golden_text(&super::document()).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a switch of the test, not configuration"
        )]
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &generated).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            generated == checked_in,
            "openapi.json is out of date: run `UPDATE_EXPECT=1 cargo test -p ml-service openapi` and review the change"
        );
    }
}
