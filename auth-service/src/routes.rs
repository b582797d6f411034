//! The endpoints of this service.

use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    access_tokens, administration, api_keys, email_verification, flowless, instance, modules, passkeys,
    passwordless, passwords, pictures, revocations, sessions, social, step_up, token_exchange, trust_tokens,
    two_factor, users,
};

pub fn configure(config: &mut ServiceConfig<'_>) {
    config
        // First: routes are tried in their order, which for all others together costs a good part of a check.
        .map(flowless::configure_bridge)
        .service(users::handlers::register_user)
        .service(sessions::handlers::log_in)
        .service(sessions::handlers::refresh_tokens)
        .service(sessions::handlers::log_out)
        .service(passwordless::request_login_link)
        .service(passwordless::use_login_link)
        .service(passwordless::request_login_code)
        .service(passwordless::use_login_code)
        .service(passwords::handlers::change_password)
        .service(passwords::reset::request_password_reset)
        .service(passwords::reset::validate_password_reset)
        .service(passwords::reset::complete_password_reset)
        .service(email_verification::request_email_verification)
        .service(email_verification::verify_email)
        .service(social::handlers::list_social_providers)
        .service(social::handlers::list_social_accounts)
        .service(social::handlers::link_social_account)
        .service(social::handlers::unlink_social_account)
        .service(social::handlers::begin_social_login)
        .service(social::handlers::begin_social_link)
        .service(social::handlers::finish_social_login)
        .service(social::handlers::finish_social_login_by_form)
        .service(social::handlers::log_in_by_provider_token)
        .service(users::handlers::get_me)
        .service(passkeys::handlers::begin_passkey)
        .service(passkeys::handlers::register_passkey)
        .service(passkeys::handlers::list_passkeys)
        .service(passkeys::handlers::begin_passkey_login)
        .service(passkeys::handlers::log_in_with_passkey)
        .service(passkeys::handlers::rename_passkey)
        .service(passkeys::handlers::remove_passkey)
        .service(step_up::step_up)
        .service(step_up::begin_passkey_step_up)
        .service(two_factor::login_handlers::begin_passkey_at_login)
        .service(two_factor::handlers::get_two_factor)
        .service(two_factor::handlers::add_second_factor)
        .service(two_factor::handlers::send_second_factor_code)
        .service(two_factor::handlers::activate_second_factor)
        .service(two_factor::handlers::remove_second_factor)
        .service(two_factor::handlers::renew_recovery_codes)
        .service(two_factor::handlers::forget_devices)
        .service(two_factor::enforcement::get_required_roles)
        .service(two_factor::enforcement::set_required_roles)
        .service(two_factor::login_handlers::enrol_at_login)
        .service(two_factor::login_handlers::send_code_at_login)
        .service(two_factor::login_handlers::finish_login)
        .service(modules::list_modules)
        .service(modules::switch_module)
        .service(access_tokens::get_jwks)
        .service(administration::handlers::list_users)
        .service(administration::handlers::get_user)
        .service(administration::handlers::update_user)
        .service(administration::handlers::set_roles)
        .service(administration::handlers::set_user_password)
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
        .service(pictures::handlers::set_picture)
        .service(pictures::handlers::remove_picture)
        .service(pictures::handlers::get_picture)
        .service(users::profile::handlers::change_me)
        .service(sessions::list::list_sessions)
        .service(sessions::list::revoke_session)
        .service(sessions::list::revoke_sessions)
        .service(instance::handlers::get_settings)
        .service(instance::handlers::change_settings)
        .service(instance::handlers::list_bridge_secrets)
        .service(instance::handlers::make_bridge_secret)
        .service(instance::handlers::revoke_bridge_secret)
        .service(trust_tokens::get_trust_token_keys)
        .map(internal)
        .map(flowless::configure);
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
