//! What a token may be used for: those of a login for everything, those of API keys and clients for what they were given. The
//! method and path of a request tell which scope it needs, so no handler can forget to ask.

use std::fmt;

use actix_web::HttpRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ApiError, Denial};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looking at what is the user's.
    Read,
    /// Changing it, without moving money.
    Write,
    /// Moving money, now or later.
    Money,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Money];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Money => "money",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The scopes of a claim, as RFC 6749 writes them. Those that we do not know allow nothing.
pub fn parse_claim(claim: &str) -> Vec<Scope> {
    claim.split(' ').filter_map(Scope::parse).collect()
}

pub fn claim(scopes: &[Scope]) -> String {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    names.join(" ")
}

/// Where a request that changes something moves money.
const MONEY: [&str; 5] = [
    "/api/v1/transfers",
    "/api/v1/transfer-batches",
    "/api/v1/transfer-schedules",
    "/api/v1/holds",
    "/api/v1/payments",
];
/// What is about the login itself is for whoever has logged in.
const LOGIN: &str = "/api/v1/auth";

/// Where a transfer is asked for, and compared with what the token was made for, if it was made for one.
const ORDERS: [&str; 5] = [
    "/api/v1/transfers",
    "/api/v1/transfer-batches",
    "/api/v1/transfer-schedules",
    "/api/v1/holds",
    "/api/v1/payments/withdrawals",
];

/// Refuses a request of a token that was made for one transfer, and that neither only looks nor asks for a transfer.
pub fn require_order(request: &HttpRequest) -> Result<(), ApiError> {
    if request.method().is_safe() || ORDERS.contains(&request.path()) {
        return Ok(());
    }
    let detail = "The token was made for one transfer. Use one of your login for anything else.";
    Err(ApiError::forbidden("transfer_not_authorized", detail).denied(Denial::InsufficientAuthentication))
}

/// Whether a request to this path, if it changes something, moves money.
pub fn moves_money(path: &str) -> bool {
    MONEY.iter().any(|prefix| is_below(path, prefix)) || is_review_decision(path)
}

/// Whether it decides a fraud alert, upon which the ledger pays held money or gives it back.
pub fn is_review_decision(path: &str) -> bool {
    path.strip_prefix("/api/v1/fraud/alerts/")
        .is_some_and(|rest| rest.split_once('/').is_some_and(|(_, verb)| verb == "decide"))
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Refuses a request that needs a scope which is not among `scopes`.
pub fn require(scopes: &[Scope], request: &HttpRequest) -> Result<(), ApiError> {
    let path = request.path();
    if is_below(path, LOGIN) {
        let detail = "API keys and clients cannot do this: log in.";
        return Err(ApiError::forbidden("login_required", detail).denied(Denial::Forbidden));
    }
    let needed = match request.method().is_safe() {
        true => Scope::Read,
        false if moves_money(path) => Scope::Money,
        false => Scope::Write,
    };
    if scopes.contains(&needed) {
        return Ok(());
    }
    let detail = format!("This needs the scope `{needed}`.");
    Err(ApiError::forbidden("insufficient_scope", detail).denied(Denial::Forbidden))
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn method_and_path_tell_the_scope() {
        use Scope::{Money, Read, Write};
        for (method, path, needed) in [
            (Method::GET, "/api/v1/transfers", Some(Read)),
            (Method::HEAD, "/api/v1/accounts", Some(Read)),
            (Method::POST, "/api/v1/accounts", Some(Write)),
            (Method::PATCH, "/api/v1/webhook-endpoints/whk_1", Some(Write)),
            (Method::POST, "/api/v1/transfers", Some(Money)),
            (Method::POST, "/api/v1/transfers/xfer_1/refunds", Some(Money)),
            (
                Method::POST,
                "/api/v1/transfer-schedules/sch_1/pause",
                Some(Money),
            ),
            (Method::POST, "/api/v1/transfersx", Some(Write)),
            (Method::POST, "/api/v1/fraud/alerts/alert_1/decide", Some(Money)),
            (Method::POST, "/api/v1/fraud/alerts/alert_1/claim", Some(Write)),
            (Method::GET, "/api/v1/auth/me", None),
            (Method::POST, "/api/v1/auth/password/change", None),
        ] {
            let request = TestRequest::with_uri(path)
                .method(method.clone())
                .to_http_request();
            for scope in Scope::ALL {
                let allowed = require(&[scope], &request).is_ok();
                assert_eq!(allowed, needed == Some(scope), "{method} {path} with {scope}");
            }
            assert_eq!(require(&Scope::ALL, &request).is_ok(), needed.is_some());
        }
    }

    #[test]
    fn a_token_for_one_transfer_is_good_for_nothing_else() {
        for (method, path, allowed) in [
            (Method::POST, "/api/v1/transfers", true),
            (Method::POST, "/api/v1/payments/withdrawals", true),
            (Method::GET, "/api/v1/accounts", true),
            (Method::POST, "/api/v1/holds/hold_1/capture", false),
            (Method::POST, "/api/v1/transfers/xfer_1/approve", false),
            (Method::POST, "/api/v1/auth/passkeys", false),
            (Method::DELETE, "/api/v1/auth/two-factor/methods/totp", false),
            (Method::PATCH, "/api/v1/auth/me", false),
        ] {
            let request = TestRequest::with_uri(path).method(method.clone());
            let answer = require_order(&request.to_http_request());
            assert_eq!(answer.is_ok(), allowed, "{method} {path}");
        }
    }

    #[test]
    fn a_claim_is_read_as_it_is_written_and_what_is_unknown_allows_nothing() {
        assert_eq!(parse_claim(&claim(&Scope::ALL)), Scope::ALL);
        assert_eq!(parse_claim("read admin openid"), [Scope::Read]);
        assert_eq!(parse_claim(""), []);
    }
}
