//! What a request of these paths brings: a body that may be empty, names in several spellings, and a session in one of
//! several places.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use serde_json::{Map, Value};
use shared::ApiError;
use shared::json::{MAX_BODY_BYTES, read_body};

use super::failure::Failure;
use crate::instance::SecretKind;
use crate::sessions::validation::{PresentedSession, Valid, validate};
use crate::sessions::{Client, sha256};
use crate::state::AppState;
use crate::two_factor::pending_login;

const SESSION_HEADER: &str = "x-session-id";
const SECRET_HEADER: &str = "x-bridge-secret";
const SESSION_NAME: &str = "session_id";
const MAX_CREDENTIAL_LENGTH: usize = 256;

/// A request, before anything in it is believed.
pub struct Input {
    body: Map<String, Value>,
    header: Option<String>,
    query: Option<String>,
    cookie: Option<String>,
    secret: Option<String>,
    pub client: Client,
}

impl FromRequest for Input {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let header = |name| {
            let value = request.headers().get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let mut input = Self {
            body: Map::new(),
            header: header(SESSION_HEADER),
            query: query_member(request.query_string(), SESSION_NAME),
            cookie: request
                .cookie(SESSION_NAME)
                .map(|cookie| cookie.value().to_owned()),
            secret: header(SECRET_HEADER),
            client: Client::of(request),
        };
        let body = web::Payload::from_request(request, payload);
        Box::pin(async move {
            let body = body
                .await
                .map_err(|error| Failure::bad_request(error.to_string()))?;
            let bytes = read_body(body, MAX_BODY_BYTES).await?;
            // Clients send a content type without a body, and a body without a content type.
            if !bytes.trim_ascii().is_empty() {
                let parsed = serde_json::from_slice(&bytes);
                input.body = parsed.map_err(|_| Failure::bad_request("The body must be a JSON object"))?;
            }
            Ok(input)
        })
    }
}

/// The session of a request whose body is not ours to read.
pub async fn session_of_request(state: &AppState, request: &HttpRequest) -> Result<Valid, Failure> {
    let header = request
        .headers()
        .get(SESSION_HEADER)
        .and_then(|value| value.to_str().ok());
    let query = query_member(request.query_string(), SESSION_NAME);
    let cookie = request.cookie(SESSION_NAME);
    let found = header
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .or(query.as_deref())
        .or(cookie.as_ref().map(|cookie| cookie.value()));
    session_of(state, found).await
}

/// The first member of a query with this name; credentials need no decoding.
pub fn query_member(query: &str, name: &str) -> Option<String> {
    let mut members = query.split('&').filter_map(|member| member.split_once('='));
    let (_, value) = members.find(|(found, value)| *found == name && !value.is_empty())?;
    Some(value.to_owned())
}

impl Input {
    pub fn into_body(self) -> Map<String, Value> {
        self.body
    }

    /// The text that is there under the first of these names; null is as good as nothing.
    pub fn text(&self, names: &[&str]) -> Result<Option<&str>, Failure> {
        for name in names {
            match self.body.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => return Ok(Some(text)),
                Some(_) => return Err(Failure::bad_request(format!("{name} must be a text"))),
            }
        }
        Ok(None)
    }

    /// Whether something is asked for that is not answered otherwise.
    pub fn wants(&self, name: &str) -> bool {
        self.body.get(name) == Some(&Value::Bool(true))
    }

    pub fn required(&self, names: &[&str]) -> Result<&str, Failure> {
        let first = names.first().copied().unwrap_or_default();
        self.text(names)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Failure::bad_request(format!("{first} is required")))
    }

    /// The credential that comes with a request of the user's own program.
    pub fn credential(&self) -> Option<&str> {
        let found = self
            .header
            .as_ref()
            .or(self.query.as_ref())
            .or(self.cookie.as_ref());
        found.map(String::as_str)
    }

    /// The credential that a backend asks about. A cookie would be the backend's own.
    pub fn credential_asked_about(&self) -> Result<Option<&str>, Failure> {
        let in_body = self.text(&["session_id", "sessionId"])?;
        Ok(in_body.or(self.query.as_deref()).or(self.header.as_deref()))
    }

    /// The session that the request is made in.
    pub async fn session(&self, state: &AppState) -> Result<Valid, Failure> {
        session_of(state, self.credential()).await
    }

    /// The same where there need not be one; that it cannot be known whether there is one, is a failure.
    pub async fn session_if_any(&self, state: &AppState) -> Result<Option<Valid>, Failure> {
        match self.session(state).await {
            Ok(valid) => Ok(Some(valid)),
            Err(Failure(error)) if error.status() == StatusCode::UNAUTHORIZED => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// What the bridge secret is good for: nothing when there is none; 401 when it is a wrong one.
    pub async fn secret(&self, state: &AppState) -> Result<Option<SecretKind>, Failure> {
        let in_body = self.text(&["bridge_secret"])?;
        let Some(presented) = self.secret.as_deref().or(in_body) else {
            return Ok(None);
        };
        let instance = state.instance.snapshot(&state.db).await?;
        let kind = instance.secret_kind(presented);
        kind.map(Some).ok_or_else(Failure::invalid_secret)
    }
}

/// Whether this is the credential of a login that waits for its second factor.
pub async fn is_waiting(state: &AppState, credential: &str) -> Result<bool, ApiError> {
    let mut connection = state.db.connection().await?;
    Ok(pending_login::is_waiting(&mut connection, &sha256(credential), state.clock.now()).await?)
}

pub async fn session_of(state: &AppState, credential: Option<&str>) -> Result<Valid, Failure> {
    let credential = credential.filter(|text| text.len() <= MAX_CREDENTIAL_LENGTH);
    let credential = credential.ok_or_else(Failure::invalid_session)?;
    match validate(state, &PresentedSession::of(credential)).await? {
        Some(valid) => Ok(valid),
        None if is_waiting(state, credential).await? => Err(Failure::second_factor_needed()),
        None => Err(Failure::invalid_session()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_members() {
        let query = "a=1&session_id=&session_id=ses_x&session_id=ses_y";
        assert_eq!(query_member(query, "session_id").as_deref(), Some("ses_x"));
        assert_eq!(query_member("xsession_id=1", "session_id"), None);
    }
}
