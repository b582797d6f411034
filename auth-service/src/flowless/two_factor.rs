//! Second factors: `/auth/two_factor/*`. A user has one method of each kind, so the kind is its id.
//!
//! The session may be one that waits for its second factor: then a code begins it, and its id stays.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use shared::ApiError;

use super::failure::Failure;
use super::input::{Input, is_waiting, session_of};
use super::reply;
use crate::field_keys;
use crate::modules;
use crate::sessions::validation::Valid;
use crate::sessions::{Secret, sha256};
use crate::state::AppState;
use crate::two_factor::handlers::{
    NewMethodRequest, activate, begin_method, clear_after_last, recent_user, send_code,
};
use crate::two_factor::login_handlers::{Finished, give_second};
use crate::two_factor::pending_login::{self, login_expired, methods_of};
use crate::two_factor::{
    self, Claimant, Code, Kind, Proof, Second, method, require_enabled, sent_code, wrong_code,
};
use crate::users::User;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/two_factor/system", web::get().to(system))
        .route("/two_factor/methods", web::get().to(methods))
        .route("/two_factor/verify", web::post().to(verify))
        .route("/two_factor/toggle", web::post().to(toggle))
        .route("/two_factor/{method}/setup", web::post().to(set_up))
        .route("/two_factor/{method}/start", web::post().to(start))
        .route("/two_factor/{method}", web::delete().to(remove));
}

/// Who asks: somebody in a session, or in a login that waits, by the hash of its credential.
enum Caller {
    Session(Box<Valid>),
    Waiting(Vec<u8>),
}

impl Caller {
    async fn of(state: &AppState, input: &Input) -> Result<Self, Failure> {
        let credential = input.credential().unwrap_or_default();
        if is_waiting(state, credential).await? {
            return Ok(Self::Waiting(sha256(credential)));
        }
        let valid = session_of(state, Some(credential)).await?;
        Ok(Self::Session(Box::new(valid)))
    }

    /// What codes are bound to that this caller has sent.
    fn asked_by(&self) -> Vec<u8> {
        match self {
            Self::Session(valid) => two_factor::asked_by(valid.session.id),
            Self::Waiting(hash) => hash.clone(),
        }
    }
}

/// The kinds in the words of these paths.
fn kind_of(name: &str) -> Result<Kind, Failure> {
    match name {
        "email" => Ok(Kind::Email),
        "sms" => Ok(Kind::Sms),
        "totp" | "otp" => Ok(Kind::Totp),
        "backup_code" | "recovery_code" => Ok(Kind::RecoveryCode),
        _ => Err(Failure::bad_request("Invalid method")),
    }
}

pub fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Passkey => "passkeys",
        Kind::RecoveryCode => "backup_code",
        kind => kind.name(),
    }
}

async fn system(state: web::Data<AppState>) -> Result<HttpResponse, Failure> {
    let mut connection = state.db.connection().await?;
    let enabled = modules::is_enabled(&mut connection, modules::TWO_FACTOR)
        .await
        .map_err(ApiError::from)?;
    let mut available = Vec::new();
    if enabled {
        available.extend(["email", "totp"]);
    }
    if enabled && state.carriers.have(crate::messages::Channel::Sms) {
        available.push("sms");
    }
    if enabled && state.relying_party.webauthn().is_ok() {
        available.push("passkeys");
    }
    Ok(reply::twice(json!({
        "global_two_factor_enabled": enabled,
        "available": enabled,
        "available_methods": available,
    })))
}

async fn methods(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let caller = Caller::of(&state, &input).await?;
    let list = state
        .db
        .transaction("list_methods", async |connection| {
            require_enabled(connection).await?;
            let user_id = match &caller {
                Caller::Session(valid) => valid.user.id,
                Caller::Waiting(hash) => {
                    let waiting = pending_login::lock(connection, hash, state.clock.now()).await?;
                    waiting.ok_or_else(login_expired)?.1.id
                }
            };
            let mut list = Vec::new();
            for method in method::list(connection, user_id).await? {
                let status = method.activated_at.map_or("pending_setup", |_| "active");
                list.push(described(method.kind()?, status, json!(method.last_used_at)));
            }
            if methods_of(connection, user_id).await?.contains(&Kind::Passkey) {
                list.push(described(Kind::Passkey, "active", Value::Null));
            }
            Ok(list)
        })
        .await?;
    Ok(reply::twice(json!({ "methods": list })))
}

fn described(kind: Kind, status: &str, last_used_at: Value) -> Value {
    let name = name_of(kind);
    json!({ "id": name, "method": name, "type": name, "status": status, "last_used_at": last_used_at, "metadata": {} })
}

async fn set_up(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let caller = Caller::of(&state, &input).await?;
    let request = NewMethodRequest {
        method: kind_of(&path)?,
        to: input.text(&["identifier", "email", "phone"])?.map(str::to_owned),
    };
    let asked_by = caller.asked_by();
    let begun = state
        .db
        .transaction("set_up_method", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let user: User = match &caller {
                Caller::Session(valid) => recent_user(&state, connection, &valid.principal()).await?,
                Caller::Waiting(hash) => {
                    let waiting = pending_login::lock(connection, hash, state.clock.now()).await?;
                    let (pending, user) = waiting.ok_or_else(login_expired)?;
                    if !pending.enrolling {
                        return Err(method::method_exists());
                    }
                    user.decrypt(&state.field_keys)?
                }
            };
            begin_method(&state, connection, &protection, &user, &asked_by, &request).await
        })
        .await?;
    let name = name_of(request.method);
    Ok(reply::twice(json!({
        "method_id": name,
        "method": name,
        "status": "pending_setup",
        "verification_sent": begun.expires_in.is_some(),
        "expires_in": begun.expires_in.unwrap_or(sent_code::LIFETIME.num_seconds()),
        "secret": begun.secret,
        "otpauth_url": begun.uri,
        "qr_code": begun.qr_code,
        "message": "Enter the code to finish",
    })))
}

async fn start(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let caller = Caller::of(&state, &input).await?;
    let kind = kind_of(&path)?;
    let asked_by = caller.asked_by();
    state
        .db
        .transaction("start_method", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            require_enabled(connection).await?;
            let user_id = match &caller {
                Caller::Session(valid) => valid.user.id,
                Caller::Waiting(hash) => {
                    let waiting = pending_login::lock(connection, hash, state.clock.now()).await?;
                    waiting.ok_or_else(login_expired)?.1.id
                }
            };
            send_code(&state, connection, &protection, user_id, &asked_by, kind).await
        })
        .await?;
    let name = name_of(kind);
    Ok(reply::twice(json!({
        "method_id": name,
        "method": name,
        "expires_in": sent_code::LIFETIME.num_seconds(),
        "message": "Verification code sent",
    })))
}

/// A code, and the method that it is of.
fn proof(input: &Input, code: &[&str], method: &[&str]) -> Result<Proof, Failure> {
    let text = input.required(code)?;
    Ok(Proof {
        method: kind_of(input.required(method)?)?,
        code: Code::parse(text).ok_or_else(|| Failure::bad_request("Invalid code"))?,
    })
}

async fn verify(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let caller = Caller::of(&state, &input).await?;
    let proof = proof(&input, &["code"], &["method_id", "method"])?;
    let valid = match caller {
        Caller::Waiting(_) => return finish(&state, &input, proof).await,
        Caller::Session(valid) => valid,
    };
    let action = input.text(&["action"])?.unwrap_or("login");
    let codes = match action {
        "setup" => {
            let (user_id, asked_by) = (valid.user.id, two_factor::asked_by(valid.session.id));
            let activated = state
                .db
                .transaction("activate_method", async |connection| {
                    require_enabled(connection).await?;
                    recent_user(&state, connection, &valid.principal()).await?;
                    let claimant = Claimant {
                        user_id,
                        asked_by: &asked_by,
                    };
                    activate(connection, &state.field_keys, claimant, &proof, state.clock.now()).await
                })
                .await?;
            state.session_cache.catch_up_and_tell(&state.db).await;
            activated.ok_or_else(wrong_code)?
        }
        "remove" => {
            give_up(&state, &valid, &proof, &[proof.method]).await?;
            Vec::new()
        }
        "login" => {
            give_up(&state, &valid, &proof, &[]).await?;
            Vec::new()
        }
        _ => return Err(Failure::bad_request("Invalid action")),
    };
    let valid = input.session(&state).await?;
    Ok(reply::twice(json!({
        "verified": true,
        "session_activated": false,
        "expires_at": valid.session.idle_expires_at,
        "backup_codes": codes,
        "user": reply::user(&valid.user),
        "message": "Verification successful",
    })))
}

async fn finish(state: &AppState, input: &Input, proof: Proof) -> Result<HttpResponse, Failure> {
    let secret = Secret::from_text(input.credential().unwrap_or_default());
    let second = Second::Code(proof);
    let remembered = input.wants("remember_device");
    let Finished {
        begun,
        remembered_device_token,
        recovery_codes,
    } = give_second(state, secret, &second, remembered, input.client.clone()).await?;
    let more = json!({
        "verified": true,
        "session_activated": true,
        "remembered_device_token": remembered_device_token.map(|token| token.reveal()),
        "backup_codes": recovery_codes,
    });
    Ok(reply::begun_with(&begun, "Verification successful", more))
}

/// Checks a code of somebody in a session, and removes these methods if it is right.
async fn give_up(state: &AppState, valid: &Valid, proof: &Proof, kinds: &[Kind]) -> Result<(), Failure> {
    let (user_id, asked_by) = (valid.user.id, two_factor::asked_by(valid.session.id));
    // A wrong code is no error inside the transaction, so that the attempt is committed.
    let right = state
        .db
        .transaction("remove_methods", async |connection| {
            require_enabled(connection).await?;
            let claimant = Claimant {
                user_id,
                asked_by: &asked_by,
            };
            let right =
                two_factor::check(connection, &state.field_keys, claimant, proof, state.clock.now()).await?;
            if right {
                for kind in kinds {
                    method::remove(connection, user_id, *kind).await?;
                }
                clear_after_last(connection, user_id).await?;
            }
            Ok(right)
        })
        .await?;
    if !right {
        return Err(wrong_code().into());
    }
    if !kinds.is_empty() {
        state.session_cache.catch_up_and_tell(&state.db).await;
    }
    Ok(())
}

/// A user has two factors when a method is active; so switching off removes all that there are.
async fn toggle(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let on = input.wants("enabled") || input.wants("two_factor_enabled");
    if !on {
        let proof = proof(
            &input,
            &["verification_code", "code"],
            &["verification_method_id", "method_id", "method"],
        )?;
        give_up(&state, &valid, &proof, &[Kind::Totp, Kind::Email, Kind::Sms]).await?;
    }
    let mut connection = state.db.connection().await?;
    require_enabled(&mut connection).await?;
    let active = methods_of(&mut connection, valid.user.id).await?;
    if on && active.is_empty() {
        return Err(Failure::bad_request("Set up a method first"));
    }
    let active = active.into_iter().filter(|kind| *kind != Kind::RecoveryCode);
    let active: Vec<&str> = active.map(name_of).collect();
    let message = match on {
        true => "Two-factor authentication enabled",
        false => "Two-factor authentication disabled",
    };
    Ok(reply::twice(json!({
        "two_factor": !active.is_empty(),
        "two_factor_enabled": !active.is_empty(),
        "active_methods": active,
        "message": message,
    })))
}

async fn remove(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let proof = proof(
        &input,
        &["verification_code", "code"],
        &["verification_method_id", "method_id", "method"],
    )?;
    give_up(&state, &valid, &proof, &[kind_of(&path)?]).await?;
    Ok(reply::done("Method removed"))
}
