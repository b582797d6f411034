//! Pages for links in mails, where there is no site with better ones: `FRONTEND_URL` is then the gateway's `/auth`.
//!
//! A link is opened by programs too, which look whether it is dangerous, so opening one uses nothing up: each page has a form.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;
use shared::ApiError;

use super::input::query_member;
use super::reply;
use crate::email_verification;
use crate::one_time_tokens::PresentedToken;
use crate::passwordless::log_in_by_link;
use crate::passwords::{Password, reset};
use crate::sessions::Client;
use crate::sessions::login::Login;
use crate::state::AppState;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/verify-email", web::get().to(ask_to_verify))
        .route("/verify-email", web::post().to(verify))
        .route("/reset-password", web::get().to(ask_for_password))
        .route("/reset-password", web::post().to(set_password))
        .route("/login", web::get().to(ask_to_log_in))
        .route("/login/link", web::post().to(log_in));
}

#[derive(Default, Template)]
#[template(path = "page.html")]
struct Page<'p> {
    title: &'p str,
    text: &'p str,
    button: Option<&'p str>,
    /// Where the form goes, if not to the page itself.
    action: &'p str,
    token: &'p str,
    asks_password: bool,
}

/// What the forms send.
#[derive(Deserialize)]
struct Sent {
    token: String,
    #[serde(default)]
    password: String,
}

impl Page<'_> {
    fn answer(&self, status: StatusCode) -> HttpResponse {
        let policy =
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
        HttpResponse::build(status)
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::CONTENT_SECURITY_POLICY, policy))
            .body(self.render().unwrap_or_default())
    }
}

fn told(title: &str, text: &str) -> HttpResponse {
    Page {
        title,
        text,
        ..Page::default()
    }
    .answer(StatusCode::OK)
}

fn refused(error: &ApiError) -> HttpResponse {
    let detail = error.problem().detail.unwrap_or_default();
    Page {
        title: "That did not work",
        text: &detail,
        ..Page::default()
    }
    .answer(error.status())
}

fn token_of(request: &HttpRequest) -> String {
    query_member(request.query_string(), "token").unwrap_or_default()
}

async fn ask_to_verify(request: HttpRequest) -> HttpResponse {
    Page {
        title: "Verify your e-mail",
        text: "Is this e-mail yours, and did you register with it?",
        button: Some("Yes, verify it"),
        token: &token_of(&request),
        ..Page::default()
    }
    .answer(StatusCode::OK)
}

async fn verify(state: web::Data<AppState>, sent: web::Form<Sent>) -> HttpResponse {
    match email_verification::verify(&state, &PresentedToken::new(&sent.token)).await {
        Ok(_) => told("Verified", "Your e-mail is verified. You can close this page."),
        Err(error) => refused(&error),
    }
}

async fn ask_for_password(request: HttpRequest) -> HttpResponse {
    Page {
        title: "Set a new password",
        text: "It ends all sessions.",
        button: Some("Set it"),
        token: &token_of(&request),
        asks_password: true,
        ..Page::default()
    }
    .answer(StatusCode::OK)
}

async fn set_password(state: web::Data<AppState>, sent: web::Form<Sent>) -> HttpResponse {
    let Some(password) = Password::parse(&sent.password) else {
        return told("That did not work", "The password has no or too many characters.");
    };
    match reset::complete(&state, &PresentedToken::new(&sent.token), &password).await {
        Ok(()) => told("Done", "Log in with your new password."),
        Err(error) => refused(&error),
    }
}

async fn ask_to_log_in(request: HttpRequest) -> HttpResponse {
    Page {
        title: "Log in",
        text: "Only go on if you have asked for this link yourself.",
        button: Some("Log in"),
        action: "login/link",
        token: &token_of(&request),
        ..Page::default()
    }
    .answer(StatusCode::OK)
}

async fn log_in(state: web::Data<AppState>, request: HttpRequest, sent: web::Form<Sent>) -> HttpResponse {
    let token = PresentedToken::new(&sent.token);
    match log_in_by_link(&state, Client::of(&request), &token).await {
        Ok(login) => {
            let mut answer = match &login {
                Login::Session(_) => told("Logged in", "You are logged in."),
                Login::Pending(_) => told("One step left", "Your second factor is needed to log in."),
            };
            reply::session_cookie(&mut answer, &login);
            answer
        }
        Err(error) => refused(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_typed_unseen_and_may_be_pasted() {
        let page = Page {
            button: Some("Set it"),
            asks_password: true,
            ..Page::default()
        };
        let page = page.render().unwrap();
        assert!(page.contains(r#"type="password""#) && page.contains(r#"autocomplete="new-password""#));
        // A script could be in the way.
        assert!(!page.contains("<script") && !page.contains("onpaste"));
    }
}
