//! Proving once more who one is, in a session that goes on: for what needs it to be surer, or to be lately (RFC 9470).
//!
//! The answer is an access token that says so. It can be made for one transfer, and is then good for no other. What was
//! proved with a second factor is remembered by the session; a password alone only makes this one token a young one.

use actix_web::{HttpRequest, HttpResponse, post, web};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::authorization::{AuthorizationDetail, AuthorizedTransfer};
use shared::error::Problem;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Json, Principal};
use utoipa::ToSchema;

use crate::access_tokens::{self, Authentication};
use crate::login_attempts;
use crate::login_attempts::device::PresentedDevice;
use crate::modules;
use crate::passkeys::{self, Assertion, CeremonyResponse, Purpose};
use crate::passwords::Password;
use crate::passwords::authentication::authenticate;
use crate::passwords::handlers::wrong_password;
use crate::sessions::handlers::{TokenType, secret_answer};
use crate::sessions::login::Method;
use crate::sessions::{self, session_revoked};
use crate::state::AppState;
use crate::telemetry::second_factor_attempts;
use crate::two_factor::{self, Claimant, Code, Kind, Second};
use crate::users::User;

/// The password, or a second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUpRequest {
    /// Gives a token that is young, with `acr` `aal1`.
    password: Option<Password>,
    /// With `code`: gives one with `acr` `aal2`.
    method: Option<Kind>,
    code: Option<Code>,
    /// The answer to a challenge of …/step-up/passkey-options, which says what the token is to be good for.
    passkey: Option<Assertion>,
    /// What the token is to be good for, and nothing else: the transfer as it will be asked for.
    transfer: Option<AuthorizedTransfer>,
}

/// A token that says how and when the user has proved who they are.
#[derive(Serialize, ToSchema)]
pub struct StepUpResponse {
    pub access_token: String,
    pub token_type: TokenType,
    /// Seconds until the access token expires.
    #[schema(example = 300)]
    pub expires_in: i64,
}

/// Prove again who you are, and get an access token that says so.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "The token", body = StepUpResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`, `passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_password`, `wrong_code`, `wrong_passkey`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/step-up")]
pub async fn step_up(
    state: web::Data<AppState>,
    request: HttpRequest,
    principal: Principal,
    body: Json<StepUpRequest>,
) -> Result<HttpResponse, ApiError> {
    let StepUpRequest {
        password,
        method,
        code,
        passkey,
        transfer,
    } = body.into_inner();
    let proved = match (password, method.is_some() || code.is_some() || passkey.is_some()) {
        (Some(password), false) => {
            let device = PresentedDevice::of(&request);
            prove_by_password(&state, &principal, &device, &password, transfer).await?
        }
        (None, true) => {
            let second = Second::parse(method, code, passkey)?;
            if matches!(second, Second::Passkey(_)) && transfer.is_some() {
                let detail = "with a passkey, the transfer is named when its challenge is asked for";
                return Err(ApiError::invalid("invalid_body", "/transfer", detail));
            }
            let proved = prove_by_second_factor(&state, &principal, &second, transfer).await;
            second_factor_attempts(&proved).increment(1);
            proved?
        }
        _ => {
            let detail = "expected `password`, `method` and `code`, or `passkey`";
            return Err(ApiError::invalid("invalid_body", "", detail));
        }
    };
    answer(&state, &principal, proved)
}

/// What somebody has just proved.
struct Proved {
    user: User,
    amr: Vec<String>,
    transfer: Option<AuthorizedTransfer>,
}

/// The token of a user who has just proved who they are.
fn answer(
    state: &AppState,
    principal: &Principal,
    Proved { user, amr, transfer }: Proved,
) -> Result<HttpResponse, ApiError> {
    let now = state.clock.now();
    let authentication = Authentication {
        amr: &amr,
        at: now,
        authorization: transfer.map(AuthorizationDetail::Transfer),
    };
    let access_token = state
        .signing_keys
        .issue(user.id, principal.session_id, &user.roles.0, &authentication, now)
        .map_err(ApiError::internal)?;
    Ok(secret_answer(StepUpResponse {
        access_token,
        token_type: TokenType::Bearer,
        expires_in: access_tokens::LIFETIME.num_seconds(),
    }))
}

async fn prove_by_password(
    state: &AppState,
    principal: &Principal,
    device: &PresentedDevice,
    password: &Password,
    transfer: Option<AuthorizedTransfer>,
) -> Result<Proved, ApiError> {
    let user = {
        let mut connection = state.db.connection().await?;
        two_factor::handlers::live_user(state, &mut connection, principal).await?
    };
    let proved = authenticate(state, &user.email, password, device, state.clock.now())
        .await
        .map_err(wrong_password)?;
    login_attempts::forget(&mut *state.db.connection().await?, &proved.attempts).await?;
    Ok(Proved {
        user,
        amr: vec![Method::Password.name().to_owned()],
        transfer,
    })
}

async fn prove_by_second_factor(
    state: &AppState,
    principal: &Principal,
    second: &Second,
    transfer: Option<AuthorizedTransfer>,
) -> Result<Proved, ApiError> {
    let now = state.clock.now();
    // A wrong one is no error inside the transaction, so that the attempt is committed.
    let proved = state
        .db
        .transaction("step_up", async |connection| {
            let user = two_factor::handlers::live_user(state, connection, principal).await?;
            let session = sessions::queries::lock_live(connection, principal.session_id, now)
                .await?
                .ok_or_else(session_revoked)?;
            if is_same_mailbox(&session.amr(), second) {
                return Ok(None);
            }
            let Some(transfer) = agree(state, connection, principal, &user, second, transfer.clone()).await?
            else {
                return Ok(None);
            };
            let mut amr = session.amr();
            for method in [second.method(), Method::Several] {
                if !amr.iter().any(|known| known == method.name()) {
                    amr.push(method.name().to_owned());
                }
            }
            sessions::queries::note_authentication(connection, session.id, &amr, now).await?;
            if modules::is_enabled(connection, modules::TWO_FACTOR).await? {
                sessions::queries::note_second_factor(connection, session.id, now).await?;
            }
            Ok(Some(Proved { user, amr, transfer }))
        })
        .await?;
    proved.ok_or_else(|| second.refusal())
}

/// Whether the code would come to where the login itself was proved by: one mailbox is no two factors.
fn is_same_mailbox(amr: &[String], second: &Second) -> bool {
    let by_mail_alone = !amr.is_empty() && amr.iter().all(|method| method == Method::Mail.name());
    by_mail_alone && matches!(second, Second::Code(proof) if proof.method == Kind::Email)
}

/// What is agreed to by a second factor that is right.
async fn agree(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    principal: &Principal,
    user: &User,
    second: &Second,
    transfer: Option<AuthorizedTransfer>,
) -> Result<Option<Option<AuthorizedTransfer>>, ApiError> {
    let now = state.clock.now();
    match second {
        Second::Code(proof) => {
            two_factor::require_enabled(connection).await?;
            let asked_by = two_factor::asked_by(principal.session_id);
            let claimant = Claimant {
                user_id: user.id,
                asked_by: &asked_by,
            };
            let right = two_factor::check(connection, &state.field_keys, claimant, proof, now).await?;
            Ok(right.then_some(transfer))
        }
        Second::Passkey(answer) => {
            let (webauthn, purpose) = (state.relying_party.webauthn()?, Purpose::StepUp);
            let proved =
                passkeys::queries::check(connection, webauthn, purpose, user.id, answer, now).await?;
            Ok(proved.map(|proved| proved.transfer))
        }
    }
}

/// What the user is to agree to with a passkey.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyStepUpRequest {
    /// What the token is to be good for, and nothing else. The challenge covers it.
    transfer: Option<AuthorizedTransfer>,
}

/// Begin to prove who you are with a passkey: give `options` to `navigator.credentials.get()`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The challenge, good for five minutes", body = CeremonyResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/step-up/passkey-options")]
pub async fn begin_passkey_step_up(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<PasskeyStepUpRequest>,
) -> Result<HttpResponse, ApiError> {
    let transfer = body.into_inner().transfer;
    let mut connection = state.db.connection().await?;
    let user = two_factor::handlers::live_user(&state, &mut connection, &principal).await?;
    let begun =
        passkeys::handlers::begin_of(&state, &mut connection, Purpose::StepUp, user.id, transfer).await?;
    Ok(passkeys::handlers::created(&begun))
}
