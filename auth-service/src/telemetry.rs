//! What this service counts. The names are a promise to whoever wrote an alert.

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use shared::{ApiError, telemetry};

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug)]
pub enum Revocation {
    Logout,
    PasswordChange,
    /// A refresh token came a second time.
    TokenReuse,
    /// By somebody of staff.
    Administration,
}

/// Begins to count, before anything happens that counts.
pub fn start() {
    telemetry::start_metrics(crate::SERVICE);
    describe_counter!(
        "auth_login_attempts_total",
        "Logins by outcome: `success`, or the code of the refusal"
    );
    for outcome in ["success", "invalid_credentials", "rate_limited", "overloaded"] {
        counter!("auth_login_attempts_total", "outcome" => outcome).increment(0);
    }
    describe_counter!(
        "auth_registrations_total",
        "Registrations by outcome: `success`, or the code of the refusal"
    );
    for outcome in ["success", "email_taken", "weak_password", "overloaded"] {
        counter!("auth_registrations_total", "outcome" => outcome).increment(0);
    }
    telemetry::counter(
        "auth_refresh_token_reuses_total",
        "Refresh tokens that came a second time: each is a theft, or a client that does not store the next one",
    );
    telemetry::counter(
        "auth_refresh_token_repeats_total",
        "Refresh tokens that came again at once from the same client, and got the same answer",
    );
    describe_counter!(
        "auth_sessions_revoked_total",
        "Sessions ended before their time, by reason"
    );
    for reason in [
        Revocation::Logout,
        Revocation::PasswordChange,
        Revocation::TokenReuse,
        Revocation::Administration,
    ] {
        sessions_revoked(reason).increment(0);
    }
    describe_hashing();
}

fn describe_hashing() {
    describe_gauge!(
        "password_hashing_queue_depth",
        "Passwords that wait or are worked on"
    );
    describe_gauge!(
        "password_hashing_queue_max",
        "Passwords that may wait or be worked on at once"
    );
    gauge!("password_hashing_queue_depth").set(0);
    telemetry::histogram("password_hashing_duration_seconds", "Working on one password");
    telemetry::counter(
        "password_hashing_shed_total",
        "Requests refused because the queue for hashing was full",
    );
}

/// `success`, or the code of the refusal.
pub fn outcome_of<T>(result: &Result<T, ApiError>) -> String {
    result.as_ref().err().map_or("success", ApiError::code).to_owned()
}

pub fn sessions_revoked(why: Revocation) -> Counter {
    let reason = match why {
        Revocation::Logout => "logout",
        Revocation::PasswordChange => "password_change",
        Revocation::TokenReuse => "refresh_token_reuse",
        Revocation::Administration => "administration",
    };
    counter!("auth_sessions_revoked_total", "reason" => reason)
}
