//! Section 1.9 of the contract: users as programs for Flowless administer them, and that nobody reaches more by these paths than
//! by `/api/v1/auth/users`.

use platform::client::{Answer, Customer, PASSWORD, text_of};
use platform::{Client, Platform};
use reqwest::Method;
use serde_json::{Value, json};
use shared::Role;

use super::shapes::{assert_profile, assert_user};
use super::{Program, must_fail, register, start, text};

const USERS: &str = "/auth/admin/users";
const ANOTHER_PASSWORD: &str = "copper-meadow-17-telescope";
const ROLE_REQUIRED: &str = "Your roles do not allow this.";

async fn staff(platform: &Platform, program: &Program, role: Role) -> (Customer, Program) {
    let customer = platform.register_with_role(role.name(), role).await;
    let program = program.in_session(&customer.session_id);
    (customer, program)
}

async fn put(program: &Program, path: &str, body: Value) -> Answer {
    program.send(Method::PUT, path, Some(body)).await
}

async fn delete(program: &Program, path: &str) -> Answer {
    program.send(Method::DELETE, path, None).await
}

fn path_of(id: &Value) -> String {
    format!("{USERS}/{}", text(id))
}

fn names(users: &Value) -> Vec<&str> {
    let users = users.as_array().unwrap().iter();
    users.map(|user| text(&user["name"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staff_lists_and_finds_users_by_pages() {
    let platform = start().await;
    let program = Program::new(&platform);
    let (admin, program_of_admin) = staff(&platform, &program, Role::Admin).await;
    let (_, program_of_support) = staff(&platform, &program, Role::Support).await;
    let body =
        json!({ "email": "ada@example.com", "password": PASSWORD, "name": "ada", "userName": "Ada.L" });
    let ada = program.post("/auth/register", body).await.must_be(200);
    register(&program, "bob").await;

    let all = program_of_support.get(USERS).await.must_be(200);
    let data = &all["data"];
    assert_eq!(names(&data["users"]), ["bob", "ada", "support", "admin"]);
    assert_eq!(
        data["pagination"],
        json!({ "page": 1, "limit": 20, "total": 4, "pages": 1 })
    );
    data["users"].as_array().unwrap().iter().for_each(assert_user);
    // Where `data` is the list.
    let list = program_of_admin
        .get("/auth/users?page=2&limit=3")
        .await
        .must_be(200);
    assert_eq!(names(&list["data"]), ["admin"]);
    let pagination = json!({ "page": 2, "limit": 3, "total": 4, "pages": 2 });
    assert_eq!((&list["pagination"], &list["meta"]), (&pagination, &pagination));

    let ada_id = text_of(&ada["user"], "id");
    for (query, expected) in [
        (
            "sortBy=created_at&sortOrder=asc",
            &["admin", "support", "ada", "bob"][..],
        ),
        ("sortOrder=ASC&limit=1&page=3", &["ada"]),
        ("page=5", &[]),
        ("q=ADA%40example.com", &["ada"]),
        ("q=ada.L", &["ada"]),
        (&format!("q={ada_id}"), &["ada"]),
        ("q=ada.l&userType=admin", &[]),
        // What is encrypted is found whole or not at all.
        ("q=ad", &[]),
        ("q=%25", &[]),
        ("q=nobody%40example.com", &[]),
        ("userType=user", &["bob", "ada"]),
        ("user_type=customer&page=2&limit=1", &["ada"]),
        ("userType=admin", &["admin"]),
        ("userType=compliance", &[]),
        (
            "q=&userType=&sortBy=&unknown=1",
            &["bob", "ada", "support", "admin"],
        ),
    ] {
        let found = program_of_admin
            .get(&format!("{USERS}?{query}"))
            .await
            .must_be(200);
        assert_eq!(names(&found["data"]["users"]), expected, "{query}");
    }
    for (query, error) in [
        ("page=0", "page is a number from 1 to 10000"),
        ("page=x", "page is a number from 1 to 10000"),
        ("limit=101", "limit is a number from 1 to 100"),
        ("limit=-1", "limit is a number from 1 to 100"),
        (
            "page=101&limit=100",
            "Pages go as far as the first 10000 users: ask for less with q or userType",
        ),
        ("sortBy=email", "sortBy is created_at"),
        ("sortOrder=up", "sortOrder is asc or desc"),
        (
            "userType=teacher",
            "user_type is user, partner, support, compliance, admin or superadmin",
        ),
        (&format!("q={}", "x".repeat(255)), "q is too long"),
    ] {
        must_fail(
            &program_of_admin.get(&format!("{USERS}?{query}")).await,
            400,
            error,
        );
    }
    let customer = program.in_session(text(&ada["session_id"]));
    for path in [USERS, "/auth/users", &path_of(&ada["user"]["id"])] {
        must_fail(&customer.get(path).await, 403, ROLE_REQUIRED);
        must_fail(&program.get(path).await, 401, "Invalid session");
    }

    let shown = program_of_support
        .get(&path_of(&ada["user"]["id"]))
        .await
        .must_be(200);
    let data = &shown["data"];
    assert_user(&data["user"]);
    assert_eq!(
        (&data["user"]["id"], &data["sessionCount"]),
        (&json!(ada_id), &json!(1))
    );
    let session = &data["sessions"][0];
    for member in [
        "id",
        "sessionPrefix",
        "ipAddress",
        "userAgent",
        "userDevice",
        "lastUsedAt",
        "createdAt",
        "expiresAt",
        "status",
    ] {
        assert!(session.get(member).is_some(), "no {member} in {session}");
    }
    assert!(!shown.to_string().contains(text(&ada["session_id"])), "{shown}");
    for id in [admin.user_id.replace("usr_", "ses_"), "x".to_owned()] {
        let nobody = program_of_admin.get(&format!("{USERS}/{id}")).await;
        must_fail(&nobody, 404, "There is no such user.");
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_changes_all_of_a_form_or_nothing() {
    let platform = start().await;
    let program = Program::new(&platform);
    let (_, admin) = staff(&platform, &program, Role::Admin).await;
    let (_, root) = staff(&platform, &program, Role::Superadmin).await;
    let (support, _) = staff(&platform, &program, Role::Support).await;
    let ada = register(&program, "ada").await;
    register(&program, "bob").await;
    let (path, session) = (
        path_of(&ada["user"]["id"]),
        program.in_session(text(&ada["session_id"])),
    );

    // The whole of a form, of which little is new.
    let mut form = ada["user"].clone();
    form["last_name"] = json!("Lovelace");
    form["user_name"] = json!("Ada.L");
    form["is_verified"] = json!(true);
    let changed = put(&admin, &path, form.clone()).await.must_be(200);
    assert_profile(&changed);
    for (member, value) in [
        ("last_name", json!("Lovelace")),
        ("user_name", json!("ada.l")),
        ("is_verified", json!(true)),
        ("user_type", json!("user")),
    ] {
        assert_eq!(changed["user"][member], value, "{member}");
    }
    // It is seen everywhere at once, and whoever has lost nothing goes on.
    let me = session.get("/auth/me").await.must_be(200);
    assert_eq!(me["user"], changed["user"]);

    let other = json!({ "phone": "+1 2", "email": "NEW@example.com", "is_verified": true });
    let changed = put(&admin, &path, other).await.must_be(200);
    assert_eq!(
        (&changed["user"]["email"], &changed["user"]["is_verified"]),
        (&json!("new@example.com"), &json!(false)),
        "nobody verifies an e-mail but who reads it"
    );
    let told = platform.inbox.wait_for("ada@example.com", "email_changed", 1);
    told.await;
    let asked = platform
        .inbox
        .wait_for("new@example.com", "email_verification", 1);
    asked.await;

    let two_factor = "two_factor is changed by the user alone";
    let superadmin = "Only a superadmin makes, changes or removes administrators.";
    for (program, body, status, error) in [
        (
            &admin,
            json!({ "user_type": "admin", "name": "Eve" }),
            403,
            superadmin,
        ),
        (
            &admin,
            json!({ "email": "bob@example.com", "name": "Eve" }),
            409,
            "Email already registered",
        ),
        (
            &admin,
            json!({ "two_factor": true, "name": "Eve" }),
            400,
            two_factor,
        ),
        (
            &admin,
            json!({ "user_type": 7, "name": "Eve" }),
            400,
            "user_type must be a text",
        ),
        (&session, json!({ "name": "Eve" }), 403, ROLE_REQUIRED),
    ] {
        must_fail(&put(program, &path, body).await, status, error);
        assert_eq!(session.get("/auth/me").await.must_be(200)["user"]["name"], "ada");
    }
    for body in [
        json!({ "gender": "q" }),
        json!({ "is_verified": "yes" }),
        json!({ "user_type": "teacher" }),
    ] {
        assert_eq!(put(&admin, &path, body.clone()).await.status, 400, "{body}");
    }

    // Another word is another role, and who gets one of staff is logged out.
    let promoted = put(&admin, &path, json!({ "userType": "support" }))
        .await
        .must_be(200);
    assert_eq!(promoted["user"]["user_type"], "support");
    must_fail(&session.get("/auth/me").await, 401, "Invalid session");
    put(&root, &path, json!({ "user_type": "admin" }))
        .await
        .must_be(200);
    must_fail(
        &put(&admin, &path, json!({ "name": "Eve" })).await,
        403,
        superadmin,
    );
    let own = format!("{USERS}/{}", support.user_id);
    put(&root, &own, json!({ "user_type": "user" }))
        .await
        .must_be(200);

    let auditor = platform.register_with_role("auditor", Role::Compliance).await;
    let log = format!("/api/v1/auth/audit-log?subject={}", text(&ada["user"]["id"]));
    let log = auditor.get(&log).await.must_be(200);
    let entries = log["data"].as_array().unwrap().iter();
    let actions: Vec<&str> = entries.map(|entry| text(&entry["action"])).collect();
    assert_eq!(
        actions,
        [
            "user.roles_changed",
            "user.roles_changed",
            "user.changed",
            "user.email_verified_set",
            "user.changed"
        ]
    );
    assert_eq!(log["data"][2]["after"], r#"{"members":["email","phone"]}"#);
    assert_eq!(
        log["data"][4]["after"],
        r#"{"members":["last_name","user_name"]}"#
    );
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_register_others_and_stay_who_they_are() {
    let platform = start().await;
    let program = Program::new(&platform);
    let (_, admin) = staff(&platform, &program, Role::Admin).await;
    let login = |email: &str| json!({ "email": email, "password": PASSWORD });
    for (path, email) in [
        ("/auth/users", "react@example.com"),
        (USERS, "admin-page@example.com"),
        ("/auth/register", "playground@example.com"),
    ] {
        let body = json!({
            "name": "New", "last_name": "User", "email": email, "user_name": "", "phone": "+1 2",
            "user_type": "support", "password": PASSWORD, "lang": "en",
        });
        let made = admin.post(path, body).await;
        assert_eq!(made.header("set-cookie"), None, "{made}");
        let made = made.must_be(200);
        assert_profile(&made);
        assert!(made.get("session_id").is_none(), "{made}");
        assert_eq!(
            (&made["data"]["user_type"], &made["data"]["lang"]),
            (&json!("support"), &json!("en"))
        );
        let theirs = program.post("/auth/login", login(email)).await.must_be(200);
        assert_eq!(theirs["user"]["user_type"], "support");
        platform.inbox.wait_for(email, "email_verification", 1).await;
    }
    // Without a password they come by mail.
    let body = json!({ "name": "Bob", "email": "bob@example.com" });
    let bob = admin.post("/auth/users", body.clone()).await.must_be(200);
    assert_eq!(bob["data"]["user_type"], "user");
    let refused = program.post("/auth/login", login("bob@example.com")).await;
    must_fail(&refused, 401, "Invalid credentials");
    must_fail(
        &admin.post("/auth/users", body).await,
        409,
        "Email already registered",
    );

    // Nobody is made what the one who makes them may not make, and then is not there at all.
    let body = |user_type: &str| json!({ "name": "Eve", "email": "eve@example.com", "password": PASSWORD, "user_type": user_type });
    let superadmin = "Only a superadmin makes, changes or removes administrators.";
    must_fail(
        &admin.post("/auth/users", body("superadmin")).await,
        403,
        superadmin,
    );
    let eve = program
        .post("/auth/register", body("superadmin"))
        .await
        .must_be(200);
    assert_eq!(eve["user"]["user_type"], "user");
    let eve = program.in_session(text(&eve["session_id"]));
    must_fail(&eve.post("/auth/users", body("user")).await, 403, ROLE_REQUIRED);
    // A session that is no administrator's is nothing to a registration.
    let body = json!({ "name": "Mallory", "email": "mallory@example.com", "password": PASSWORD, "user_type": "admin" });
    let mallory = eve.post("/auth/register", body).await.must_be(200);
    assert_eq!(mallory["user"]["user_type"], "user");
    assert!(text(&mallory["session_id"]).starts_with("ses_"), "{mallory}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_logged_out_banned_erased_and_given_passwords() {
    let platform = start().await;
    let program = Program::new(&platform);
    let (_, admin) = staff(&platform, &program, Role::Admin).await;
    let login = |password: &str| json!({ "email": "ada@example.com", "password": password });
    let mut ada = register(&program, "ada").await;
    let path = path_of(&ada["user"]["id"]);
    let other = path.replace("/admin", "");
    for (method, path) in [
        (Method::POST, format!("{path}/revoke-sessions")),
        (Method::DELETE, format!("{other}/sessions")),
    ] {
        let ended = admin.send(method, &path, None).await.must_be(200);
        assert_eq!(ended["revoked"], 1);
        let session = program.in_session(text(&ada["session_id"]));
        must_fail(&session.get("/auth/me").await, 401, "Invalid session");
        ada = program.post("/auth/login", login(PASSWORD)).await.must_be(200);
    }

    let change = |password: &str| json!({ "user_id": ada["user"]["id"], "new_password": password });
    let set = "/auth/password-change/admin";
    let weak = admin.post(set, change("short")).await;
    assert_eq!((weak.status, text(&weak.body["code"])), (400, "WEAK_PASSWORD"));
    for (body, status, error) in [
        (json!({ "new_password": PASSWORD }), 400, "user_id is required"),
        (
            json!({ "user_id": ada["user"]["id"] }),
            400,
            "new_password is required",
        ),
        (
            json!({ "user_id": "usr_1", "new_password": PASSWORD }),
            404,
            "There is no such user.",
        ),
    ] {
        must_fail(&admin.post(set, body).await, status, error);
    }
    let session = program.in_session(text(&ada["session_id"]));
    must_fail(
        &session.post(set, change(ANOTHER_PASSWORD)).await,
        403,
        ROLE_REQUIRED,
    );
    let done = admin.post(set, change(ANOTHER_PASSWORD)).await.must_be(200);
    assert_eq!(done["message"], "Password updated successfully");
    must_fail(&session.get("/auth/me").await, 401, "Invalid session");
    platform
        .inbox
        .wait_for("ada@example.com", "password_changed", 1)
        .await;
    must_fail(
        &program.post("/auth/login", login(PASSWORD)).await,
        401,
        "Invalid credentials",
    );
    let login = login(ANOTHER_PASSWORD);
    let again = program.post("/auth/login", login.clone()).await.must_be(200);

    must_fail(
        &delete(&admin, &path).await,
        409,
        "Ban the user first, so that nothing is erased that somebody is using.",
    );
    let banned = admin
        .post(&format!("{other}/ban"), json!({ "reason": "Spamming the forum" }))
        .await
        .must_be(200);
    assert_eq!(banned["user"]["is_banned"], true);
    let session = program.in_session(text(&again["session_id"]));
    must_fail(&session.get("/auth/me").await, 401, "Invalid session");
    must_fail(
        &program.post("/auth/login", login.clone()).await,
        401,
        "Invalid credentials",
    );
    let unbanned = admin.post(&format!("{path}/unban"), json!({})).await.must_be(200);
    assert_eq!(unbanned["user"]["is_banned"], false);
    program.post("/auth/login", login).await.must_be(200);
    admin.post(&format!("{path}/ban"), json!({})).await.must_be(200);
    let deleted = delete(&admin, &path).await.must_be(200);
    assert_eq!(deleted["success"], true);
    must_fail(&admin.get(&other).await, 404, "There is no such user.");
    register(&program, "ada").await;
    platform.stop().await.unwrap();
}

/// Each operation in both words, by everybody, on everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_may_more_here_than_by_the_api_of_our_own() {
    let platform = start().await;
    let program = Program::new(&platform);
    let actors = [
        Role::Customer,
        Role::Partner,
        Role::Support,
        Role::Compliance,
        Role::Admin,
        Role::Superadmin,
    ];
    let mut subjects = Vec::new();
    for (name, role) in [
        ("ada", Role::Customer),
        ("other-admin", Role::Admin),
        ("other-root", Role::Superadmin),
    ] {
        subjects.push(platform.register_with_role(name, role).await.user_id);
    }
    let named = json!({ "name": "Renamed" });
    let password = json!({ "new_password": ANOTHER_PASSWORD });
    let reason = json!({ "reason": "other" });
    let compliance = json!({ "roles": ["customer", "compliance"] });
    for role in actors {
        let actor = platform.register_with_role(role.name(), role).await;
        let ours: &Client = &actor;
        let theirs = program.in_session(&actor.session_id);
        for subject in subjects.iter().chain([&actor.user_id]) {
            let mut with_id = password.clone();
            with_id["user_id"] = json!(subject);
            for (method, suffix, body, their_method, their_path, their_body) in [
                (
                    Method::GET,
                    "",
                    None,
                    Method::GET,
                    format!("{USERS}/{subject}"),
                    None,
                ),
                (
                    Method::PATCH,
                    "",
                    Some(&named),
                    Method::PUT,
                    format!("{USERS}/{subject}"),
                    Some(&named),
                ),
                (
                    Method::PUT,
                    "/password",
                    Some(&password),
                    Method::POST,
                    "/auth/password-change/admin".to_owned(),
                    Some(&with_id),
                ),
                (
                    Method::POST,
                    "/ban",
                    Some(&reason),
                    Method::POST,
                    format!("{USERS}/{subject}/ban"),
                    Some(&reason),
                ),
                (
                    Method::POST,
                    "/unban",
                    None,
                    Method::POST,
                    format!("{USERS}/{subject}/unban"),
                    None,
                ),
                (
                    Method::DELETE,
                    "/sessions",
                    None,
                    Method::DELETE,
                    format!("{USERS}/{subject}/sessions"),
                    None,
                ),
                (
                    Method::DELETE,
                    "",
                    None,
                    Method::DELETE,
                    format!("{USERS}/{subject}"),
                    None,
                ),
            ] {
                let path = format!("/api/v1/auth/users/{subject}{suffix}");
                let mut request = ours.request(method.clone(), &path);
                if let Some(body) = body {
                    request = request.json(body);
                }
                let expected = ours.send(request).await;
                let answer = theirs.send(their_method, &their_path, their_body.cloned()).await;
                let succeeded = (200..300).contains(&expected.status);
                assert_eq!(
                    (succeeded, if succeeded { 200 } else { expected.status }),
                    (answer.status == 200, answer.status),
                    "{role:?}:\n{expected}\n{answer}"
                );
                if !succeeded {
                    let code = expected.code().to_uppercase();
                    assert_eq!(text(&answer.body["code"]), code, "{role:?}: {answer}");
                }
            }
            let path = format!("/api/v1/auth/users/{subject}/roles");
            let expected = ours.put(&path, compliance.clone()).await;
            if expected.status != 200 {
                let change = json!({ "user_type": "partner" });
                let answer = put(&theirs, &format!("{USERS}/{subject}"), change).await;
                assert_eq!(answer.status, expected.status, "{role:?}: {answer}");
            }
        }
    }
    platform.stop().await.unwrap();
}
