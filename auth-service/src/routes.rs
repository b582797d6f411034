//! The endpoints of this service.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{access_tokens, passwords, sessions, users};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(users::handlers::register_user)
        .service(sessions::handlers::log_in)
        .service(sessions::handlers::refresh_tokens)
        .service(sessions::handlers::log_out)
        .service(passwords::handlers::change_password)
        .service(users::handlers::get_me)
        .service(access_tokens::get_jwks);
}

pub fn document() -> OpenApi {
    shared::openapi::document(
        "Flowlet auth-service",
        "Users, logins, sessions and the keys of access tokens.",
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
