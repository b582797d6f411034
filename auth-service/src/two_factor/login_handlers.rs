//! Giving the second proof of a login. Its credential is the session's own, which is none yet: it is good for these
//! operations only, for five minutes.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json};
use utoipa::ToSchema;

use super::handlers::{NewMethod, NewMethodRequest, SentCode, activate, begin_method, send_code};
use super::pending_login::{self, PendingLogin, login_expired};
use super::{Claimant, Code, Kind, Second, check, remembered_device, require_enabled};
use crate::field_keys;
use crate::login_attempts::device;
use crate::passkeys::{self, Assertion, CeremonyResponse, Purpose};
use crate::sessions::handlers::{LoginResponse, secret_answer};
use crate::sessions::login::{self, BegunSession, Proved};
use crate::sessions::{self, Client, PresentedSession, Secret};
use crate::state::AppState;
use crate::telemetry::second_factor_attempts;

/// A login whose first proof was right, and that needs a second.
#[derive(Serialize, ToSchema)]
pub struct PendingLoginResponse {
    /// Names the login, and becomes the session's own credential when the second proof is given.
    #[schema(example = "ses_o7fT2mXk0o2l8m4y1m9c6Jk7XQ9gq0aVJcYb3n5s2E8")]
    session_id: String,
    /// Seconds until it has to begin anew.
    #[schema(example = 300)]
    expires_in: i64,
    /// What the second proof can be.
    methods: Vec<Kind>,
    /// The user has no second factor and needs one: set one up at POST /api/v1/auth/two-factor/login/methods.
    enrolling: bool,
}

impl PendingLoginResponse {
    /// Not 200: whoever knows nothing of second factors must not take it for a login.
    pub fn answer(pending: &PendingLogin) -> HttpResponse {
        HttpResponse::Accepted()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(Self {
                session_id: pending.secret.reveal(),
                expires_in: pending_login::LIFETIME.num_seconds(),
                methods: pending.methods.clone(),
                enrolling: pending.enrolling,
            })
    }
}

/// The second proof of a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishLoginRequest {
    session_id: PresentedSession,
    /// With `code`.
    method: Option<Kind>,
    code: Option<Code>,
    /// The answer to a challenge of …/login/passkey-options.
    passkey: Option<Assertion>,
    /// Whether this device is not to be asked again for 30 days.
    #[serde(default)]
    remember_device: bool,
}

/// What a login gives that needed a second factor.
#[derive(Serialize, ToSchema)]
pub struct FinishedLoginResponse {
    #[serde(flatten)]
    login: LoginResponse,
    /// With `remember_device`: send it with the next logins as `X-Remembered-Device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    remembered_device_token: Option<String>,
    /// With the first second factor: codes for when nothing else is at hand. They are shown only here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<String>,
}

/// Give the second proof of a login, which begins the session.
///
/// While `enrolling`, the code is that of the method which is being set up.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Logged in", body = FinishedLoginResponse),
        (status = 401, description = "`login_expired`: unknown, finished, or older than five minutes", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`, `passkeys_disabled`; `not_found`: no such method is being set up", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_code`, `wrong_passkey`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/two-factor/login")]
pub async fn finish_login(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<FinishLoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let FinishLoginRequest {
        session_id: PresentedSession(secret),
        method,
        code,
        passkey,
        remember_device,
    } = body.into_inner();
    let second = Second::parse(method, code, passkey)?;
    let result = give_second(&state, secret, &second, remember_device, Client::of(&request)).await;
    second_factor_attempts(&result).increment(1);
    let finished = result?;
    let login = finished.begun.response(&state)?;
    let cookie = device::cookie(&login.device_token);
    let mut answer = secret_answer(FinishedLoginResponse {
        login,
        remembered_device_token: finished.remembered_device_token.map(|token| token.reveal()),
        recovery_codes: finished.recovery_codes,
    });
    answer.add_cookie(&cookie).map_err(ApiError::internal)?;
    Ok(answer)
}

/// A login that is a session now.
pub struct Finished {
    pub begun: BegunSession,
    pub remembered_device_token: Option<Secret>,
    pub recovery_codes: Vec<String>,
}

/// Makes a pending login the session that it was to become, with the same credential, if the second proof is right.
pub async fn give_second(
    state: &AppState,
    secret: Secret,
    second: &Second,
    remember_device: bool,
    client: Client,
) -> Result<Finished, ApiError> {
    let now = state.clock.now();
    let secret_hash = secret.hash();
    // A wrong code is no error inside the transaction, so that the attempt is committed.
    let finished = state
        .db
        .transaction("finish_login", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let (pending, user) = pending_login::lock(connection, &secret_hash, now)
                .await?
                .ok_or_else(login_expired)?;
            let keys = &state.field_keys;
            let claimant = Claimant {
                user_id: user.id,
                asked_by: &secret_hash,
            };
            let recovery_codes = match (pending.enrolling, second) {
                (_, Second::Code(proof)) if !pending.takes(proof.method) => None,
                (true, Second::Code(proof)) => activate(connection, keys, claimant, proof, now).await?,
                (true, Second::Passkey(_)) => None,
                (false, Second::Code(proof)) => {
                    let right = check(connection, keys, claimant, proof, now).await?;
                    right.then(Vec::new)
                }
                (false, Second::Passkey(answer)) => {
                    let (webauthn, purpose) = (state.relying_party.webauthn()?, Purpose::SecondFactor);
                    let proved =
                        passkeys::queries::check(connection, webauthn, purpose, user.id, answer, now).await?;
                    proved.map(|_| Vec::new())
                }
            };
            let Some(recovery_codes) = recovery_codes else {
                return Ok(None);
            };
            pending_login::remove(connection, pending.id).await?;
            let remembered_device_token = match remember_device {
                true => Some(remembered_device::remember(connection, user.id, now).await?),
                false => None,
            };
            let proved = Proved {
                id: pending.id,
                secret: secret.clone(),
                amr: pending.amr(second.method()),
            };
            let mut user = user.decrypt(keys)?;
            // Of one who has just set it up, it was read before.
            user.two_factor = true;
            let begun =
                login::begin_proved(connection, &protection, keys, user, client.clone(), proved, now).await?;
            sessions::queries::note_second_factor(connection, begun.session.id, now).await?;
            Ok(Some(Finished {
                begun,
                remembered_device_token,
                recovery_codes,
            }))
        })
        .await?;
    let finished = finished.ok_or_else(|| second.refusal())?;
    // They come with the first second factor.
    if !finished.recovery_codes.is_empty() {
        state.session_cache.catch_up_and_tell(&state.db).await;
    }
    Ok(finished)
}

/// Which second factor to set up for a login that needs one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    session_id: PresentedSession,
    method: Kind,
    /// Where codes are sent to: an e-mail address, which is the user's own unless told, or a phone number.
    #[serde(default)]
    #[schema(max_length = 254)]
    to: Option<String>,
}

/// Begin to set up the second factor that a login needs. The login goes on with its first code.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "Begun: it counts once the login is finished with it", body = NewMethod),
        (status = 401, description = "`login_expired`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`method_unavailable`: no text messages are sent here", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`method_exists`: the user has a second factor, which the login needs", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/two-factor/login/methods")]
pub async fn enrol_at_login(
    state: web::Data<AppState>,
    body: Json<EnrolRequest>,
) -> Result<HttpResponse, ApiError> {
    let EnrolRequest {
        session_id: PresentedSession(secret),
        method,
        to,
    } = body.into_inner();
    let now = state.clock.now();
    let (secret_hash, request) = (secret.hash(), NewMethodRequest { method, to });
    let method = state
        .db
        .transaction("enrol_at_login", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let (pending, user) = pending_login::lock(connection, &secret_hash, now)
                .await?
                .ok_or_else(login_expired)?;
            if !pending.enrolling {
                return Err(super::method::method_exists());
            }
            let user = user.decrypt(&state.field_keys)?;
            begin_method(&state, connection, &protection, &user, &secret_hash, &request).await
        })
        .await?;
    Ok(method.answer())
}

/// Which login a passkey is to finish.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyAtLoginRequest {
    session_id: PresentedSession,
}

/// Begin to give a passkey as the second proof of a login: give `options` to `navigator.credentials.get()`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The challenge, good for five minutes", body = CeremonyResponse),
        (status = 401, description = "`login_expired`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`, `passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/two-factor/login/passkey-options")]
pub async fn begin_passkey_at_login(
    state: web::Data<AppState>,
    body: Json<PasskeyAtLoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let (now, secret_hash) = (state.clock.now(), body.session_id.0.hash());
    let begun = state
        .db
        .transaction("begin_passkey_at_login", async |connection| {
            require_enabled(connection).await?;
            let (_, user) = pending_login::lock(connection, &secret_hash, now)
                .await?
                .ok_or_else(login_expired)?;
            passkeys::handlers::begin_of(&state, connection, Purpose::SecondFactor, user.id, None).await
        })
        .await?;
    Ok(passkeys::handlers::created(&begun))
}

/// Where the code of a login is to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeAtLoginRequest {
    session_id: PresentedSession,
    method: Kind,
}

/// Have the code of a login sent, which only this login can use.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 202, description = "On its way", body = SentCode),
        (status = 401, description = "`login_expired`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`; `not_found`: there is none of this kind", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`nothing_to_send`: the method needs none", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/two-factor/login/code")]
pub async fn send_code_at_login(
    state: web::Data<AppState>,
    body: Json<CodeAtLoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let secret_hash = body.session_id.0.hash();
    state
        .db
        .transaction("send_code_at_login", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let (_, user) = pending_login::lock(connection, &secret_hash, state.clock.now())
                .await?
                .ok_or_else(login_expired)?;
            send_code(
                &state,
                connection,
                &protection,
                user.id,
                &secret_hash,
                body.method,
            )
            .await
        })
        .await?;
    Ok(SentCode::answer())
}
