//! A user's own second factors. Whoever changes them has just proved who they are, with a second factor if there is one: a
//! stolen access token must not be enough to shut the owner out.

use actix_web::http::header;
use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Duration, Utc};
use diesel_async::AsyncPgConnection;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use shared::error::Problem;
use shared::id::UserId;
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, Assurance, FieldKeys, Json, Principal};
use utoipa::ToSchema;

use super::method::StoredMethod;
use super::pending_login::methods_of;
use super::{
    Claimant, Code, Kind, Proof, asked_by, check_method, enforcement, method, recovery_code,
    remembered_device, require_enabled, sent_code, totp, wrong_code,
};
use crate::field_keys::{self, Protection};
use crate::messages::Channel;
use crate::modules;
use crate::passkeys;
use crate::sessions::handlers::secret_answer;
use crate::sessions::{self, session_revoked};
use crate::state::AppState;
use crate::telemetry::second_factor_attempts;
use crate::users::{Email, User};

/// How long ago the user may have proved who they are.
const RECENT: Duration = Duration::minutes(10);

/// The second factors of a user.
#[derive(Debug, Serialize, ToSchema)]
pub struct TwoFactorStatus {
    methods: Vec<MethodStatus>,
    #[schema(example = 10)]
    recovery_codes_left: i64,
    /// Whether one of the user's roles needs a second factor.
    required: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MethodStatus {
    method: Kind,
    created_at: DateTime<Utc>,
    /// It counts from here on; null while it is being set up.
    activated_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl MethodStatus {
    pub fn of(method: &StoredMethod) -> Result<Self, ApiError> {
        Ok(Self {
            method: method.kind()?,
            created_at: method.created_at,
            activated_at: method.activated_at,
            last_used_at: method.last_used_at,
        })
    }
}

/// Which second factor to set up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMethodRequest {
    pub method: Kind,
    /// Where codes are sent to: an e-mail address, which is your own unless told, or a phone number such as `+14155550123`.
    #[serde(default)]
    #[schema(max_length = 254)]
    pub to: Option<String>,
}

/// A second factor that is being set up: it counts once its first code was given.
#[derive(Serialize, ToSchema)]
pub struct NewMethod {
    method: Kind,
    /// Of `totp`, for an app into which it is typed, in base32. It is shown only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")]
    pub secret: Option<String>,
    /// The same for an app that is opened with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "otpauth://totp/Flowlet:ada%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Flowlet"
    )]
    pub uri: Option<String>,
    /// The same for a camera: an SVG picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr_code: Option<String>,
    /// Of `email` and `sms`: a code has been sent, good for so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 600)]
    pub expires_in: Option<i64>,
}

impl NewMethod {
    pub fn answer(&self) -> HttpResponse {
        HttpResponse::Created()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(self)
    }
}

/// A code of the second factor that is being set up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateMethodRequest {
    code: Code,
}

/// Codes for when nothing else is at hand, each good once.
#[derive(Serialize, ToSchema)]
pub struct RecoveryCodes {
    /// Shown only here. Empty when the user has had some before.
    #[schema(example = json!(["7k3m-x20q-9d5t-w8rz"]))]
    recovery_codes: Vec<String>,
}

/// The user of a session that goes on.
pub async fn live_user(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    principal: &Principal,
) -> Result<User, ApiError> {
    let user = sessions::queries::find_live_user(connection, principal.session_id, state.clock.now()).await?;
    Ok(user.ok_or_else(session_revoked)?.decrypt(&state.field_keys)?)
}

/// The same of one who has just proved who they are, with a second factor if there is one.
pub async fn recent_user(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    principal: &Principal,
) -> Result<User, ApiError> {
    let user = live_user(state, connection, principal).await?;
    require_recent(
        state,
        connection,
        user.id,
        principal.assurance,
        principal.authenticated_at,
    )
    .await?;
    Ok(user)
}

/// Refuses whoever has not just proved who they are, with a second factor if there is one.
async fn require_recent(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    assurance: Assurance,
    authenticated_at: DateTime<Utc>,
) -> Result<(), ApiError> {
    // A passkey is two factors by itself, also where the module is off.
    let has_one = passkeys::queries::exist(connection, user_id).await?
        || modules::is_enabled(connection, modules::TWO_FACTOR).await?
            && !methods_of(connection, user_id).await?.is_empty();
    let least = match has_one {
        true => Assurance::Aal2,
        false => Assurance::Aal1,
    };
    if assurance >= least && state.clock.now() - authenticated_at <= RECENT {
        return Ok(());
    }
    Err(ApiError::insufficient_authentication(
        least.name(),
        RECENT.num_seconds(),
    ))
}

/// Your second factors.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "What there is", body = TwoFactorStatus),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/two-factor")]
pub async fn get_two_factor(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<TwoFactorStatus>, ApiError> {
    let mut connection = state.db.connection().await?;
    require_enabled(&mut connection).await?;
    let user = live_user(&state, &mut connection, &principal).await?;
    let methods = method::list(&mut connection, user.id).await?;
    let methods = methods.iter().map(MethodStatus::of);
    Ok(web::Json(TwoFactorStatus {
        methods: methods.collect::<Result<_, _>>()?,
        recovery_codes_left: recovery_code::count(&mut connection, user.id).await?,
        required: enforcement::is_required(&mut connection, user.id).await?,
    }))
}

/// Begin to set up a second factor. It counts once its first code was given to `…/activate`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "Begun", body = NewMethod),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`method_exists`: remove the one of this kind first", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`method_unavailable`: no text messages are sent here", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/two-factor/methods")]
pub async fn add_second_factor(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<NewMethodRequest>,
) -> Result<HttpResponse, ApiError> {
    let method = state
        .db
        .transaction("add_second_factor", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let user = recent_user(&state, connection, &principal).await?;
            let asked_by = asked_by(principal.session_id);
            begin_method(&state, connection, &protection, &user, &asked_by, &body).await
        })
        .await?;
    Ok(method.answer())
}

/// Begins to set up a second factor of a user, and sends its first code where one is sent.
pub async fn begin_method(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user: &User,
    asked_by: &[u8],
    request: &NewMethodRequest,
) -> Result<NewMethod, ApiError> {
    let (kind, now) = (request.method, state.clock.now());
    let mut new = NewMethod {
        method: kind,
        secret: None,
        uri: None,
        qr_code: None,
        expires_in: None,
    };
    let secret = match (kind, request.to.as_deref()) {
        (Kind::Totp, None) => totp::generate()?,
        (Kind::Email, to) => address(to.unwrap_or(&user.email))?,
        (Kind::Sms, Some(to)) if state.carriers.have(Channel::Sms) => phone_number(to)?,
        (Kind::Sms, Some(_)) => {
            let detail = "No text messages are sent here.";
            return Err(ApiError::unprocessable("method_unavailable", detail));
        }
        (Kind::Sms, None) => {
            return Err(ApiError::invalid(
                "invalid_body",
                "/to",
                "expected a phone number",
            ));
        }
        (Kind::Totp, Some(_)) => {
            return Err(ApiError::invalid(
                "invalid_body",
                "/to",
                "nothing is sent for totp",
            ));
        }
        (Kind::Passkey | Kind::RecoveryCode, _) => {
            let detail =
                "passkeys are registered by themselves, and recovery codes come with the first second factor";
            return Err(ApiError::invalid("invalid_body", "/method", detail));
        }
    };
    method::begin(connection, protection, user.id, kind, secret.expose_secret(), now).await?;
    if kind == Kind::Totp {
        let (uri, qr_code) = totp::provisioning(&secret, &user.email).map_err(ApiError::internal)?;
        new.secret = Some(secret.expose_secret().to_owned());
        (new.uri, new.qr_code) = (Some(uri), Some(qr_code));
    } else {
        send_code(state, connection, protection, user.id, asked_by, kind).await?;
        new.expires_in = Some(sent_code::LIFETIME.num_seconds());
    }
    Ok(new)
}

fn address(text: &str) -> Result<SecretString, ApiError> {
    let email = Email::parse(text).map(|email| email.as_str().into());
    email.ok_or_else(|| ApiError::invalid("invalid_body", "/to", "expected an e-mail address in ASCII"))
}

/// A number in the form of E.164, which needs no country to be known.
fn phone_number(text: &str) -> Result<SecretString, ApiError> {
    let number: String = text.chars().filter(|one| !" -().".contains(*one)).collect();
    let digits = number.strip_prefix('+').unwrap_or_default();
    let is_one = (8..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    let detail = "expected a phone number with its country, such as +14155550123";
    match is_one {
        true => Ok(number.into()),
        false => Err(ApiError::invalid("invalid_body", "/to", detail)),
    }
}

/// Sends a code of one of a user's methods.
pub async fn send_code(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    user_id: UserId,
    asked_by: &[u8],
    kind: Kind,
) -> Result<(), ApiError> {
    let method = method::find(connection, user_id, kind)
        .await?
        .ok_or_else(no_such_method)?;
    let now = state.clock.now();
    sent_code::send(connection, &state.field_keys, protection, &method, asked_by, now).await
}

/// A code is on its way.
#[derive(Serialize, ToSchema)]
pub struct SentCode {
    /// Seconds that it is good for.
    #[schema(example = 600)]
    expires_in: i64,
}

impl SentCode {
    pub fn answer() -> HttpResponse {
        let expires_in = sent_code::LIFETIME.num_seconds();
        HttpResponse::Accepted().json(Self { expires_in })
    }
}

/// Have a code sent, to step up with or to finish setting up a method.
#[utoipa::path(
    tag = "auth",
    params(("method" = Kind, Path, description = "Its kind")),
    responses(
        (status = 202, description = "On its way", body = SentCode),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`; `not_found`: there is none of this kind", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`nothing_to_send`: the method needs none", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/two-factor/methods/{method}/code")]
pub async fn send_second_factor_code(
    state: web::Data<AppState>,
    principal: Principal,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let kind = kind_of(&path)?;
    state
        .db
        .transaction("send_second_factor_code", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let user = live_user(&state, connection, &principal).await?;
            let asked_by = asked_by(principal.session_id);
            send_code(&state, connection, &protection, user.id, &asked_by, kind).await
        })
        .await?;
    Ok(SentCode::answer())
}

/// Finish setting up a second factor, with its first code. It counts from now on.
#[utoipa::path(
    tag = "auth",
    params(("method" = Kind, Path, description = "Its kind")),
    responses(
        (status = 200, description = "It counts now. With the first one come recovery codes", body = RecoveryCodes),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`; `not_found`: there is none of this kind", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_code`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/two-factor/methods/{method}/activate")]
pub async fn activate_second_factor(
    state: web::Data<AppState>,
    principal: Principal,
    path: web::Path<String>,
    body: Json<ActivateMethodRequest>,
) -> Result<HttpResponse, ApiError> {
    let now = state.clock.now();
    let proof = Proof {
        method: kind_of(&path)?,
        code: body.into_inner().code,
    };
    // A wrong code is no error inside the transaction, so that the attempt is committed.
    let activated = state
        .db
        .transaction("activate_second_factor", async |connection| {
            require_enabled(connection).await?;
            let user = recent_user(&state, connection, &principal).await?;
            let asked_by = asked_by(principal.session_id);
            let claimant = Claimant {
                user_id: user.id,
                asked_by: &asked_by,
            };
            activate(connection, &state.field_keys, claimant, &proof, now).await
        })
        .await
        .and_then(|codes| codes.ok_or_else(wrong_code));
    second_factor_attempts(&activated).increment(1);
    let recovery_codes = activated?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(secret_answer(RecoveryCodes { recovery_codes }))
}

/// Has a method count if the code is right, and gives the user recovery codes who has none yet.
pub async fn activate(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    Claimant { user_id, asked_by }: Claimant<'_>,
    proof: &Proof,
    now: DateTime<Utc>,
) -> Result<Option<Vec<String>>, ApiError> {
    let method = method::find(connection, user_id, proof.method)
        .await?
        .filter(|method| method.activated_at.is_none())
        .ok_or_else(no_such_method)?;
    if !check_method(connection, keys, &method, asked_by, &proof.code, now).await? {
        return Ok(None);
    }
    method::activate(connection, method.id, now).await?;
    match recovery_code::count(connection, user_id).await? {
        0 => recovery_code::replace(connection, user_id).await.map(Some),
        _ => Ok(Some(Vec::new())),
    }
}

fn kind_of(name: &str) -> Result<Kind, ApiError> {
    Kind::from_name(name).ok_or_else(no_such_method)
}

fn no_such_method() -> ApiError {
    ApiError::not_found("You have no second factor of this kind, or none to set up.")
}

/// Remove a second factor. With the last one go recovery codes and remembered devices.
#[utoipa::path(
    tag = "auth",
    params(("method" = Kind, Path, description = "Its kind")),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`; `not_found`: there is none of this kind", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/two-factor/methods/{method}")]
pub async fn remove_second_factor(
    state: web::Data<AppState>,
    principal: Principal,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let kind = kind_of(&path)?;
    state
        .db
        .transaction("remove_second_factor", async |connection| {
            require_enabled(connection).await?;
            let user = recent_user(&state, connection, &principal).await?;
            if !method::remove(connection, user.id, kind).await? {
                return Err(no_such_method());
            }
            clear_after_last(connection, user.id).await
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(HttpResponse::NoContent().finish())
}

/// What a user without a second factor has no use for.
pub async fn clear_after_last(connection: &mut AsyncPgConnection, user_id: UserId) -> Result<(), ApiError> {
    if methods_of(connection, user_id).await?.is_empty() {
        recovery_code::remove_all(connection, user_id).await?;
        remembered_device::forget_all(connection, user_id).await?;
    }
    Ok(())
}

/// Get new recovery codes. Those from before are good no more.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Ten new codes", body = RecoveryCodes),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`no_second_factor`: set one up first", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/two-factor/recovery-codes")]
pub async fn renew_recovery_codes(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<HttpResponse, ApiError> {
    let recovery_codes = state
        .db
        .transaction("renew_recovery_codes", async |connection| {
            require_enabled(connection).await?;
            let user = recent_user(&state, connection, &principal).await?;
            if methods_of(connection, user.id).await?.is_empty() {
                return Err(no_second_factor());
            }
            recovery_code::replace(connection, user.id).await
        })
        .await?;
    Ok(secret_answer(RecoveryCodes { recovery_codes }))
}

pub fn no_second_factor() -> ApiError {
    ApiError::unprocessable("no_second_factor", "You have no second factor. Set one up first.")
}

/// Forget all devices that are not asked for the second factor.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Forgotten"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`module_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/two-factor/remembered-devices")]
pub async fn forget_devices(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<HttpResponse, ApiError> {
    let mut connection = state.db.connection().await?;
    require_enabled(&mut connection).await?;
    let user = live_user(&state, &mut connection, &principal).await?;
    remembered_device::forget_all(&mut connection, user.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
