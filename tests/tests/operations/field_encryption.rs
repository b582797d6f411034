//! Personal data at rest: encrypted everywhere, bound to their place, and brought over to new keys, and from what the previous
//! version wrote, while everything goes on.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::client::{Answer, PASSWORD, eventually, new_key};
use platform::platform::{Builder, Replica};
use platform::secrets::new_field_key;
use platform::{Client, Customer, Platform, Service};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::installation::{PROGRAM, outcome};

const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";
const ME: &str = "/api/v1/auth/me";

/// The two lists of keys, in files that a restarted service reads again.
struct Keys {
    directory: PathBuf,
}

const LISTS: [&str; 2] = ["FIELD_KEYS", "BLIND_INDEX_KEYS"];

impl Keys {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("flowlet-field-keys-{}", new_key()));
        fs::create_dir(&directory).unwrap();
        let keys = Self { directory };
        for list in LISTS {
            keys.write(list, &new_field_key(1).unwrap());
        }
        keys
    }

    fn read(&self, list: &str) -> String {
        fs::read_to_string(self.directory.join(list)).unwrap()
    }

    fn write(&self, list: &str, keys: &str) {
        fs::write(self.directory.join(list), keys).unwrap();
    }

    /// A new key first, the old ones behind it.
    fn publish(&self, number: u16) {
        for list in LISTS {
            let keys = format!("{},{}", new_field_key(number).unwrap(), self.read(list));
            self.write(list, &keys);
        }
    }

    /// Only the first ones stay.
    fn retire(&self) {
        for list in LISTS {
            let keys = self.read(list);
            self.write(list, keys.split(',').next().unwrap());
        }
    }

    fn builder(&self) -> Builder {
        let file = |list: &str| self.directory.join(list).display().to_string();
        LISTS.into_iter().fold(Platform::builder(), |builder, list| {
            builder.set(Service::Auth, &format!("{list}_FILE"), file(list))
        })
    }

    /// A command of auth-service, as an operator gives it beside the running service.
    fn command(&self, platform: &Platform, command: &str) -> Command {
        let url = platform.server.runtime_url(Service::Auth, &platform.database);
        let mut process = Command::new(PROGRAM);
        process
            .args([command, "auth-service"])
            .env_clear()
            .env("FLOWLET_ENV", "development")
            .env("DATABASE_URL", url.unwrap());
        for list in LISTS {
            process.env(list, self.read(list));
        }
        process
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Every row of every service in which one of the texts is, as text or, in a `bytea`, as its bytes.
async fn rows_with(platform: &Platform, texts: &[&str]) -> Vec<String> {
    let sql = platform.sql().await;
    let schemas: Vec<_> = Service::ALL.into_iter().filter_map(Service::schema).collect();
    let query = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = ANY ($1)";
    let mut found = Vec::new();
    for table in sql.query(query, &[&schemas]).await.unwrap() {
        let table: String = table.get(0);
        let rows = sql.query(&format!("SELECT t::text FROM {table} t"), &[]).await;
        for row in rows.unwrap() {
            let row: String = row.get(0);
            let bytes = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
            let has = |text: &&&str| row.contains(**text) || row.contains(&bytes(text));
            found.extend(
                texts
                    .iter()
                    .find(has)
                    .map(|text| format!("{text} in {table}: {row}")),
            );
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn personal_data_are_nowhere_in_the_database_in_plaintext() {
    let platform = Platform::start().await;
    let auth = platform.client_of(Service::Auth);
    let (email, name) = ("zenobia.quill@example.com", "Zenobia Quill");
    let registration = json!({ "email": email, "password": PASSWORD, "name": name });
    auth.post(REGISTER, registration).await.must_be(201);
    for (email, status) in [(email, 200), ("yolanda.never@example.com", 401)] {
        let request = auth
            .request(Method::POST, LOGIN)
            .header("x-forwarded-for", "203.0.113.77")
            .header("user-agent", "Netscape/4.79 (Amiga)")
            .json(&json!({ "email": email, "password": PASSWORD }));
        auth.send(request).await.must_be(status);
    }
    let hash = |text: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (hash_of_user, hash_of_stranger) = (hash(email), hash("yolanda.never@example.com"));
    let texts = [
        "zenobia",
        "Zenobia",
        "Quill",
        "yolanda",
        "203.0.113.77",
        "Netscape",
        // A hash without a key is found by trying e-mails.
        &hash_of_user,
        &hash_of_stranger,
    ];
    assert_eq!(rows_with(&platform, &texts).await, Vec::<String>::new());

    // The control: it would be found.
    let sql = platform.sql().await;
    for plaintext in [
        "UPDATE auth.sessions SET user_agent = 'Netscape'",
        "UPDATE auth.users SET name_encrypted = convert_to('Zenobia Quill, and some more letters', 'UTF8')",
    ] {
        assert_eq!(sql.execute(plaintext, &[]).await.unwrap(), 1);
    }
    let found = rows_with(&platform, &texts).await;
    assert_eq!(found.len(), 2, "{found:?}");
    drop(sql);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_was_copied_to_another_row_or_column_is_refused() {
    let platform = Platform::start().await;
    let (ada, eve) = (platform.register("ada").await, platform.register("eve").await);
    let sql = platform.sql().await;
    let change = async |change: &str| {
        let changed = sql.execute(&format!("UPDATE auth.users u {change}"), &[]).await;
        assert_eq!(changed.unwrap(), 2, "{change}");
    };
    sql.batch_execute("CREATE TABLE auth.kept AS SELECT * FROM auth.users")
        .await
        .unwrap();
    for moved in [
        "SET name_encrypted = o.name_encrypted FROM auth.kept o WHERE o.id <> u.id",
        "SET email_encrypted = o.email_encrypted FROM auth.kept o WHERE o.id <> u.id",
        "SET name_encrypted = email_encrypted",
        "SET name_encrypted = set_byte(name_encrypted, 20, (get_byte(name_encrypted, 20) + 1) % 256)",
        "SET name_encrypted = set_byte(name_encrypted, 2, 7)",
    ] {
        change(moved).await;
        for customer in [&ada, &eve] {
            customer.get(ME).await.must_be_problem(500, "internal");
        }
        change(
            "SET email_encrypted = o.email_encrypted, name_encrypted = o.name_encrypted
             FROM auth.kept o WHERE o.id = u.id",
        )
        .await;
        assert_eq!(ada.get(ME).await.must_be(200)["user"]["email"], "ada@example.com");
    }
    drop(sql);
    platform.stop().await.unwrap();
}

/// What the previous version does at a registration.
const INSERT_OF_PREVIOUS_VERSION: &str = "
    INSERT INTO auth.users (id, email, name, roles, password_hash, password_changed_at, created_at, updated_at)
    SELECT gen_random_uuid(), $1, 'Grace', '{customer}', password_hash, now(), now(), now() FROM auth.users LIMIT 1";

/// A platform with users whom the previous version has written, beginning with `grace0@example.com`.
async fn after_the_previous_version(keys: &Keys, users: usize) -> Platform {
    let platform = keys.builder().start().await.unwrap();
    platform.register("grace0").await;
    platform.stop_service(Service::Auth).await.unwrap();
    let sql = platform.sql().await;
    sql.batch_execute(
        "UPDATE auth.users SET email = 'grace0@example.com', name = 'Grace', email_encrypted = NULL, name_encrypted = NULL;
         UPDATE auth.sessions SET ip = '203.0.113.77', user_agent = 'Netscape', ip_encrypted = NULL, user_agent_encrypted = NULL;
         DELETE FROM auth.email_indexes;
         DELETE FROM auth.field_keys;
         INSERT INTO auth.field_keys (purpose, number, status) VALUES ('plaintext', 0, 'active');",
    )
    .await
    .unwrap();
    for number in 1..users {
        let email = format!("grace{number}@example.com");
        sql.execute(INSERT_OF_PREVIOUS_VERSION, &[&email]).await.unwrap();
    }
    drop(sql);
    platform.start_service(Service::Auth).await.unwrap();
    platform
}

async fn register(client: &Client, email: &str) -> Answer {
    let body = json!({ "email": email, "password": PASSWORD, "name": "Grace" });
    client.post(REGISTER, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_version_and_this_one_find_each_others_users_and_none_has_two() {
    let keys = Keys::new();
    let platform = after_the_previous_version(&keys, 2).await;
    let client = platform.client();
    let sql = platform.sql().await;
    let count = async |condition: &str| -> i64 {
        let query = format!("SELECT count(*) FROM auth.users WHERE {condition}");
        sql.query_one(&query, &[]).await.unwrap().get(0)
    };
    // Users of the previous version are found, and their e-mails are taken.
    let grace = Customer::log_in(&client, "grace0@example.com").await;
    assert_eq!(grace.get(ME).await.must_be(200)["user"]["name"], "Grace");
    register(&client, "grace1@example.com")
        .await
        .must_be_problem(409, "email_taken");
    // Users of this version are found by the previous one, and their e-mails are taken for it too.
    register(&client, "hedy@example.com").await.must_be(201);
    let both = "email = 'hedy@example.com' AND name = 'Grace' AND email_encrypted IS NOT NULL";
    assert_eq!(count(both).await, 1);
    let error = sql
        .execute(INSERT_OF_PREVIOUS_VERSION, &[&"hedy@example.com"])
        .await
        .unwrap_err();
    assert_eq!(
        error.code(),
        Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION)
    );

    let said = outcome(&mut keys.command(&platform, "encrypt-fields")).unwrap();
    assert!(said.contains("there is no plaintext any more"), "{said}");
    assert_eq!(
        rows_with(&platform, &["grace", "Grace", "hedy", "Netscape", "203.0.113.77"]).await,
        [""; 0]
    );
    for email in ["grace0@example.com", "grace1@example.com", "hedy@example.com"] {
        let customer = Customer::log_in(&client, email).await;
        let me = customer.get(ME).await.must_be(200);
        assert_eq!(
            (&me["user"]["email"], &me["user"]["name"]),
            (&json!(email), &json!("Grace"))
        );
        register(&client, email).await.must_be_problem(409, "email_taken");
    }
    register(&client, "ida@example.com").await.must_be(201);
    assert_eq!(count("email IS NOT NULL OR name IS NOT NULL").await, 0);
    // Who would bring plaintext back is refused, rather than making a second user with the same e-mail.
    let error = sql
        .execute(INSERT_OF_PREVIOUS_VERSION, &[&"ida@example.com"])
        .await
        .unwrap_err();
    assert!(
        error.as_db_error().unwrap().message().contains("encrypted only"),
        "{error:?}"
    );
    outcome(&mut keys.command(&platform, "encrypt-fields")).unwrap();
    drop(sql);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_never_takes_an_email_that_is_being_encrypted() {
    const USERS: usize = 1_200;
    let keys = Keys::new();
    let platform = after_the_previous_version(&keys, USERS).await;
    let client = platform.client();
    let stop = CancellationToken::new();
    let refused = Arc::new(AtomicUsize::new(0));
    let mut impostors = JoinSet::new();
    for first in 0..8 {
        let (client, stop, refused) = (client.clone(), stop.clone(), Arc::clone(&refused));
        impostors.spawn(async move {
            for number in (first..USERS).step_by(8).cycle() {
                if stop.is_cancelled() {
                    return;
                }
                let email = format!("grace{number}@example.com");
                register(&client, &email)
                    .await
                    .must_be_problem(409, "email_taken");
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // It is killed again and again on its way, and at last let through to its end.
    for patience_ms in [60, 90, 120, 150] {
        let mut command = keys.command(&platform, "encrypt-fields");
        let mut process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(patience_ms)).await;
        process.kill().unwrap();
        process.wait().unwrap();
    }
    eventually("the lock of the killed command is free", async || {
        outcome(&mut keys.command(&platform, "encrypt-fields")).ok()
    })
    .await;
    let goal = refused.load(Ordering::Relaxed) + 50;
    eventually("registrations are refused", async || {
        (refused.load(Ordering::Relaxed) >= goal).then_some(())
    })
    .await;
    stop.cancel();
    impostors.join_all().await;
    let sql = platform.sql().await;
    let query = "SELECT count(*), count(email), count(email_encrypted),
        (SELECT count(DISTINCT user_id) FROM auth.email_indexes) FROM auth.users";
    let row = sql.query_one(query, &[]).await.unwrap();
    let counts: [i64; 4] = [0, 1, 2, 3].map(|column| row.get(column));
    let users = i64::try_from(USERS).unwrap();
    assert_eq!(counts, [users, 0, users, users]);
    Customer::log_in(&client, "grace777@example.com").await;
    drop(sql);
    platform.stop().await.unwrap();
}

/// People who register, log in and look who they are, while something is being done.
struct Crowd {
    rounds: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    emails: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Crowd {
    fn start(platform: &Platform) -> Self {
        let mut crowd = Self {
            rounds: Arc::default(),
            failed: Arc::default(),
            emails: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for number in 0..4 {
            let (rounds, failed, emails, stop, client) = (
                Arc::clone(&crowd.rounds),
                Arc::clone(&crowd.failed),
                Arc::clone(&crowd.emails),
                crowd.stop.clone(),
                platform.client(),
            );
            crowd.tasks.spawn(async move {
                for round in 0.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    let email = format!("member{number}-{round}@example.com");
                    match join_in(&client, &email).await {
                        Ok(()) => emails.lock().unwrap().push(email),
                        Err(failure) => failed.lock().unwrap().push(failure),
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        crowd
    }

    async fn wait_for(&self, rounds: usize) {
        let goal = self.rounds.load(Ordering::Relaxed) + rounds;
        eventually("people register and log in", async || {
            (self.rounds.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// The e-mails of those who have registered; no request of theirs has failed.
    async fn finish(self) -> Vec<String> {
        self.stop.cancel();
        self.tasks.join_all().await;
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
        std::mem::take(&mut *self.emails.lock().unwrap())
    }
}

/// Registers, is refused a second time, logs in, and sees who it is.
async fn join_in(client: &Client, email: &str) -> Result<(), String> {
    let person = json!({ "email": email, "password": PASSWORD, "name": "Grace" });
    // The e-mail is taken when the answer to the first attempt was lost.
    ask(client, Method::POST, REGISTER, &person, &[201, 409]).await?;
    ask(client, Method::POST, REGISTER, &person, &[409]).await?;
    let credentials = json!({ "email": email, "password": PASSWORD });
    let login = ask(client, Method::POST, LOGIN, &credentials, &[200]).await?;
    let token = login["access_token"].as_str().unwrap();
    let me = ask(&client.with_token(token), Method::GET, ME, &Value::Null, &[200]).await?;
    match me["user"]["email"] == email {
        true => Ok(()),
        false => Err(format!("{email} is told to be {me}")),
    }
}

/// Sends a request, and once more when it got no answer or a 502 or 503.
async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    body: &Value,
    statuses: &[u16],
) -> Result<Value, String> {
    let send = || client.try_send(client.request(method.clone(), path).json(body));
    let mut answer = send().await;
    if answer
        .as_ref()
        .map_or(true, |answer| matches!(answer.status, 502 | 503))
    {
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer = send().await;
    }
    match answer {
        Ok(answer) if statuses.contains(&answer.status) => Ok(answer.body),
        Ok(answer) => Err(answer.to_string()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// One replica after the other.
async fn restart(platform: &Platform) {
    for number in 0..2 {
        let service = Service::Auth;
        let replica = Replica { service, number };
        platform.stop_service(replica).await.unwrap();
        platform.start_service(replica).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_keys_are_replaced_under_load_with_two_replicas() {
    let keys = Keys::new();
    let platform = keys
        .builder()
        .processes(PROGRAM)
        .replicas(2)
        // Longer than the balancer takes to notice.
        .set(Service::Auth, "SHUTDOWN_DELAY_S", 1)
        .start()
        .await
        .unwrap();
    let old = LISTS.map(|list| keys.read(list));
    let crowd = Crowd::start(&platform);
    crowd.wait_for(40).await;
    keys.publish(2);
    restart(&platform).await;
    crowd.wait_for(20).await;
    assert_eq!(numbers_in_use(&platform).await, [1]);

    // One at a time; the other one is told. Whoever is killed is run again.
    let commands = [(); 2].map(|()| keys.command(&platform, "rotate-field-keys"));
    let mut running = commands.map(|mut command| command.stdout(Stdio::null()).spawn().unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    for process in &mut running {
        drop(process.kill());
        process.wait().unwrap();
    }
    let said = eventually("the lock of the killed command is free", async || {
        outcome(&mut keys.command(&platform, "rotate-field-keys")).ok()
    })
    .await;
    for list in LISTS {
        let done = format!("{list}: everything uses the key with the number 2; nothing needs 1 any more");
        assert!(said.contains(&done), "{said}");
    }
    crowd.wait_for(20).await;
    assert_eq!(numbers_in_use(&platform).await, [2]);
    keys.retire();
    restart(&platform).await;
    crowd.wait_for(20).await;
    assert_eq!(numbers_in_use(&platform).await, [2]);
    let new = LISTS.map(|list| keys.read(list));
    for ((list, new), old) in LISTS.iter().zip(&new).zip(&old) {
        keys.write(list, &format!("{old},{new}"));
        let said = outcome(&mut keys.command(&platform, "rotate-field-keys")).unwrap_err();
        assert!(
            said.contains("the key with the number 1 has been retired"),
            "{said}"
        );
        keys.write(list, new);
    }
    let emails = crowd.finish().await;
    println!("{} people registered meanwhile", emails.len());
    let client = platform.client();
    for email in emails {
        Customer::log_in(&client, &email).await;
    }
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_and_who_changes_the_keys_wait_for_each_other() {
    let keys = Keys::new();
    let platform = keys.builder().start().await.unwrap();
    let sql = platform.sql().await;
    let is_waiting = async || {
        let query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        (!sql.query(query, &[]).await.unwrap().is_empty()).then_some(())
    };
    let holder = platform.sql().await;
    let hold = async |lock: &str| {
        let statement = format!("BEGIN; SELECT {lock}(hashtext('auth.field_keys'))");
        holder.batch_execute(&statement).await.unwrap();
    };

    hold("pg_advisory_xact_lock").await;
    let client = platform.client();
    let registered = tokio::spawn(async move { register(&client, "grace@example.com").await });
    eventually("a registration waits for a change of the keys", is_waiting).await;
    holder.batch_execute("COMMIT").await.unwrap();
    registered.await.unwrap().must_be(201);

    keys.publish(2);
    hold("pg_advisory_xact_lock_shared").await;
    let mut command = keys.command(&platform, "rotate-field-keys");
    let rotated = tokio::task::spawn_blocking(move || outcome(&mut command));
    eventually("a change of the keys waits for who is writing", is_waiting).await;
    assert_eq!(numbers_in_use(&platform).await, [1]);
    holder.batch_execute("COMMIT").await.unwrap();
    rotated.await.unwrap().unwrap();
    assert_eq!(numbers_in_use(&platform).await, [2]);
    drop((sql, holder));
    platform.stop().await.unwrap();
}

/// The numbers of the keys that anything in the database was made with.
async fn numbers_in_use(platform: &Platform) -> Vec<i32> {
    let columns = [
        ("users", "email_encrypted"),
        ("users", "name_encrypted"),
        ("sessions", "ip_encrypted"),
        ("sessions", "user_agent_encrypted"),
        ("passkeys", "name_encrypted"),
    ];
    let of_column = |(table, column): (&str, &str)| {
        format!(
            "SELECT get_byte({column}, 1) * 256 + get_byte({column}, 2) FROM auth.{table} WHERE {column} IS NOT NULL"
        )
    };
    let mut queries: Vec<String> = columns.into_iter().map(of_column).collect();
    queries.push("SELECT key_number FROM auth.email_indexes".to_owned());
    let query = format!(
        "SELECT DISTINCT n FROM ({}) AS t (n) ORDER BY n",
        queries.join(" UNION ALL ")
    );
    let rows = platform.sql().await.query(&query, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_other_keys_than_the_database_does_not_start() {
    let keys = Keys::new();
    let platform = keys.builder().start().await.unwrap();
    platform.register("ada").await;
    let right = LISTS.map(|list| keys.read(list));
    let refusal = || {
        let mut command = keys.command(&platform, "serve");
        command
            .env("SIGNING_KEY", &platform.server.secrets.signing_key)
            .env("SERVICE_SECRETS", &platform.server.secrets.service_secret)
            .env("FRONTEND_URL", "http://127.0.0.1/auth")
            .env("ML_URL", "http://127.0.0.1:1")
            .env("MESSAGE_DIRECTORY", platform.inbox.directory())
            .env("BIND_ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // Closing it would end the process.
        let _input = process.stdin.take();
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    for (list, right) in LISTS.iter().zip(&right) {
        keys.write(list, &new_field_key(1).unwrap());
        let said = refusal();
        assert!(
            said.contains(&format!("{list} has another key with the number 1")),
            "{said}"
        );
        keys.write(list, &new_field_key(2).unwrap());
        let said = refusal();
        assert!(
            said.contains(&format!("{list} has no key with the number 1")),
            "{said}"
        );
        keys.write(list, right);
    }

    // Nor one that has the old keys only; and one that runs with them says that it is not ready.
    keys.publish(2);
    outcome(&mut keys.command(&platform, "rotate-field-keys")).unwrap();
    eventually("the replica without the new keys is not ready", async || {
        let url = format!("{}/readyz", platform.url(Service::Auth));
        let answer = platform.http.get(url).send().await.unwrap();
        (answer.status() == 503).then_some(())
    })
    .await;
    for (list, right) in LISTS.iter().zip(&right) {
        keys.write(list, right);
    }
    let said = refusal();
    assert!(said.contains("FIELD_KEYS has no key with the number 2"), "{said}");
    platform.stop().await.unwrap();
}
