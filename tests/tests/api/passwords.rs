//! Passwords that others know, and passwords that come from elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use platform::client::{PASSWORD, eventually, new_key};
use platform::{Platform, Service};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dev");
const LOGIN: &str = "/api/v1/auth/login";
/// Of bcrypt's own test vectors: the password and its hash.
const FOREIGN_PASSWORD: &str = "U*U";
const FOREIGN_HASH: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("flowlet-passwords-{}", new_key()));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, content).unwrap();
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn run(command: &str, variables: &[(&str, &Path)], environment: &[(&str, &str)]) -> Result<String, String> {
    let mut program = Command::new(PROGRAM);
    program.args([command, "auth-service"]).env_clear();
    program
        .envs(variables.iter().copied())
        .envs(environment.iter().copied());
    let output = program.env("FLOWLET_ENV", "development").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn import(platform: &Platform, file: &Path) -> Result<String, String> {
    let url = platform
        .server
        .runtime_url(Service::Auth, &platform.database)
        .unwrap();
    let secrets = &platform.server.secrets;
    let environment = [
        ("DATABASE_URL", url.as_str()),
        ("FIELD_KEYS", &secrets.field_keys),
        ("BLIND_INDEX_KEYS", &secrets.blind_index_keys),
    ];
    run("import-users", &[("IMPORT_FILE", file)], &environment)
}

fn line(name: &str) -> Value {
    let email = format!("{name}@example.com");
    json!({ "email": email, "name": name, "password_hash": FOREIGN_HASH, "email_verified": true })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_password_is_not_set_and_its_user_is_told_once() {
    let scratch = Scratch::new();
    let source = scratch.file("stolen.txt", &format!("{PASSWORD}\n{FOREIGN_PASSWORD}\n"));
    let list = scratch.0.join("stolen.list");
    let files = [
        ("BREACHED_PASSWORDS_SOURCE", source.as_path()),
        ("BREACHED_PASSWORDS", &list),
    ];
    assert!(
        run("build-breached-list", &files, &[])
            .unwrap()
            .starts_with("2 passwords")
    );
    let platform = Platform::builder()
        .set(Service::Auth, "BREACHED_PASSWORDS", list.display())
        .start()
        .await
        .unwrap();
    let client = platform.client();
    let registration = json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada" });
    let refused = client.post("/api/v1/auth/register", registration).await;
    refused.must_be_problem(422, "weak_password");
    assert!(refused.text.contains("stolen"), "{refused}");

    let users = scratch.file("users.ndjson", &format!("{}\n", line("bob")));
    import(&platform, &users).unwrap();
    let login = json!({ "email": "bob@example.com", "password": FOREIGN_PASSWORD });
    for _ in 0..3 {
        client.post(LOGIN, login.clone()).await.must_be(200);
    }
    platform
        .inbox
        .wait_for("bob@example.com", "breached_password", 1)
        .await;
    let sql = platform.sql().await;
    let queued = "SELECT count(*) FROM auth.messages WHERE kind = 'breached_password'";
    let queued: i64 = sql.query_one(queued, &[]).await.unwrap().get(0);
    assert_eq!(queued, 1);
    drop(sql);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_another_system_log_in_with_the_passwords_they_have() {
    let scratch = Scratch::new();
    let platform = Platform::start().await;
    let client = platform.client();
    platform.register("ada").await;
    let damaged = format!("{}\n\n{{\"email\":\"eve\"}}\n{}\n", line("bob"), line("carol"));
    let said = import(&platform, &scratch.file("damaged.ndjson", &damaged)).unwrap_err();
    assert!(said.contains("line 3") && !said.contains("eve"), "{said}");
    let login = |name: &str, password: &str| {
        let email = format!("{name}@example.com");
        client.post(LOGIN, json!({ "email": email, "password": password }))
    };
    // Nothing was imported.
    let refused = login("bob", FOREIGN_PASSWORD).await;
    refused.must_be_problem(401, "invalid_credentials");

    let good = format!("{}\n{}\n{}\n", line("ada"), line("bob"), line("carol"));
    let good = scratch.file("good.ndjson", &good);
    assert!(import(&platform, &good).unwrap().contains("2 of 3 users"));
    assert!(import(&platform, &good).unwrap().contains("0 of 3 users"));
    login("ada", PASSWORD).await.must_be(200);
    platform.clock.advance(chrono::Duration::minutes(1));
    login("bob", "U*V")
        .await
        .must_be_problem(401, "invalid_credentials");
    let sql = platform.sql().await;
    let hashes = async |pattern: &str| {
        let count = "SELECT count(*) FROM auth.users WHERE password_hash LIKE $1";
        sql.query_one(count, &[&pattern]).await.unwrap().get::<_, i64>(0)
    };
    assert_eq!(hashes("$2b$%").await, 2);
    login("bob", FOREIGN_PASSWORD).await.must_be(200);
    eventually("the password is hashed anew", async || {
        (hashes("$2b$%").await == 1).then_some(())
    })
    .await;
    login("bob", FOREIGN_PASSWORD).await.must_be(200);
    drop(sql);
    platform.stop().await.unwrap();
}
