//! Who may do what: every operation of the public API refuses whoever has no token, and whoever does not own what it is
//! about. An operation that is missing in the table below fails the test, so nobody can forget one.

use platform::authenticator::Authenticator;
use platform::client::{Answer, new_key, transfer_body};
use platform::{Client, Customer, Platform};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

/// Operations that need no token, and why. This list may only get shorter.
const PUBLIC: [(&str, &str); 30] = [
    (
        "GET /api/v1/auth/pictures/{picture_id}",
        "pages show pictures without a token",
    ),
    ("GET /api/v1/auth/social/providers", "who asks is about to log in"),
    (
        "POST /api/v1/auth/social/{provider}/login",
        "who asks is about to log in",
    ),
    (
        "GET /api/v1/auth/social/{provider}/callback",
        "what the provider says is the credential",
    ),
    (
        "POST /api/v1/auth/social/{provider}/callback",
        "what the provider says is the credential",
    ),
    (
        "POST /api/v1/auth/social/{provider}/token",
        "what the provider says is the credential",
    ),
    (
        "POST /api/v1/auth/email/verification",
        "who asks has no way to log in yet",
    ),
    ("POST /api/v1/auth/email/verify", "the token is the credential"),
    (
        "POST /api/v1/auth/login/codes",
        "who asks cannot log in otherwise",
    ),
    ("POST /api/v1/auth/login/codes/use", "the code is the credential"),
    (
        "POST /api/v1/auth/login/links",
        "who asks cannot log in otherwise",
    ),
    ("POST /api/v1/auth/login/links/use", "the token is the credential"),
    (
        "POST /api/v1/auth/password/reset/request",
        "who asks cannot log in",
    ),
    (
        "POST /api/v1/auth/password/reset/validate",
        "the token is the credential",
    ),
    (
        "POST /api/v1/auth/password/reset/complete",
        "the token is the credential",
    ),
    ("POST /api/v1/auth/register", "there is no user yet"),
    ("POST /api/v1/auth/login", "the password is the credential"),
    ("POST /api/v1/auth/refresh", "the refresh token is the credential"),
    (
        "POST /api/v1/auth/passkeys/login",
        "the passkey is the credential",
    ),
    (
        "POST /api/v1/auth/passkeys/login/options",
        "a challenge for anybody",
    ),
    (
        "POST /api/v1/auth/two-factor/login/code",
        "the pending login is the credential",
    ),
    (
        "POST /api/v1/auth/two-factor/login/passkey-options",
        "the pending login is the credential",
    ),
    (
        "POST /api/v1/auth/two-factor/login",
        "the pending login is the credential",
    ),
    (
        "POST /api/v1/auth/two-factor/login/methods",
        "the pending login is the credential",
    ),
    ("GET /.well-known/jwks.json", "public keys"),
    ("GET /.well-known/oauth-authorization-server", "public metadata"),
    ("POST /oauth/token", "the client's secret is the credential"),
    ("POST /oauth/introspect", "the client's secret is the credential"),
    (
        "POST /oauth/revoke",
        "the client's secret or a refresh token is the credential",
    ),
    ("GET /.well-known/trust-token-keys.json", "public keys"),
];

/// What the operation answers to a user who does not own what it is about.
enum WrongOwner {
    /// This status and code.
    Refused(u16, &'static str),
    /// 200, with this code for each item.
    ItemsRefused(&'static str),
    /// 200, with nothing of the owner's in it.
    ShowsNothing,
    /// It is about the caller alone: no part of the request names anything of somebody else's.
    OnlyOwn,
}
use WrongOwner::{ItemsRefused, OnlyOwn, Refused, ShowsNothing};

type Body = fn(&Owned) -> Value;

/// Each operation with a token: its body, if it has one, and what a user gets who is not the owner.
const OPERATIONS: [(&str, Option<Body>, WrongOwner); 171] = [
    ("PUT /api/v1/auth/me/picture", None, OnlyOwn),
    ("DELETE /api/v1/auth/me/picture", None, OnlyOwn),
    ("GET /api/v1/auth/social/accounts", None, OnlyOwn),
    ("POST /api/v1/auth/social/accounts", Some(social_account), OnlyOwn),
    (
        "DELETE /api/v1/auth/social/accounts/{provider}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/auth/social/{provider}/link",
        None,
        Refused(422, "provider_disabled"),
    ),
    ("GET /api/v1/auth/me", None, OnlyOwn),
    ("PATCH /api/v1/auth/me", Some(profile), OnlyOwn),
    ("GET /api/v1/auth/sessions", None, OnlyOwn),
    ("DELETE /api/v1/auth/sessions", None, OnlyOwn),
    (
        "DELETE /api/v1/auth/sessions/{session_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/auth/instance-settings",
        None,
        Refused(403, "role_required"),
    ),
    (
        "PATCH /api/v1/auth/instance-settings",
        Some(profile),
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/auth/bridge-secrets",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/auth/bridge-secrets",
        Some(bridge_secret),
        Refused(403, "role_required"),
    ),
    (
        "DELETE /api/v1/auth/bridge-secrets/{bridge_secret_id}",
        None,
        Refused(403, "role_required"),
    ),
    ("POST /api/v1/auth/logout", None, OnlyOwn),
    (
        "POST /api/v1/auth/password/change",
        Some(password_change),
        OnlyOwn,
    ),
    ("POST /api/v1/auth/passkeys/registration", None, OnlyOwn),
    ("POST /api/v1/auth/passkeys", Some(new_passkey), OnlyOwn),
    ("GET /api/v1/auth/passkeys", None, OnlyOwn),
    (
        "PATCH /api/v1/auth/passkeys/{passkey_id}",
        Some(passkey_name),
        Refused(404, "not_found"),
    ),
    (
        "DELETE /api/v1/auth/passkeys/{passkey_id}",
        None,
        Refused(404, "not_found"),
    ),
    ("POST /api/v1/auth/step-up", Some(proof), OnlyOwn),
    (
        "POST /api/v1/auth/step-up/passkey-options",
        Some(nothing),
        OnlyOwn,
    ),
    ("GET /api/v1/auth/two-factor", None, OnlyOwn),
    (
        "POST /api/v1/auth/two-factor/methods",
        Some(second_factor),
        OnlyOwn,
    ),
    (
        "POST /api/v1/auth/two-factor/methods/{method}/code",
        None,
        OnlyOwn,
    ),
    (
        "POST /api/v1/auth/two-factor/methods/{method}/activate",
        Some(code),
        OnlyOwn,
    ),
    ("DELETE /api/v1/auth/two-factor/methods/{method}", None, OnlyOwn),
    ("POST /api/v1/auth/two-factor/recovery-codes", None, OnlyOwn),
    ("DELETE /api/v1/auth/two-factor/remembered-devices", None, OnlyOwn),
    (
        "GET /api/v1/auth/two-factor/required-roles",
        None,
        Refused(403, "role_required"),
    ),
    (
        "PUT /api/v1/auth/two-factor/required-roles",
        Some(no_roles),
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/auth/modules", None, Refused(403, "role_required")),
    (
        "PUT /api/v1/auth/modules/{name}",
        Some(switched_off),
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/auth/me/export", None, OnlyOwn),
    ("POST /api/v1/auth/api-keys", Some(new_api_key), OnlyOwn),
    ("GET /api/v1/auth/api-keys", None, ShowsNothing),
    (
        "POST /api/v1/auth/api-keys/{key_id}/replace",
        Some(nothing),
        Refused(404, "not_found"),
    ),
    (
        "DELETE /api/v1/auth/api-keys/{key_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/auth/clients",
        Some(new_client),
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/auth/clients", None, Refused(403, "role_required")),
    (
        "DELETE /api/v1/auth/clients/{client_id}",
        None,
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/auth/users", None, Refused(403, "role_required")),
    (
        "GET /api/v1/auth/users/{user_id}",
        None,
        Refused(403, "role_required"),
    ),
    (
        "PATCH /api/v1/auth/users/{user_id}",
        Some(new_name),
        Refused(403, "role_required"),
    ),
    (
        "DELETE /api/v1/auth/users/{user_id}",
        None,
        Refused(403, "role_required"),
    ),
    (
        "PUT /api/v1/auth/users/{user_id}/roles",
        Some(all_roles),
        Refused(403, "role_required"),
    ),
    (
        "PUT /api/v1/auth/users/{user_id}/password",
        Some(new_password),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/auth/users/{user_id}/ban",
        Some(ban),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/auth/users/{user_id}/unban",
        None,
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/auth/users/{user_id}/sessions",
        None,
        Refused(403, "role_required"),
    ),
    (
        "DELETE /api/v1/auth/users/{user_id}/sessions",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/auth/users/{user_id}/impersonate",
        Some(ticket),
        Refused(403, "role_required"),
    ),
    (
        "PUT /api/v1/auth/users/{user_id}/legal-hold",
        None,
        Refused(403, "role_required"),
    ),
    (
        "DELETE /api/v1/auth/users/{user_id}/legal-hold",
        None,
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/auth/audit-log", None, Refused(403, "role_required")),
    (
        "GET /api/v1/auth/audit-log/verification",
        None,
        Refused(403, "role_required"),
    ),
    ("POST /api/v1/accounts", Some(new_account), OnlyOwn),
    ("GET /api/v1/accounts", None, ShowsNothing),
    (
        "GET /api/v1/accounts/{account_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "PATCH /api/v1/accounts/{account_id}",
        Some(nickname),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/accounts/{account_id}/freeze",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/accounts/{account_id}/unfreeze",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/accounts/{account_id}/close",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/accounts/{account_id}/postings",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/accounts/{account_id}/limits",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/accounts/{account_id}/postings/export",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/accounts/{account_id}/balance",
        None,
        Refused(404, "not_found"),
    ),
    (
        "PUT /api/v1/accounts/{account_id}/limits",
        Some(limits),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/transfers",
        Some(transfer),
        Refused(422, "account_not_found"),
    ),
    (
        "POST /api/v1/transfer-batches",
        Some(batch),
        ItemsRefused("account_not_found"),
    ),
    ("GET /api/v1/transfers", None, ShowsNothing),
    ("GET /api/v1/transfers/export", None, ShowsNothing),
    (
        "GET /api/v1/transfers/{transfer_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/transfers/{transfer_id}/approve",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/transfers/{transfer_id}/reject",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/transfers/{transfer_id}/refunds",
        Some(part),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/transfers/{transfer_id}/reversals",
        Some(reversal),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/transfer-schedules",
        Some(schedule),
        Refused(422, "account_not_found"),
    ),
    ("GET /api/v1/transfer-schedules", None, ShowsNothing),
    (
        "GET /api/v1/transfer-schedules/{schedule_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/transfer-schedules/{schedule_id}/runs",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/transfer-schedules/{schedule_id}/pause",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/transfer-schedules/{schedule_id}/resume",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/transfer-schedules/{schedule_id}/cancel",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/holds",
        Some(hold),
        Refused(422, "account_not_found"),
    ),
    (
        "POST /api/v1/sandbox/holds/{hold_id}/expire",
        None,
        Refused(404, "not_found"),
    ),
    ("POST /api/v1/sandbox/clock/advance", Some(one_second), OnlyOwn),
    ("GET /api/v1/holds", None, ShowsNothing),
    ("GET /api/v1/holds/{hold_id}", None, Refused(404, "not_found")),
    (
        "POST /api/v1/holds/{hold_id}/increment",
        Some(part),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/holds/{hold_id}/capture",
        Some(part),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/holds/{hold_id}/release",
        Some(part),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/payments/deposits",
        Some(payment),
        Refused(422, "account_not_found"),
    ),
    (
        "POST /api/v1/payments/withdrawals",
        Some(payment),
        Refused(422, "account_not_found"),
    ),
    ("GET /api/v1/events", None, ShowsNothing),
    ("POST /api/v1/webhook-endpoints", Some(new_endpoint), OnlyOwn),
    ("GET /api/v1/webhook-endpoints", None, ShowsNothing),
    (
        "GET /api/v1/webhook-endpoints/{webhook_endpoint_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "PATCH /api/v1/webhook-endpoints/{webhook_endpoint_id}",
        Some(new_endpoint),
        Refused(404, "not_found"),
    ),
    (
        "DELETE /api/v1/webhook-endpoints/{webhook_endpoint_id}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/webhook-endpoints/{webhook_endpoint_id}/rotate-secret",
        Some(nothing),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/webhook-endpoints/{webhook_endpoint_id}/enable",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/webhook-endpoints/{webhook_endpoint_id}/disable",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/webhook-endpoints/{webhook_endpoint_id}/test",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/webhook-endpoints/{webhook_endpoint_id}/deliveries",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/webhook-endpoints/{webhook_endpoint_id}/replay",
        Some(replay),
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/idempotency-keys/{key}",
        None,
        Refused(404, "not_found"),
    ),
    ("GET /api/v1/integrity", None, Refused(403, "role_required")),
    ("POST /api/v1/integrity/runs", None, Refused(403, "role_required")),
    ("GET /api/v1/audit-log", None, Refused(403, "role_required")),
    (
        "GET /api/v1/transfers/{transfer_id}/proof",
        None,
        Refused(404, "not_found"),
    ),
    ("GET /api/v1/ledger/keys", None, OnlyOwn),
    ("GET /api/v1/ledger/checkpoints/latest", None, OnlyOwn),
    ("GET /api/v1/ledger/checkpoints/{number}", None, OnlyOwn),
    ("GET /api/v1/ledger/export", None, Refused(403, "role_required")),
    (
        "POST /api/v1/risk/assessments",
        Some(risk),
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/risk/assessments",
        None,
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/risk/assessments/{risk_assessment_id}",
        None,
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/fraud/rules", None, Refused(403, "role_required")),
    (
        "GET /api/v1/fraud/rules/{code}/versions",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/rules/{code}/retire",
        Some(reason),
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/fraud/rule-proposals",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/rule-proposals",
        Some(fraud_rule),
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/fraud/rule-proposals/{rule_proposal_id}",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/rule-proposals/{rule_proposal_id}/test",
        Some(nothing),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/rule-proposals/{rule_proposal_id}/shadow",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/rule-proposals/{rule_proposal_id}/activate",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/rule-proposals/{rule_proposal_id}/withdraw",
        None,
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/fraud/lists", None, Refused(403, "role_required")),
    (
        "POST /api/v1/fraud/lists",
        Some(blocked_account),
        Refused(403, "role_required"),
    ),
    (
        "DELETE /api/v1/fraud/lists/{list_entry_id}",
        None,
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/fraud/alerts", None, Refused(403, "role_required")),
    (
        "GET /api/v1/fraud/alerts/{alert_id}",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/alerts/{alert_id}/claim",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/alerts/{alert_id}/release",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/alerts/{alert_id}/escalate",
        Some(reason),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/alerts/{alert_id}/notes",
        Some(note),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/alerts/{alert_id}/evidence",
        Some(note),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/alerts/{alert_id}/decide",
        Some(fraud_decision),
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/fraud/cases", None, Refused(403, "role_required")),
    (
        "GET /api/v1/fraud/cases/{case_id}",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/cases/{case_id}/notes",
        Some(note),
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/fraud/audit-log", None, Refused(403, "role_required")),
    ("GET /api/v1/insights", None, ShowsNothing),
    ("GET /api/v1/insights/anomalies", None, ShowsNothing),
    ("GET /api/v1/insights/recurring", None, ShowsNothing),
    ("GET /api/v1/insights/subscriptions", None, ShowsNothing),
    ("GET /api/v1/insights/savings", None, ShowsNothing),
    ("GET /api/v1/insights/cash-flow", None, ShowsNothing),
    ("GET /api/v1/insights/categories", None, ShowsNothing),
    ("GET /api/v1/insights/categories/rules", None, ShowsNothing),
    (
        "PUT /api/v1/insights/categories/rules",
        Some(category_rule),
        OnlyOwn,
    ),
    (
        "DELETE /api/v1/insights/categories/rules/{category_rule_id}",
        None,
        Refused(404, "not_found"),
    ),
    ("GET /api/v1/insights/budgets", None, ShowsNothing),
    (
        "PUT /api/v1/insights/budgets/{currency}/{category}",
        Some(budget),
        OnlyOwn,
    ),
    (
        "DELETE /api/v1/insights/budgets/{currency}/{category}",
        None,
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/insights/{insight_id}/feedback",
        Some(rating),
        Refused(404, "not_found"),
    ),
    (
        "POST /api/v1/insights/{insight_id}/dismiss",
        None,
        Refused(404, "not_found"),
    ),
    (
        "GET /api/v1/fraud/decisions/{transfer_id}",
        None,
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/fraud/monitoring",
        None,
        Refused(403, "role_required"),
    ),
    (
        "GET /api/v1/fraud/training-payments",
        None,
        Refused(403, "role_required"),
    ),
    ("GET /api/v1/fraud/models", None, Refused(403, "role_required")),
    (
        "POST /api/v1/fraud/models",
        Some(nothing),
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/models/{model_id}/shadow",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/models/{model_id}/retire",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/models/{model_id}/promote",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/model-rollbacks",
        None,
        Refused(403, "role_required"),
    ),
    (
        "POST /api/v1/fraud/labels",
        Some(labels),
        Refused(403, "role_required"),
    ),
];

/// What belongs to one user, for another to try.
struct Owned {
    owner: Customer,
    account_id: String,
    other_account_id: String,
    transfer_id: String,
    hold_id: String,
    schedule_id: String,
    session_id: String,
    webhook_endpoint_id: String,
    passkey_id: String,
    key: String,
    api_key_id: String,
}

impl Owned {
    async fn make(platform: &Platform) -> Self {
        let owner = platform.register("owner").await;
        let account_id = owner.open_funded_account(10_000, "USD").await;
        let other_account_id = owner.open_account("USD").await;
        let key = new_key();
        let body = transfer_body(&account_id, &other_account_id, 100, "USD");
        let made = owner
            .post_with_key("/api/v1/transfers", &key, body)
            .await
            .must_be(201);
        let hold = owner.place_hold(&account_id, &other_account_id, 100, "USD").await;
        let schedule = schedule_of(&account_id, &other_account_id);
        let schedule = owner
            .post_with_key("/api/v1/transfer-schedules", &new_key(), schedule)
            .await
            .must_be(201);
        let session = owner.get("/api/v1/auth/sessions").await.must_be(200);
        let endpoint = json!({ "url": "http://127.0.0.1:9/owned" });
        let endpoint = owner
            .post("/api/v1/webhook-endpoints", endpoint)
            .await
            .must_be(201);
        let origin = "https://app.example.com";
        let mut authenticator = Authenticator::new(origin).unwrap();
        let begun = owner
            .post_empty("/api/v1/auth/passkeys/registration")
            .await
            .must_be(201);
        let credential = authenticator.create(&begun["options"]).unwrap();
        let passkey =
            json!({ "ceremony_id": begun["ceremony_id"], "name": "Owned", "credential": credential });
        let passkey = owner.post("/api/v1/auth/passkeys", passkey).await.must_be(201);
        let api_key = json!({ "name": "Owned", "scopes": ["read"] });
        let api_key = owner.post("/api/v1/auth/api-keys", api_key).await.must_be(201);
        Self {
            owner,
            passkey_id: passkey["id"].as_str().unwrap().to_owned(),
            api_key_id: api_key["id"].as_str().unwrap().to_owned(),
            webhook_endpoint_id: endpoint["id"].as_str().unwrap().to_owned(),
            session_id: session["sessions"][0]["id"].as_str().unwrap().to_owned(),
            account_id,
            other_account_id,
            transfer_id: made["id"].as_str().unwrap().to_owned(),
            hold_id: hold.must_be(201)["id"].as_str().unwrap().to_owned(),
            schedule_id: schedule["id"].as_str().unwrap().to_owned(),
            key,
        }
    }

    /// The path with the owner's ids in it.
    fn path(&self, template: &str) -> String {
        let path = template
            .replace("{account_id}", &self.account_id)
            .replace("{transfer_id}", &self.transfer_id)
            .replace("{hold_id}", &self.hold_id)
            .replace("{schedule_id}", &self.schedule_id)
            .replace("{webhook_endpoint_id}", &self.webhook_endpoint_id)
            .replace("{session_id}", &self.session_id)
            .replace("{bridge_secret_id}", "bsec_01h455vb4pex5vsknk084sn02q")
            .replace("{key}", &self.key)
            .replace("{name}", "two-factor")
            .replace("{method}", "totp")
            .replace("{passkey_id}", &self.passkey_id)
            .replace("{key_id}", &self.api_key_id)
            .replace("{client_id}", &self.api_key_id)
            .replace("{user_id}", &self.owner.user_id)
            .replace("{provider}", "google")
            .replace("{category_rule_id}", "cat_01h455vb4pex5vsknk084sn02q")
            .replace("{risk_assessment_id}", "rsk_01h455vb4pex5vsknk084sn02q")
            .replace("{insight_id}", "ins_01h455vb4pex5vsknk084sn02q")
            .replace("{currency}", "USD")
            .replace("{category}", "groceries")
            .replace("{model_id}", "mdl_01h455vb4pex5vsknk084sn02q")
            .replace("{number}", "1")
            .replace("{code}", "velocity")
            .replace("{rule_proposal_id}", "rpr_01h455vb4pex5vsknk084sn02q")
            .replace("{list_entry_id}", "lst_01h455vb4pex5vsknk084sn02q")
            .replace("{alert_id}", "alt_01h455vb4pex5vsknk084sn02q")
            .replace("{case_id}", "case_01h455vb4pex5vsknk084sn02q");
        assert!(
            !path.contains('{'),
            "teach Owned::path what to put into {template}"
        );
        if path == "/api/v1/auth/clients" {
            return format!("{path}?user_id={}", self.owner.user_id);
        }
        if path == "/api/v1/auth/me/export" {
            return path;
        }
        if path.ends_with("/export") && path != "/api/v1/ledger/export" {
            return format!("{path}?format=csv");
        }
        path
    }

    async fn call(&self, client: &Client, operation: &str, body: Option<Body>) -> Answer {
        let (method, template) = operation.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client
            .request(method, &self.path(template))
            .header("idempotency-key", new_key());
        if let Some(body) = body {
            request = request.json(&body(self));
        }
        client.send(request).await
    }
}

fn risk(owned: &Owned) -> Value {
    json!({ "customer_id": owned.owner.user_id, "purpose": "loan", "currency": "USD" })
}

fn category_rule(owned: &Owned) -> Value {
    json!({ "subject": { "counterparty_account_id": owned.account_id }, "category": "people" })
}

fn budget(_: &Owned) -> Value {
    json!({ "amount": 10_000 })
}

fn rating(_: &Owned) -> Value {
    json!({ "rating": "useful" })
}

fn social_account(_: &Owned) -> Value {
    json!({ "provider": "google", "id_token": "not-a-token" })
}

fn password_change(_: &Owned) -> Value {
    json!({ "current_password": "not-the-password", "new_password": "copper-meadow-17-telescope" })
}

fn new_passkey(_: &Owned) -> Value {
    json!({ "ceremony_id": shared::id::CeremonyId::new(), "name": "Mine", "credential": {} })
}

fn passkey_name(_: &Owned) -> Value {
    json!({ "name": "Mine" })
}

fn proof(_: &Owned) -> Value {
    json!({ "method": "totp", "code": "000000" })
}

fn second_factor(_: &Owned) -> Value {
    json!({ "method": "totp" })
}

fn code(_: &Owned) -> Value {
    json!({ "code": "000000" })
}

fn no_roles(_: &Owned) -> Value {
    json!({ "roles": [] })
}

fn switched_off(_: &Owned) -> Value {
    json!({ "enabled": false })
}

fn new_api_key(_: &Owned) -> Value {
    json!({ "name": "Program", "scopes": ["read"] })
}

fn new_client(owned: &Owned) -> Value {
    json!({ "user_id": owned.owner.user_id, "name": "Program", "scopes": ["read"] })
}

fn new_name(_: &Owned) -> Value {
    json!({ "name": "Mallory" })
}

fn all_roles(_: &Owned) -> Value {
    json!({ "roles": Role::ALL })
}

fn new_password(_: &Owned) -> Value {
    json!({ "new_password": "copper-meadow-17-telescope" })
}

fn ban(_: &Owned) -> Value {
    json!({ "reason": "other" })
}

fn ticket(_: &Owned) -> Value {
    json!({ "ticket": "CASE-1" })
}

fn new_account(_: &Owned) -> Value {
    json!({ "kind": "savings", "currency": "EUR" })
}

fn schedule(owned: &Owned) -> Value {
    schedule_of(&owned.account_id, &owned.other_account_id)
}

/// A year from now, so that nothing of it happens here.
fn schedule_of(from: &str, to: &str) -> Value {
    let first_on = (shared::Clock::system().now() + chrono::Duration::days(365)).date_naive();
    json!({
        "transfer": transfer_body(from, to, 1, "USD"),
        "calendar": { "first_on": first_on, "at": "09:00", "time_zone": "UTC" },
    })
}

fn one_second(_: &Owned) -> Value {
    json!({ "seconds": 1 })
}

fn limits(_: &Owned) -> Value {
    json!({ "per_transfer": null, "daily": 1, "monthly": null, "reason": "Because." })
}

fn nickname(_: &Owned) -> Value {
    json!({ "nickname": "Mine now" })
}

fn transfer(owned: &Owned) -> Value {
    transfer_body(&owned.account_id, &owned.other_account_id, 100, "USD")
}

fn hold(owned: &Owned) -> Value {
    json!({ "account_id": owned.account_id, "credit_account_id": owned.other_account_id, "amount": 100, "currency": "USD" })
}

fn part(_: &Owned) -> Value {
    json!({ "amount": 1 })
}

fn reversal(_: &Owned) -> Value {
    json!({ "description": "Not mine" })
}

fn new_endpoint(_: &Owned) -> Value {
    json!({ "url": "http://127.0.0.1:9/" })
}

fn nothing(_: &Owned) -> Value {
    json!({})
}

fn reason(_: &Owned) -> Value {
    json!({ "reason": "Because." })
}

fn note(_: &Owned) -> Value {
    json!({ "text": "Because." })
}

fn fraud_rule(_: &Owned) -> Value {
    json!({ "code": "any", "expression": "amount > 1 major", "sentence": "It is.", "action": "block" })
}

fn blocked_account(owned: &Owned) -> Value {
    json!({ "list": "block", "subject_kind": "account", "subject": owned.account_id, "reason": "Because." })
}

fn fraud_decision(_: &Owned) -> Value {
    json!({ "outcome": "release", "fraud": false, "reason": "Because." })
}

fn replay(_: &Owned) -> Value {
    json!({ "event_id": shared::id::EventId::new() })
}

fn batch(owned: &Owned) -> Value {
    json!({ "mode": "atomic", "items": [{ "key": new_key(), "transfer": transfer(owned) }] })
}

fn profile(_: &Owned) -> Value {
    json!({})
}

fn bridge_secret(_: &Owned) -> Value {
    json!({ "name": "Shop", "kind": "server" })
}

fn labels(owned: &Owned) -> Value {
    json!({ "labels": [{ "transfer_id": owned.transfer_id, "fraud": true }] })
}

fn payment(owned: &Owned) -> Value {
    json!({ "account_id": owned.account_id, "amount": 100, "currency": "USD" })
}

/// `METHOD /path` of every operation in the document that the gateway serves.
async fn documented(platform: &Platform) -> Vec<(String, Value)> {
    let document = platform.client().get("/openapi.json").await.must_be(200);
    let paths = document["paths"].as_object().unwrap().clone();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for method in ["get", "put", "post", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                operations.push((format!("{} {path}", method.to_uppercase()), operation.clone()));
            }
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_in_the_table_and_says_whether_it_needs_a_token() {
    let platform = Platform::start().await;
    let documented = documented(&platform).await;
    let mut problems = Vec::new();
    for (name, operation) in &documented {
        let public = PUBLIC.iter().any(|(known, _)| known == name);
        let listed = OPERATIONS.iter().any(|(known, ..)| known == name);
        if !public && !listed {
            problems.push(format!(
                "add `{name}` to OPERATIONS, with what a wrong owner gets"
            ));
        }
        let secured = operation["security"].to_string().contains("access_token");
        if public == secured {
            problems.push(format!(
                "`{name}` is {}, its `security` says otherwise",
                if public { "public" } else { "not public" }
            ));
        }
    }
    let known = PUBLIC
        .iter()
        .map(|(name, _)| *name)
        .chain(OPERATIONS.iter().map(|(name, ..)| *name));
    let gone = known.filter(|known| !documented.iter().any(|(name, _)| name == known));
    problems.extend(gone.map(|name| format!("remove `{name}`, which no longer exists")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_token() {
    let platform = Platform::start().await;
    let owned = Owned::make(&platform).await;
    for (operation, body, _) in &OPERATIONS {
        let answer = owned.call(&platform.client(), operation, *body).await;
        answer.must_be_problem(401, "missing_token");
    }
    // The same past the gateway: no service relies on it.
    for (operation, body, _) in &OPERATIONS {
        for service in platform::Service::ALL {
            let answer = owned.call(&platform.client_of(service), operation, *body).await;
            assert!(
                [401, 404].contains(&answer.status),
                "{} lets in {answer}",
                service.name()
            );
        }
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_what_is_somebody_elses() {
    let platform = Platform::start().await;
    let owned = Owned::make(&platform).await;
    let stranger = platform.register("stranger").await;
    for (operation, body, expected) in &OPERATIONS {
        match expected {
            OnlyOwn => {}
            Refused(status, code) => {
                let answer = owned.call(&stranger, operation, *body).await;
                answer.must_be_problem(*status, code);
            }
            ItemsRefused(code) => {
                let answer = owned.call(&stranger, operation, *body).await.must_be(200);
                assert_eq!(
                    answer["results"][0]["body"]["code"], *code,
                    "{operation}: {answer}"
                );
            }
            ShowsNothing => {
                let answer = owned.call(&stranger, operation, *body).await;
                let text = answer.text.clone();
                answer.must_be(200);
                for id in [
                    &owned.account_id,
                    &owned.other_account_id,
                    &owned.transfer_id,
                    &owned.webhook_endpoint_id,
                    &owned.owner.user_id,
                ] {
                    assert!(!text.contains(id.as_str()), "{operation} shows {id}: {text}");
                }
            }
        }
    }
    // And nothing of it had an effect.
    assert_eq!(owned.owner.balance(&owned.account_id).await, (9_900, 100, 9_800));
    let account = owned
        .owner
        .get(&owned.path("/api/v1/accounts/{account_id}"))
        .await
        .must_be(200);
    assert_eq!(account["status"], "active", "{account}");
    assert_ne!(account["nickname"], "Mine now", "{account}");
    platform.assert_invariants().await;
    platform.stop().await.unwrap();
}
