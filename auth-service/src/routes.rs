//! The endpoints of this service.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    access_tokens, administration, api_keys, passwords, revocations, sessions, token_exchange, users,
};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        .service(users::handlers::register_user)
        .service(sessions::handlers::log_in)
        .service(sessions::handlers::refresh_tokens)
        .service(sessions::handlers::log_out)
        .service(passwords::handlers::change_password)
        .service(users::handlers::get_me)
        .service(access_tokens::get_jwks)
        .service(administration::handlers::list_users)
        .service(administration::handlers::get_user)
        .service(administration::handlers::update_user)
        .service(administration::handlers::set_roles)
        .service(administration::handlers::ban_user)
        .service(administration::handlers::unban_user)
        .service(administration::handlers::list_user_sessions)
        .service(administration::handlers::end_user_sessions)
        .service(administration::impersonation::impersonate_user)
        .service(administration::privacy::export_me)
        .service(administration::privacy::erase_user)
        .service(administration::privacy::place_legal_hold)
        .service(administration::privacy::lift_legal_hold)
        .service(administration::audit_log::list_auth_audit_log)
        .service(administration::audit_log::verify_auth_audit_log)
        .service(api_keys::handlers::create_api_key)
        .service(api_keys::handlers::list_api_keys)
        .service(api_keys::handlers::replace_api_key)
        .service(api_keys::handlers::revoke_api_key)
        .service(api_keys::clients::create_client)
        .service(api_keys::clients::list_clients)
        .service(api_keys::clients::remove_client)
        .service(api_keys::oauth::issue_client_token)
        .service(api_keys::oauth::introspect_token)
        .service(api_keys::oauth::revoke_token)
        .service(api_keys::oauth::get_oauth_metadata)
        .map(internal);
}

/// For the gateway only, and so not in the public document.
fn internal(config: &mut actix_web::web::ServiceConfig) -> &mut actix_web::web::ServiceConfig {
    config
        .service(token_exchange::exchange_credential)
        .service(revocations::list_revocations)
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
