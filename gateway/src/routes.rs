//! The table of what is reachable from outside. Nothing else of a service is: not `/internal`, not its `/metrics`.

use actix_web::guard::{GuardContext, fn_guard};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes, Data, ServiceConfig};

use crate::state::Gateway;
use crate::{docs, edge, proxy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Auth,
    Accounts,
    Transactions,
    Ml,
}

/// Paths and all below them, the same on both sides of the gateway. A longer one comes before its own prefix.
const TABLE: [(&str, Service); 25] = [
    ("/api/v1/transfers", Service::Transactions),
    ("/api/v1/holds", Service::Transactions),
    ("/api/v1/payments", Service::Transactions),
    (TRANSFER_BATCHES, Service::Transactions),
    ("/api/v1/transfer-schedules", Service::Transactions),
    ("/api/v1/events", Service::Transactions),
    ("/api/v1/webhook-endpoints", Service::Transactions),
    ("/api/v1/sandbox", Service::Transactions),
    ("/api/v1/idempotency-keys", Service::Transactions),
    ("/api/v1/integrity", Service::Transactions),
    ("/api/v1/audit-log", Service::Transactions),
    ("/api/v1/ledger", Service::Transactions),
    ("/api/v1/accounts", Service::Accounts),
    ("/api/v1/fraud", Service::Ml),
    ("/api/v1/risk", Service::Ml),
    ("/api/v1/insights", Service::Ml),
    ("/api/v1/auth", Service::Auth),
    ("/oauth", Service::Auth),
    ("/auth", Service::Auth),
    ("/bridge/validate", Service::Auth),
    ("/api/bridge/validate", Service::Auth),
    ("/health", Service::Auth),
    ("/.well-known/jwks.json", Service::Auth),
    (OAUTH_METADATA, Service::Auth),
    (TRUST_TOKEN_KEYS, Service::Auth),
];

const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
const TRUST_TOKEN_KEYS: &str = "/.well-known/trust-token-keys.json";

/// What programs for Flowless ask, and all below: their credentials are no access tokens, and the service looks at them itself.
const FLOWLESS: [&str; 4] = ["/auth", "/bridge/validate", "/api/bridge/validate", "/health"];

/// Shown by whoever was given their ids, in pages that send no token.
const PICTURES: &str = "/api/v1/auth/pictures/";
const PICTURE: &str = "/api/v1/auth/me/picture";
const FRAUD_MODELS: &str = "/api/v1/fraud/models";
const TRANSFER_BATCHES: &str = "/api/v1/transfer-batches";

/// Attempts at a credential: without an access token, and under the strictest limit.
const CREDENTIALS: [&str; 45] = [
    "/api/v1/auth/email/verification",
    "/api/v1/auth/email/verify",
    "/api/v1/auth/login",
    "/api/v1/auth/login/codes",
    "/api/v1/auth/login/codes/use",
    "/api/v1/auth/login/links",
    "/api/v1/auth/login/links/use",
    "/api/v1/auth/password/reset/complete",
    "/api/v1/auth/password/reset/request",
    "/api/v1/auth/password/reset/validate",
    REFRESH,
    "/api/v1/auth/register",
    "/api/v1/auth/passkeys/login",
    "/api/v1/auth/passkeys/login/options",
    "/api/v1/auth/two-factor/login",
    "/api/v1/auth/two-factor/login/passkey-options",
    "/api/v1/auth/two-factor/login/code",
    "/api/v1/auth/two-factor/login/methods",
    "/auth/email/resend",
    "/auth/email/verify",
    "/auth/login",
    "/auth/login/link",
    "/auth/password-change/self",
    "/auth/password-reset/complete",
    "/auth/password-reset/request",
    "/auth/password-reset/reset",
    "/auth/password-reset/validate",
    "/auth/password/change",
    "/auth/password/reset/complete",
    "/auth/password/reset/request",
    "/auth/password/reset/validate",
    "/auth/register",
    "/auth/register/public",
    "/auth/resend-verification",
    "/auth/reset-password",
    "/auth/social/link",
    "/auth/social/login",
    "/auth/token/create",
    "/auth/token/login",
    "/auth/two_factor/toggle",
    "/auth/two_factor/verify",
    "/auth/verify-email",
    "/oauth/token",
    "/oauth/introspect",
    "/oauth/revoke",
];
pub const REFRESH: &str = "/api/v1/auth/refresh";

/// What else needs no access token. The method is not looked at: the service answers a wrong one with 405.
const PUBLIC: [&str; 4] = [
    "/.well-known/jwks.json",
    OAUTH_METADATA,
    TRUST_TOKEN_KEYS,
    "/api/v1/auth/social/providers",
];

/// Answered by the server itself, for operators.
const OPERATIONAL: [&str; 3] = ["/livez", "/readyz", "/metrics"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Public,
    Credentials,
    Token,
}

/// Which service answers `path`, and what the gateway asks for before.
pub fn find(path: &str) -> Option<(Service, Access)> {
    let (_, service) = TABLE.into_iter().find(|(prefix, _)| is_below(prefix, path))?;
    let access = if CREDENTIALS.contains(&path) || is_social_login(path) || is_attempt_of_flowless(path) {
        Access::Credentials
    } else if PUBLIC.contains(&path) || path.starts_with(PICTURES) || is_of_flowless(path) {
        Access::Public
    } else {
        Access::Token
    };
    Some((service, access))
}

/// Whether a request changes something in the ledger, be it by way of a decision about a fraud alert.
pub fn changes_ledger(service: Service, method: &Method, path: &str) -> bool {
    !method.is_safe() && (service == Service::Transactions || shared::scope::is_review_decision(path))
}

/// A login at a provider, its end, and one by what a program has got there.
fn is_social_login(path: &str) -> bool {
    let step = path
        .strip_prefix("/api/v1/auth/social/")
        .and_then(|rest| rest.split_once('/'));
    step.is_some_and(|(_, step)| matches!(step, "login" | "callback" | "token"))
}

/// The same of programs for Flowless; a reset token in the path; and of a second factor, having a code sent and giving it up by one.
/// Not among them: sessions and login tokens, which are random and which backends look up for all of their users from one address.
fn is_attempt_of_flowless(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/auth/") else {
        return false;
    };
    let steps: Vec<&str> = rest.split('/').collect();
    matches!(
        steps.as_slice(),
        ["social", _, "login" | "callback" | "login-api"]
            | ["password-reset", "validate", _]
            | ["two_factor", _, "setup" | "start"]
            | ["two_factor", "email" | "sms" | "totp" | "otp"]
    )
}

fn is_below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether programs for Flowless ask this.
pub fn is_of_flowless(path: &str) -> bool {
    FLOWLESS.iter().any(|prefix| is_below(prefix, path))
}

/// Whether a request to a path of Flowless may be made in the session that comes along: all but those that forms send, of ours
/// and of Apple's, with a credential of their own. Our forms are in pages without a referrer, so their `Origin` is `null`.
pub fn is_in_session(path: &str) -> bool {
    !is_callback(path)
        && !matches!(
            path,
            "/auth/verify-email" | "/auth/reset-password" | "/auth/login/link"
        )
}

/// Where a provider sends the browser back to.
fn is_callback(path: &str) -> bool {
    let rest = ["/api/v1/auth/social/", "/auth/social/"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    rest.and_then(|rest| rest.split_once('/'))
        .is_some_and(|(_, step)| step == "callback")
}

/// Whether even a GET uses a credential up, so that a second one would be refused.
pub fn uses_up(path: &str) -> bool {
    path == "/auth/token/validate" || is_callback(path)
}

/// The most bytes that a body for `path` may have.
pub fn max_body_bytes(path: &str) -> usize {
    match path {
        TRANSFER_BATCHES => 1024 * 1024,
        FRAUD_MODELS => 16 * 1024 * 1024,
        // A picture of 5 MiB, and the form around it.
        PICTURE | "/auth/upload/picture" | "/auth/profile/picture" => 5 * 1024 * 1024 + 4096,
        _ => shared::json::MAX_BODY_BYTES,
    }
}

/// Registers everything but the operational endpoints, inside the layer that makes requests strict and answers safe.
pub fn configure(config: &mut ServiceConfig, gateway: &Data<Gateway>, document: &Bytes) {
    let mut scope = web::scope("")
        .guard(fn_guard(is_not_operational))
        .app_data(Data::clone(gateway));
    // A resource each, although one function serves them all, so that metrics tell them apart.
    for (prefix, _) in TABLE {
        scope = scope
            .service(web::resource(prefix).to(proxy::forward))
            .service(web::resource(format!("{prefix}/{{tail}}*")).to(proxy::forward));
    }
    scope = scope
        .route("/", web::get().to(docs::redirect))
        .route("/docs", web::get().to(docs::redirect))
        .route("/openapi.json", docs::document(document))
        .service(docs::swagger_ui())
        .default_service(web::to(edge::not_found));
    config.service(scope.wrap(from_fn(edge::layer)));
}

fn is_not_operational(context: &GuardContext<'_>) -> bool {
    !OPERATIONAL.contains(&context.head().uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_to_their_service() {
        use Access::{Credentials, Public, Token};
        for (path, expected) in [
            ("/api/v1/auth/login", (Service::Auth, Credentials)),
            ("/api/v1/auth/register", (Service::Auth, Credentials)),
            ("/api/v1/auth/refresh", (Service::Auth, Credentials)),
            ("/api/v1/auth/me", (Service::Auth, Token)),
            ("/auth/login", (Service::Auth, Credentials)),
            ("/auth/user/me", (Service::Auth, Public)),
            ("/auth/password/reset/complete", (Service::Auth, Credentials)),
            (
                "/auth/password-reset/validate/rst_1",
                (Service::Auth, Credentials),
            ),
            ("/auth/social/google/callback", (Service::Auth, Credentials)),
            ("/auth/social/google/login-api", (Service::Auth, Credentials)),
            ("/auth/social/google", (Service::Auth, Public)),
            ("/auth/social/accounts/google", (Service::Auth, Public)),
            ("/auth/two_factor/verify", (Service::Auth, Credentials)),
            ("/auth/two_factor/email/start", (Service::Auth, Credentials)),
            ("/auth/two_factor/sms", (Service::Auth, Credentials)),
            ("/auth/two_factor/methods", (Service::Auth, Public)),
            ("/auth/token/validate", (Service::Auth, Public)),
            ("/auth/bridge/validate", (Service::Auth, Public)),
            ("/bridge/validate", (Service::Auth, Public)),
            ("/health", (Service::Auth, Public)),
            ("/api/bridge/validate", (Service::Auth, Public)),
            ("/api/v1/auth/login/", (Service::Auth, Token)),
            ("/api/v1/auth/login/links/use", (Service::Auth, Credentials)),
            (
                "/api/v1/auth/social/google/callback",
                (Service::Auth, Credentials),
            ),
            ("/api/v1/auth/social/google/link", (Service::Auth, Token)),
            ("/api/v1/auth/social/accounts/google", (Service::Auth, Token)),
            ("/api/v1/auth/social/providers", (Service::Auth, Public)),
            ("/.well-known/jwks.json", (Service::Auth, Public)),
            (OAUTH_METADATA, (Service::Auth, Public)),
            ("/oauth/token", (Service::Auth, Credentials)),
            ("/api/v1/auth/api-keys", (Service::Auth, Token)),
            ("/api/v1/accounts", (Service::Accounts, Token)),
            ("/api/v1/accounts/acct_1/freeze", (Service::Accounts, Token)),
            ("/api/v1/transfers", (Service::Transactions, Token)),
            ("/api/v1/payments/deposits", (Service::Transactions, Token)),
            ("/api/v1/idempotency-keys/abc", (Service::Transactions, Token)),
            ("/api/v1/integrity", (Service::Transactions, Token)),
        ] {
            assert_eq!(find(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn nothing_else_is_reachable() {
        for path in [
            "/",
            "/internal/scores",
            "/internal",
            "/metrics",
            "/livez",
            "/readyz",
            "/openapi.json",
            "/api/v1",
            "/api/v1/internal",
            "/api/v1/accountsx",
            "/api/v1/transfers-internal",
            "/API/v1/accounts",
            "/bridge",
            "/api/bridge",
            "/authx",
            "/.well-known",
            "/.well-known/jwks.jsonx",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn a_longer_path_comes_before_its_own_prefix() {
        for (index, (path, _)) in TABLE.iter().enumerate() {
            let shadowed = TABLE[..index]
                .iter()
                .any(|(earlier, _)| path.starts_with(&format!("{earlier}/")));
            assert!(!shadowed, "{path}");
        }
    }
}
