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
}

/// Paths and all below them, the same on both sides of the gateway. A longer one comes before its own prefix.
const TABLE: [(&str, Service); 17] = [
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
    ("/api/v1/auth", Service::Auth),
    ("/oauth", Service::Auth),
    ("/.well-known/jwks.json", Service::Auth),
    (OAUTH_METADATA, Service::Auth),
];

const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";

const TRANSFER_BATCHES: &str = "/api/v1/transfer-batches";

/// Attempts at a credential: without an access token, and under the strictest limit.
const CREDENTIALS: [&str; 6] = [
    "/api/v1/auth/login",
    REFRESH,
    "/api/v1/auth/register",
    "/oauth/token",
    "/oauth/introspect",
    "/oauth/revoke",
];
pub const REFRESH: &str = "/api/v1/auth/refresh";

/// What else needs no access token. The method is not looked at: the service answers a wrong one with 405.
const PUBLIC: [&str; 2] = ["/.well-known/jwks.json", OAUTH_METADATA];

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
    let below = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let (_, service) = TABLE.into_iter().find(|(prefix, _)| below(prefix))?;
    let access = if CREDENTIALS.contains(&path) {
        Access::Credentials
    } else if PUBLIC.contains(&path) {
        Access::Public
    } else {
        Access::Token
    };
    Some((service, access))
}

/// Whether a request changes something in the ledger.
pub fn changes_ledger(service: Service, method: &Method) -> bool {
    service == Service::Transactions && !method.is_safe()
}

/// The most bytes that a body for `path` may have.
pub fn max_body_bytes(path: &str) -> usize {
    match path {
        TRANSFER_BATCHES => 1024 * 1024,
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
            ("/api/v1/auth/login/", (Service::Auth, Token)),
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
