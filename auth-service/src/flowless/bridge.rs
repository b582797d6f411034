//! `POST /auth/bridge/validate`: a backend asks whose session it was sent.
//!
//! The signals are what the backend saw of its own client; what this request itself comes from is the backend, and tells
//! nothing. Flowless has five definitions of the modes: this is the one its clients go by.

use std::net::IpAddr;

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::ApiError;
use shared::origin::device_id;

use super::failure::Failure;
use super::input::{Input, session_of};
use super::reply::{self, ValidSession};
use crate::instance::{SecretKind, ValidationMode};
use crate::sessions::cache::Source;
use crate::sessions::{Client, MAX_USER_AGENT_LENGTH};
use crate::state::AppState;

pub async fn validate(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    // A program that anybody can read must not be able to try sessions.
    if input.secret(&state).await? != Some(SecretKind::Server) {
        return Err(Failure::invalid_secret());
    }
    let credential = input
        .credential_asked_about()?
        .ok_or_else(|| Failure::bad_request("Missing session_id"))?;
    let signals = Signals::of(&input)?;
    let instance = state.instance.snapshot(&state.db).await?;
    let mode = mode(&input, instance.settings.validation_mode())?;
    let valid = session_of(&state, Some(credential)).await?;
    if let Some(mismatch) = signals.compare(&valid.session.client, mode) {
        return Err(Failure::unauthorized("validation_mismatch", mismatch));
    }
    let (cached, source) = match valid.source {
        Source::Memory => (true, "unified"),
        Source::Redis => (true, "ultra"),
        Source::Database => (false, "db"),
    };
    let now = state.clock.now();
    let wants_token = input.wants("trust_token");
    let token = wants_token.then(|| state.trust_tokens.issue(&valid.session, &valid.user, now));
    Ok(reply::secret(&Validated {
        success: true,
        session: ValidSession::new(&valid.user, &valid.session, credential, "Session is valid"),
        cached,
        source,
        timestamp: now,
        trust_token: token.transpose().map_err(ApiError::internal)?,
    }))
}

/// What a backend is told of a session that is valid.
#[derive(Serialize)]
struct Validated<'v> {
    success: bool,
    #[serde(flatten)]
    session: ValidSession<'v>,
    cached: bool,
    #[serde(rename = "cacheSource")]
    source: &'static str,
    timestamp: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_token: Option<String>,
}

/// A backend asks this before it relies on the bridge, and reads the status alone.
pub async fn health() -> HttpResponse {
    reply::done("OK")
}

/// The mode of this validation: the caller's, where that is stricter than the instance's.
fn mode(input: &Input, of_instance: ValidationMode) -> Result<ValidationMode, Failure> {
    let Some(text) = input.text(&["validation_mode", "validationMode"])? else {
        return Ok(of_instance);
    };
    let asked = ValidationMode::parse(text)
        .ok_or_else(|| Failure::bad_request("validation_mode is DISABLED, STANDARD, ADVANCED or STRICT"))?;
    Ok(asked.max(of_instance))
}

/// Whose session is to begin. A backend with its secret asks for somebody else, of whom it tells what it saw; of its own address
/// the session would tell its user nothing.
pub fn client_of(input: &Input, secret: Option<SecretKind>) -> Result<Client, Failure> {
    match secret {
        Some(SecretKind::Server) => Ok(Signals::of(input)?.into_client()),
        Some(SecretKind::Browser) | None => Ok(input.client.clone()),
    }
}

/// What the backend saw of its client.
#[derive(Default)]
struct Signals {
    ip: Option<IpAddr>,
    user_agent: Option<String>,
    device_id: Option<String>,
}

impl Signals {
    fn of(input: &Input) -> Result<Self, Failure> {
        let ip = input.text(&["ip", "ip_address", "ipAddress"])?;
        // Some send all of X-Forwarded-For; who they were asked by is its first.
        let ip = ip
            .and_then(|list| list.split(',').next())
            .map(str::trim)
            .filter(|ip| !ip.is_empty());
        let ip = ip
            .map(|ip| ip.parse::<IpAddr>().map(|ip| ip.to_canonical()))
            .transpose();
        let text = |names: &[&str]| {
            let text = input.text(names)?.filter(|text| !text.is_empty());
            Ok::<_, Failure>(text.map(str::to_owned))
        };
        Ok(Self {
            ip: ip.map_err(|_| Failure::bad_request("ip is not an address"))?,
            user_agent: text(&["user_agent", "userAgent"])?,
            device_id: text(&["device_id", "deviceId", "device_fingerprint"])?,
        })
    }

    /// As a session that begins keeps it.
    fn into_client(self) -> Client {
        let user_agent = self.user_agent.as_deref();
        Client {
            ip: self.ip.map(|ip| ip.to_string()),
            user_agent: user_agent.map(|text| text.chars().take(MAX_USER_AGENT_LENGTH).collect()),
            device_id: self.device_id.as_deref().and_then(device_id),
            ..Client::default()
        }
    }

    /// What is not as it was at the login, where the mode minds.
    fn compare(&self, login: &Client, mode: ValidationMode) -> Option<&'static str> {
        let strict = mode == ValidationMode::Strict;
        let ip = self.ip.map(|ip| ip.to_string());
        let user_agent = self.user_agent.as_ref();
        let user_agent = user_agent.map(|text| text.chars().take(MAX_USER_AGENT_LENGTH).collect());
        let signals = [
            (
                "ip",
                ValidationMode::Standard,
                differs(&ip, &login.ip) || (strict && ip.is_none()),
                "IP address mismatch",
            ),
            (
                "user_agent",
                ValidationMode::Advanced,
                differs(&user_agent, &login.user_agent) || (strict && user_agent.is_none()),
                "User agent mismatch",
            ),
            (
                "device_id",
                ValidationMode::Strict,
                login.device_id.is_some() && self.device_id != login.device_id,
                "Device ID mismatch",
            ),
        ];
        let mut refused = None;
        for (name, from, mismatch, text) in signals {
            if mismatch {
                metrics::counter!("auth_validation_mismatches_total", "signal" => name).increment(1);
                tracing::info!(signal = name, "a session is used from elsewhere than it began");
            }
            if mismatch && from <= mode {
                refused = refused.or(Some(text));
            }
        }
        refused
    }
}

/// Whether both are known and not the same.
fn differs(seen: &Option<String>, at_login: &Option<String>) -> bool {
    matches!((seen, at_login), (Some(seen), Some(at_login)) if seen != at_login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_minds_what_it_says() {
        use ValidationMode::{Advanced, Disabled, Standard, Strict};
        let login = Client {
            ip: Some("192.0.2.7".to_owned()),
            user_agent: Some("one".to_owned()),
            device_id: Some("phone".to_owned()),
            ..Client::default()
        };
        let signals = |ip: Option<&str>, user_agent: Option<&str>, device_id: Option<&str>| Signals {
            ip: ip.map(|ip| ip.parse().unwrap()),
            user_agent: user_agent.map(str::to_owned),
            device_id: device_id.map(str::to_owned),
        };
        let (ip, agent, device) = ("IP address mismatch", "User agent mismatch", "Device ID mismatch");
        let (right, other) = (Some("192.0.2.7"), Some("192.0.2.8"));
        for (seen, expected) in [
            (signals(right, Some("one"), Some("phone")), [None; 4]),
            (signals(None, None, None), [None, None, None, Some(ip)]),
            (signals(other, None, None), [None, Some(ip), Some(ip), Some(ip)]),
            (
                signals(right, Some("two"), None),
                [None, None, Some(agent), Some(agent)],
            ),
            (signals(right, None, None), [None, None, None, Some(agent)]),
            (
                signals(right, Some("one"), None),
                [None, None, None, Some(device)],
            ),
            (
                signals(right, Some("one"), Some("tablet")),
                [None, None, None, Some(device)],
            ),
        ] {
            for (mode, expected) in [Disabled, Standard, Advanced, Strict].into_iter().zip(expected) {
                assert_eq!(seen.compare(&login, mode), expected, "{mode:?}");
            }
        }
        // A session without a device is not bound to one.
        let unbound = Client {
            device_id: None,
            ..login
        };
        assert_eq!(signals(right, Some("one"), None).compare(&unbound, Strict), None);
    }
}
