//! What this service counts. The names are a promise to whoever wrote an alert.

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use shared::{ApiError, telemetry};

use crate::messages::Channel;

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug)]
pub enum Revocation {
    Logout,
    PasswordChange,
    /// A refresh token came a second time.
    TokenReuse,
    /// By somebody of staff.
    Administration,
    PasswordReset,
}

/// What became of an attempt to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    Sent,
    /// There is no user with this e-mail.
    Dropped,
    Retried,
    Failed,
}

impl MessageOutcome {
    /// Also the message's status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

/// Begins to count, before anything happens that counts.
pub fn start() {
    telemetry::start_metrics(crate::SERVICE);
    describe_counter!(
        "auth_login_attempts_total",
        "Logins by outcome: `success`, or the code of the refusal"
    );
    for outcome in [
        "success",
        "invalid_credentials",
        "invalid_passkey",
        "invalid_login_code",
        "invalid_login_token",
        "email_not_verified",
        "rate_limited",
        "overloaded",
    ] {
        counter!("auth_login_attempts_total", "outcome" => outcome).increment(0);
    }
    describe_gauge!(
        "erasures_waiting_seconds",
        "How long the first user who was erased here has waited to be erased by ml-service too"
    );
    gauge!("erasures_waiting_seconds").set(0);
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
        Revocation::PasswordReset,
    ] {
        sessions_revoked(reason).increment(0);
    }
    describe_counter!(
        "auth_second_factor_attempts_total",
        "Second factors that were given, by outcome: `success`, or the code of the refusal"
    );
    for outcome in [
        "success",
        "wrong_code",
        "wrong_passkey",
        "rate_limited",
        "login_expired",
    ] {
        counter!("auth_second_factor_attempts_total", "outcome" => outcome).increment(0);
    }
    describe_counter!(
        "auth_session_checks_total",
        "Sessions that were looked up by their credential, by where they were found: `memory`, `redis`, `database`"
    );
    for source in ["memory", "redis", "database"] {
        counter!("auth_session_checks_total", "source" => source).increment(0);
    }
    describe_counter!(
        "auth_validation_mismatches_total",
        "Sessions that a backend saw used from elsewhere than they began, by what differs"
    );
    for signal in ["ip", "user_agent", "device_id"] {
        counter!("auth_validation_mismatches_total", "signal" => signal).increment(0);
    }
    telemetry::counter(
        "redis_failures_total",
        "Requests to Redis that failed or came too late; nothing else fails with them",
    );
    describe_hashing();
    describe_messages();
}

fn describe_messages() {
    describe_counter!(
        "messages_total",
        "Attempts to send a message, by channel and outcome: `sent`, `dropped` (nobody has the e-mail), `retried`, `failed` (given up)"
    );
    for channel in Channel::ALL {
        for outcome in [
            MessageOutcome::Sent,
            MessageOutcome::Dropped,
            MessageOutcome::Retried,
            MessageOutcome::Failed,
        ] {
            messages_ended(channel, outcome).increment(0);
        }
    }
    describe_gauge!("messages_pending", "Messages that wait to be sent");
    describe_gauge!(
        "messages_lag_seconds",
        "How long the first message that is due has waited for a replica to send it"
    );
    gauge!("messages_pending").set(0);
    gauge!("messages_lag_seconds").set(0);
}

pub fn messages_ended(channel: Channel, outcome: MessageOutcome) -> Counter {
    counter!("messages_total", "channel" => channel.name(), "outcome" => outcome.name())
}

/// Counts a login, whatever the kind.
pub fn login_attempted<T>(result: &Result<T, ApiError>) {
    counter!("auth_login_attempts_total", "outcome" => outcome_of(result)).increment(1);
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

pub fn second_factor_attempts<T>(result: &Result<T, ApiError>) -> Counter {
    counter!("auth_second_factor_attempts_total", "outcome" => outcome_of(result))
}

pub fn sessions_revoked(why: Revocation) -> Counter {
    let reason = match why {
        Revocation::Logout => "logout",
        Revocation::PasswordChange => "password_change",
        Revocation::TokenReuse => "refresh_token_reuse",
        Revocation::Administration => "administration",
        Revocation::PasswordReset => "password_reset",
    };
    counter!("auth_sessions_revoked_total", "reason" => reason)
}
