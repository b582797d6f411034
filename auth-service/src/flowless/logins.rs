//! Registering, logging in and out, and keeping a session alive.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde_json::json;

use super::administration::create_by;
use super::bridge::client_of;
use super::failure::Failure;
use super::input::Input;
use super::mail::email;
use super::reply;
use crate::administration::ADMINISTRATORS;
use crate::instance::SecretKind;
use crate::passwords::Password;
use crate::passwords::authentication::invalid_credentials;
use crate::sessions::handlers::{end_session, log_in_with_password};
use crate::state::AppState;
use crate::users::handlers::{Registration, register as register_user};
use crate::users::profile::{Line, Profile, UserName};
use crate::users::{Email, Name};

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/register", web::post().to(register))
        .route("/register/public", web::post().to(register_public))
        .route("/login", web::post().to(log_in))
        .route("/logout", web::post().to(log_out))
        .route("/refresh", web::post().to(refresh))
        .route("/refresh", web::get().to(refresh));
}

/// An administrator registers somebody else, and stays who they are. Any other session may be there and changes nothing.
async fn register(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    if let Some(valid) = input.session_if_any(&state).await?
        && valid.principal().has_any(&ADMINISTRATORS)
    {
        return create_by(&state, &valid.principal(), &input).await;
    }
    let secret = input.secret(&state).await?;
    begin_registered(&state, &input, secret).await
}

/// The same, which the instance may keep for programs that have a bridge secret.
async fn register_public(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let secret = input.secret(&state).await?;
    let instance = state.instance.snapshot(&state.db).await?;
    if instance.settings.secret_for_registration && secret.is_none() {
        return Err(Failure::invalid_secret());
    }
    begin_registered(&state, &input, secret).await
}

/// What a user is, such as an administrator, is no part of what a registration may say; clients send it all the same.
async fn begin_registered(
    state: &AppState,
    input: &Input,
    secret: Option<SecretKind>,
) -> Result<HttpResponse, Failure> {
    let client = client_of(input, secret)?;
    let mut registration = registration(input)?;
    let email = registration.email.clone();
    let password = password(input, &["password"])?;
    registration.password = Some(password.clone());
    let user = register_user(state, registration).await?;
    match log_in_with_password(state, client, email.as_str(), password).await {
        Ok(login) => Ok(reply::login(&login, "Registration successful")),
        Err(error) if error.code() == "email_not_verified" => Ok(reply::profile(
            &user,
            json!({
                "requiresVerification": true,
                "requires_verification": true,
                "message": "Registration successful. Verify your email to log in",
            }),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Whom a body describes, without the password.
pub fn registration(input: &Input) -> Result<Registration, Failure> {
    Ok(Registration {
        email: email(input)?,
        password: None,
        name: parsed::<Name>("name", input.required(&["name", "first_name", "firstName"])?)?,
        user_name: optional(input, &["user_name", "userName", "username"], UserName::parse)?,
        profile: Profile {
            last_name: optional(input, &["last_name", "lastName"], Line::parse)?,
            phone: optional(input, &["phone"], Line::parse)?,
            lang: optional(input, &["lang"], Line::parse)?,
            ..Profile::default()
        },
    })
}

/// A stale session may come along, and is not looked at.
async fn log_in(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let name = match input.text(&["email"])? {
        Some(email) => Email::parse(email).map(|email| email.as_str().to_owned()),
        None => {
            let names = ["user_name", "userName", "username"];
            let name = input.text(&names)?.filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| Failure::bad_request("email is required"))?;
            let as_email = Email::parse(name).map(|email| email.as_str().to_owned());
            as_email.or_else(|| UserName::parse(name).map(|name| name.as_str().to_owned()))
        }
    };
    let password = password(&input, &["password"]);
    // What nobody can be called, nobody is.
    let name = name.ok_or_else(invalid_credentials)?;
    let login = log_in_with_password(&state, input.client.clone(), &name, password?).await?;
    Ok(reply::login(&login, "Login successful"))
}

/// Whoever has no session is logged out already.
async fn log_out(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    if let Some(valid) = input.session_if_any(&state).await? {
        end_session(&state, valid.session.id).await?;
    }
    let mut answer = reply::done("Logged out successfully");
    reply::forget_cookie(&mut answer);
    Ok(answer)
}

/// Being asked about keeps a session alive; its id stays.
async fn refresh(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let credential = input.credential().unwrap_or_default();
    let session = reply::session_members(&valid.user, &valid.session, credential, "Session refreshed");
    Ok(reply::profile(&valid.user, session))
}

pub fn password(input: &Input, names: &[&str]) -> Result<Password, Failure> {
    let text = input.required(names)?;
    Password::parse(text).ok_or_else(|| Failure::bad_request("The password is too long"))
}

/// A text that is one of our types; empty is as good as nothing.
fn optional<T>(
    input: &Input,
    names: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(text) = input.text(names)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let name = names.first().copied().unwrap_or_default();
    let parsed = parse(text).ok_or_else(|| Failure::bad_request(format!("Invalid {name}")))?;
    Ok(Some(parsed))
}

fn parsed<'t, T: Deserialize<'t>>(name: &str, text: &'t str) -> Result<T, Failure> {
    let text: StrDeserializer<'t, ValueError> = text.into_deserializer();
    T::deserialize(text).map_err(|error| Failure::bad_request(format!("Invalid {name}: {error}")))
}
