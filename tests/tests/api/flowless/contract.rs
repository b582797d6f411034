//! The contract as a table: every path that some client of Flowless is known to ask, by the sections of the contract. Each is in
//! `auth-service/flowless.md`, each that is there is answered, and this says in which module of tests its row is replayed.

use std::collections::BTreeSet;

use platform::client::PASSWORD;
use serde_json::json;
use shared::Role;

use super::{Program, SECRET, start, text};

/// Section, where it is replayed, and what is asked.
const CONTRACT: [(&str, &str, &[&str]); 9] = [
    (
        "1.1",
        "logins",
        &[
            "POST /auth/register",
            "POST /auth/register/public",
            "POST /auth/login",
            "POST /auth/logout",
            "POST /auth/refresh",
            "GET /auth/refresh",
        ],
    ),
    (
        "1.2",
        "profile, shapes, mail",
        &[
            "GET /auth/user/me",
            "GET /auth/me",
            "PUT /auth/user/me",
            "PUT /auth/profile",
            "GET /auth/profile",
            "PATCH /auth/profile",
            "POST /auth/upload/picture",
            "POST /auth/profile/picture",
            "DELETE /auth/upload/picture",
        ],
    ),
    (
        "1.3",
        "mail, logins, administration",
        &[
            "POST /auth/password-reset/request",
            "POST /auth/password-reset/validate",
            "GET /auth/password-reset/validate",
            "GET /auth/password-reset/validate/{token}",
            "POST /auth/password-reset/complete",
            "POST /auth/password-reset/reset",
            "POST /auth/password/reset/request",
            "POST /auth/password/reset/validate",
            "POST /auth/password/reset/complete",
            "POST /auth/password-change/self",
            "POST /auth/password/change",
            "POST /auth/password-change/admin",
        ],
    ),
    (
        "1.4",
        "mail",
        &[
            "POST /auth/resend-verification",
            "POST /auth/email/resend",
            "POST /auth/email/verify",
            "GET /auth/verify-email",
            "POST /auth/verify-email",
        ],
    ),
    (
        "1.5",
        "shapes, bridge, sessions",
        &[
            "GET /auth/validation",
            "POST /auth/validation",
            "GET /auth/validate",
            "GET /auth/session/current",
            "POST /auth/bridge/validate",
            "POST /bridge/validate",
            "POST /api/bridge/validate",
            "POST /auth/invalidate/me",
            "GET /auth/sessions",
            "DELETE /auth/sessions",
            "DELETE /auth/sessions/{session}",
            "GET /health",
        ],
    ),
    (
        "1.6",
        "mail",
        &[
            "POST /auth/token/login",
            "POST /auth/token/create",
            "POST /auth/token/validate",
            "GET /auth/token/validate",
        ],
    ),
    (
        "1.7",
        "social",
        &[
            "GET /auth/social/providers",
            "GET /auth/social/{provider}/login",
            "GET /auth/social/{provider}",
            "GET /auth/social/{provider}/callback",
            "POST /auth/social/{provider}/login-api",
            "POST /auth/social/login",
            "GET /auth/social/accounts",
            "POST /auth/social/link",
            "DELETE /auth/social/accounts/{provider}",
            "DELETE /auth/social/unlink/{provider}",
        ],
    ),
    (
        "1.8",
        "two_factor",
        &[
            "GET /auth/two_factor/system",
            "GET /auth/two_factor/methods",
            "POST /auth/two_factor/{method}/setup",
            "POST /auth/two_factor/{method}/start",
            "POST /auth/two_factor/verify",
            "POST /auth/two_factor/toggle",
            "DELETE /auth/two_factor/{method}",
        ],
    ),
    (
        "1.9",
        "administration",
        &[
            "GET /auth/admin/users",
            "GET /auth/admin/users/{id}",
            "PUT /auth/admin/users/{id}",
            "GET /auth/users",
            "POST /auth/users",
            "PUT /auth/users/{id}",
            "DELETE /auth/users/{id}",
        ],
    ),
];

/// The first column of the table of paths: `POST /a`, `/b` is POST of both, and `GET`, `POST /a` is both of one.
fn documented() -> Vec<(String, String)> {
    let page = include_str!("../../../../auth-service/flowless.md");
    let table = page.lines().skip_while(|line| !line.starts_with("| path"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let mut found = Vec::new();
    for row in rows {
        let paths = row.split('|').nth(1).unwrap();
        let (mut methods, mut complete) = (Vec::new(), true);
        for word in paths.split('`').skip(1).step_by(2) {
            let (method, path) = match word.split_once(' ') {
                Some((method, path)) => (Some(method), Some(path)),
                None if word.starts_with('/') => (None, Some(word)),
                None => (Some(word), None),
            };
            if let Some(method) = method {
                if complete {
                    methods.clear();
                }
                methods.push(method);
            }
            complete = path.is_some();
            let path = path.into_iter();
            found.extend(path.flat_map(|path| methods.iter().map(|of| (of.to_string(), path.to_owned()))));
        }
        assert!(complete && !methods.is_empty(), "no path ends the row: {row}");
    }
    found
}

#[test]
fn every_row_of_the_contract_is_documented() {
    let documented: BTreeSet<String> = documented()
        .into_iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    let rows = CONTRACT.iter();
    let missing: Vec<_> = rows
        .flat_map(|(section, _, asked)| asked.iter().map(move |asked| (section, *asked)))
        .filter(|(_, asked)| !documented.contains(*asked))
        .collect();
    assert!(missing.is_empty(), "not in auth-service/flowless.md: {missing:?}");
}

#[test]
fn every_row_of_the_contract_is_replayed_where_the_table_says() {
    let modules = [
        ("administration", include_str!("administration.rs")),
        ("bridge", include_str!("bridge.rs")),
        ("logins", include_str!("logins.rs")),
        ("mail", include_str!("mail.rs")),
        ("profile", include_str!("profile.rs")),
        ("sessions", include_str!("sessions.rs")),
        ("shapes", include_str!("shapes.rs")),
        ("social", include_str!("../social.rs")),
        ("two_factor", include_str!("two_factor.rs")),
    ];
    for (section, named, asked) in CONTRACT {
        let named: Vec<&str> = named.split(", ").collect();
        let texts = modules.iter().filter(|(name, _)| named.contains(name));
        let all: String = texts.map(|(_, text)| *text).collect();
        for asked in asked {
            let path = asked.split_once(' ').unwrap().1;
            // What varies is put in by the test.
            let stem = path.split("/{").next().unwrap();
            assert!(
                all.contains(stem),
                "{section} {asked} is not replayed in {named:?}"
            );
        }
    }
}

/// Whatever it is that they answer, it is not that there is nothing, and it is in the form that every client reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_path_is_answered_through_the_gateway() {
    let platform = start().await;
    let program = Program::new(&platform);
    crate::two_factor::switch_module(&platform, true).await;
    let admin = platform.register_with_role("admin", Role::Admin).await;
    let asked = documented();
    assert!(asked.len() > 70, "{} paths were found in the table", asked.len());
    let credentials = json!({ "email": admin.email, "password": PASSWORD });
    for (method, path) in asked {
        // Some of them end it.
        let session = program
            .post("/auth/login", credentials.clone())
            .await
            .must_be(200);
        let user = program
            .in_session(text(&session["session_id"]))
            .with("x-bridge-secret", SECRET);
        let place = path
            .replace("{id}", &admin.user_id)
            .replace("{session}", "ses_1")
            .replace("{token}", "rst_1")
            .replace("{provider}", "google")
            .replace("{method}", "email");
        assert!(!place.contains('{'), "{path}");
        let body = (method != "GET").then(|| json!({}));
        let answer = user.send(method.parse().unwrap(), &place, body).await;
        assert!(answer.status < 500 && answer.status != 405, "{answer}");
        let kind = answer.header("content-type").unwrap_or_default();
        if kind.starts_with("text/html") {
            continue;
        }
        // Never 204; and never a text as the status, which some take for that of the answer, but where they wait for one.
        assert_eq!(kind, "application/json", "{answer}");
        let succeeded = answer.body["success"].as_bool();
        let has_status = answer.body["status"].is_string();
        assert!(
            succeeded.is_some() && has_status == path.ends_with("/setup"),
            "{answer}"
        );
        if answer.status != 200 {
            assert_eq!(succeeded, Some(false), "{answer}");
            let error = text(&answer.body["error"]);
            assert_ne!(error, "Not found", "{method} {path} is documented, and {answer}");
        }
    }
    // Which it would have found.
    super::must_fail(&program.get("/auth/user").await, 404, "Not found");
    platform.stop().await.unwrap();
}
