//! Registering passkeys, looking after them, and logging in with one.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::authorization::AuthorizedTransfer;
use shared::error::Problem;
use shared::id::{CeremonyId, PasskeyId, UserId};
use shared::openapi::{BodyErrors, CommonErrors};
use shared::{ApiError, FieldKeys, Json, Principal};
use utoipa::ToSchema;
use webauthn_rs::prelude::{CredentialID, PasskeyRegistration, RegisterPublicKeyCredential};

use super::queries::{self, StoredPasskey};
use super::{
    Assertion, CeremonyResponse, PasskeyName, Purpose, authentication, invalid_passkey, registration,
    wrong_passkey,
};
use crate::field_keys::{self, PASSKEY_NAME};
use crate::sessions::Client;
use crate::sessions::login::{self, Login, Method};
use crate::state::AppState;
use crate::telemetry::login_attempted;
use crate::two_factor::handlers::{clear_after_last, live_user, recent_user};
use crate::two_factor::recovery_code;
use crate::{modules, users};

/// A passkey of yours.
#[derive(Debug, Serialize, ToSchema)]
pub struct PasskeyRecord {
    pub id: PasskeyId,
    #[schema(example = "My phone")]
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
}

impl PasskeyRecord {
    pub async fn list(
        connection: &mut AsyncPgConnection,
        keys: &FieldKeys,
        user_id: UserId,
    ) -> Result<Vec<Self>, ApiError> {
        let stored = queries::list(connection, user_id).await?;
        stored
            .into_iter()
            .map(|passkey| Self::of(keys, passkey))
            .collect()
    }

    fn of(keys: &FieldKeys, passkey: StoredPasskey) -> Result<Self, ApiError> {
        Ok(Self {
            id: passkey.id,
            name: keys.decrypt(PASSKEY_NAME, passkey.id.uuid(), &passkey.name_encrypted)?,
            created_at: passkey.created_at,
            last_used_at: passkey.last_used_at,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PasskeyList {
    pub items: Vec<PasskeyRecord>,
}

/// An authenticator's new passkey.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterPasskeyRequest {
    ceremony_id: CeremonyId,
    name: PasskeyName,
    /// What `navigator.credentials.create()` gave, as JSON.
    #[schema(value_type = Object)]
    credential: Box<RegisterPublicKeyCredential>,
}

/// A passkey that was registered.
#[derive(Serialize, ToSchema)]
pub struct RegisteredPasskey {
    #[serde(flatten)]
    passkey: PasskeyRecord,
    /// With the first second factor: codes for when nothing else is at hand. They are shown only here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<String>,
}

/// Another name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePasskeyRequest {
    name: PasskeyName,
}

/// Begin to register a passkey: give `options` to `navigator.credentials.create()`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The challenge, good for five minutes", body = CeremonyResponse),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/passkeys/registration")]
pub async fn begin_passkey(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<HttpResponse, ApiError> {
    let webauthn = state.relying_party.webauthn()?;
    let mut connection = state.db.connection().await?;
    let user = recent_user(&state, &mut connection, &principal).await?;
    let known = queries::credentials(&mut connection, user.id).await?;
    let known: Vec<CredentialID> = known.iter().map(|passkey| passkey.cred_id().clone()).collect();
    let (options, registering) = webauthn
        .start_passkey_registration(user.id.uuid(), &user.email, &user.name, Some(known))
        .map_err(ApiError::internal)?;
    let ceremony = registration(user.id, &options, &registering).map_err(ApiError::internal)?;
    let begun = queries::begin(&mut connection, ceremony, state.clock.now()).await?;
    Ok(created(&begun))
}

/// An answer that no cache is to keep.
pub fn created(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

/// Gives a user a challenge for one of their passkeys.
pub async fn begin_of(
    state: &AppState,
    connection: &mut AsyncPgConnection,
    purpose: Purpose,
    user_id: UserId,
    transfer: Option<AuthorizedTransfer>,
) -> Result<CeremonyResponse, ApiError> {
    let webauthn = state.relying_party.webauthn()?;
    let passkeys = queries::credentials(connection, user_id).await?;
    let user = Some((user_id, passkeys.as_slice()));
    let ceremony = authentication(webauthn, purpose, user, transfer).map_err(ApiError::internal)?;
    queries::begin(connection, ceremony, state.clock.now()).await
}

/// Register the passkey that the authenticator made. It logs you in from now on, and counts as a second factor.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "Registered", body = RegisteredPasskey),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`passkey_exists`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`wrong_passkey`, `too_many_passkeys`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[post("/api/v1/auth/passkeys")]
pub async fn register_passkey(
    state: web::Data<AppState>,
    principal: Principal,
    body: Json<RegisterPasskeyRequest>,
) -> Result<HttpResponse, ApiError> {
    let webauthn = state.relying_party.webauthn()?;
    let (now, body) = (state.clock.now(), body.into_inner());
    // A wrong answer is no error inside the transaction, so that its challenge is used up.
    let registered = state
        .db
        .transaction("register_passkey", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            users::profile::queries::lock(connection, principal.user_id).await?;
            let user = recent_user(&state, connection, &principal).await?;
            let purpose = Purpose::Registration;
            let given = queries::use_up(connection, body.ceremony_id, purpose, Some(user.id), now).await?;
            let registering =
                given.and_then(|(given, _)| serde_json::from_value::<PasskeyRegistration>(given).ok());
            let passkey = registering.and_then(|registering| {
                webauthn
                    .finish_passkey_registration(&body.credential, &registering)
                    .ok()
            });
            let Some(passkey) = passkey else { return Ok(None) };
            let id = queries::insert(connection, &protection, user.id, &passkey, &body.name, now).await?;
            Ok(Some(RegisteredPasskey {
                passkey: PasskeyRecord {
                    id,
                    name: body.name.0.clone(),
                    created_at: now,
                    last_used_at: None,
                },
                recovery_codes: first_recovery_codes(connection, user.id).await?,
            }))
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    registered.as_ref().map(created).ok_or_else(wrong_passkey)
}

/// Recovery codes for a user who has none, while second factors are on.
async fn first_recovery_codes(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
) -> Result<Vec<String>, ApiError> {
    let is_on = modules::is_enabled(connection, modules::TWO_FACTOR).await?;
    if is_on && recovery_code::count(connection, user_id).await? == 0 {
        return recovery_code::replace(connection, user_id).await;
    }
    Ok(Vec::new())
}

/// Your passkeys.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "All of them", body = PasskeyList),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[get("/api/v1/auth/passkeys")]
pub async fn list_passkeys(
    state: web::Data<AppState>,
    principal: Principal,
) -> Result<web::Json<PasskeyList>, ApiError> {
    let mut connection = state.db.connection().await?;
    let user = live_user(&state, &mut connection, &principal).await?;
    Ok(web::Json(PasskeyList {
        items: PasskeyRecord::list(&mut connection, &state.field_keys, user.id).await?,
    }))
}

/// Give a passkey another name.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Renamed"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    ),
    security(("access_token" = []))
)]
#[patch("/api/v1/auth/passkeys/{passkey_id}")]
pub async fn rename_passkey(
    state: web::Data<AppState>,
    principal: Principal,
    passkey_id: web::Path<PasskeyId>,
    body: Json<RenamePasskeyRequest>,
) -> Result<HttpResponse, ApiError> {
    let renamed = state
        .db
        .transaction("rename_passkey", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            let user = live_user(&state, connection, &principal).await?;
            queries::rename(connection, &protection, user.id, *passkey_id, &body.name).await
        })
        .await?;
    match renamed {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(no_such_passkey()),
    }
}

fn no_such_passkey() -> ApiError {
    ApiError::not_found("There is no such passkey, or it is not yours.")
}

/// Remove a passkey. It logs nobody in any more.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 204, description = "Removed"),
        (status = 401, description = "`missing_token`, `invalid_token`, `token_expired`, `session_revoked`; `insufficient_user_authentication`: step up first", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    ),
    security(("access_token" = []))
)]
#[delete("/api/v1/auth/passkeys/{passkey_id}")]
pub async fn remove_passkey(
    state: web::Data<AppState>,
    principal: Principal,
    passkey_id: web::Path<PasskeyId>,
) -> Result<HttpResponse, ApiError> {
    state
        .db
        .transaction("remove_passkey", async |connection| {
            let user = live_user(&state, connection, &principal).await?;
            // Before it is gone: afterwards there might be no second factor to ask for.
            let recent = recent_user(&state, connection, &principal).await;
            if !queries::remove(connection, user.id, *passkey_id).await? {
                return Err(no_such_passkey());
            }
            recent?;
            if modules::is_enabled(connection, modules::TWO_FACTOR).await? {
                clear_after_last(connection, user.id).await?;
            }
            Ok(())
        })
        .await?;
    state.session_cache.catch_up_and_tell(&state.db).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Begin to log in with a passkey, without a name: give `options` to `navigator.credentials.get()`.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 201, description = "The challenge, good for five minutes", body = CeremonyResponse),
        (status = 404, description = "`passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors,
    )
)]
#[post("/api/v1/auth/passkeys/login/options")]
pub async fn begin_passkey_login(state: web::Data<AppState>) -> Result<HttpResponse, ApiError> {
    let webauthn = state.relying_party.webauthn()?;
    let ceremony = authentication(webauthn, Purpose::Login, None, None).map_err(ApiError::internal)?;
    let mut connection = state.db.connection().await?;
    let begun = queries::begin(&mut connection, ceremony, state.clock.now()).await?;
    Ok(created(&begun))
}

/// Log in with a passkey, and begin a session. No second factor is asked for: a passkey is two.
#[utoipa::path(
    tag = "auth",
    responses(
        (status = 200, description = "Logged in", body = crate::sessions::handlers::LoginResponse),
        (status = 401, description = "`invalid_passkey`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`passkeys_disabled`", body = Problem, content_type = "application/problem+json"),
        CommonErrors, BodyErrors,
    )
)]
#[post("/api/v1/auth/passkeys/login")]
pub async fn log_in_with_passkey(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json<Assertion>,
) -> Result<HttpResponse, ApiError> {
    let result = begin_session(&state, Client::of(&request), &body).await;
    login_attempted(&result);
    result?.answer(&state)
}

async fn begin_session(state: &AppState, client: Client, assertion: &Assertion) -> Result<Login, ApiError> {
    let webauthn = state.relying_party.webauthn()?;
    let now = state.clock.now();
    // A wrong answer is no error inside the transaction, so that its challenge is used up.
    let login = state
        .db
        .transaction("log_in_with_passkey", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            let claimed = queries::claimed_user(connection, &assertion.credential).await?;
            let user = match claimed {
                Some(user_id) => users::profile::queries::lock(connection, user_id).await?,
                None => None,
            };
            let Some(user) = user else { return Ok(None) };
            let proved =
                queries::check(connection, webauthn, Purpose::Login, user.id, assertion, now).await?;
            if proved.is_none() {
                return Ok(None);
            }
            let methods = [Method::Passkey, Method::Several];
            let login = login::begin(
                state,
                connection,
                &protection,
                user,
                client.clone(),
                &methods,
                now,
            )
            .await?;
            Ok(Some(login))
        })
        .await?;
    login.ok_or_else(invalid_passkey)
}
