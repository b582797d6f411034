//! Secrets: what the scripts make is what production starts with, and production starts with nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use platform::Service;
use platform::client::new_key;
use platform::tools::{self, Tool};

use super::installation::{DATABASE, Installation, PROGRAM, outcome, script};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_installation_runs_in_production_with_what_the_scripts_make() {
    let installation = Installation::new().await;
    let mut builder = installation.platform().production_settings();
    for service in Service::ALL {
        builder = builder.set(service, "FLOWLET_ENV", "production");
    }
    let sandbox = ["SANDBOX_RAIL", "SANDBOX_FAULTS", "WEBHOOK_ALLOW_PRIVATE_TARGETS"];
    let builder = sandbox.into_iter().fold(builder, |builder, name| {
        builder.set(Service::Transactions, name, "false")
    });
    let platform = builder.start().await.unwrap();
    let ada = platform.register("ada").await;
    let account = ada.open_account("USD").await;
    let deposit = ada.deposit(&account, 1_000, "USD").await;
    deposit.must_be_problem(422, "rail_unavailable");
    platform.stop().await.unwrap();
}

/// A variable, its wrong value, and what is said about it.
type Wrong = (&'static str, &'static str, &'static str);

const WRONG: [(Service, &[Wrong]); 5] = [
    (
        Service::Auth,
        &[
            (
                "DATABASE_URL",
                "postgres://auth_runtime:hunter2@db.example.com/flowlet",
                "shorter than 32",
            ),
            (
                "SIGNING_KEY",
                "change-me-change-me-change-me-change-me",
                "not an Ed25519 private key",
            ),
            (
                "NEXT_SIGNING_KEY",
                "change-me-change-me-change-me-change-me",
                "the same secret as SIGNING_KEY",
            ),
            ("PASSWORD_HASH_MEMORY_KIB", "1024", "less than 19456"),
            ("PASSWORD_HASH_ITERATIONS", "1", "less than 2"),
            ("FRONTEND_URL", "http://app.example.com", "is http"),
            (
                "SMTP_URL",
                "smtp://mailer:hunter2@mail.example.com",
                "sends mail in the clear",
            ),
            ("MAIL_FROM", "", "is not set"),
            (
                "FIELD_KEYS",
                "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "hardly any different characters",
            ),
        ],
    ),
    (
        Service::Ml,
        &[
            (
                "DATABASE_URL",
                "postgres://ml_runtime@localhost/flowlet",
                "has no password",
            ),
            (
                "SERVICE_SECRETS",
                "0123456789abcdef0123456789abcdef",
                "is a pattern",
            ),
            (
                "ORIGIN_KEYS",
                "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "hardly any different characters",
            ),
            ("AUTH_URL", "http://auth.example.com", "outside of the cluster"),
        ],
    ),
    (
        Service::Transactions,
        &[
            (
                "DATABASE_URL",
                "postgres://transactions_runtime:4e0c97b1d83f6a25c1e7904bd86fa352@10.0.0.7/flowlet",
                "without TLS",
            ),
            (
                "SERVICE_SECRETS",
                "4e0c97b1d83f6a25c1e7904bd86fa352",
                "the same secret as DATABASE_URL",
            ),
            (
                "CHECKPOINT_SIGNING_KEY",
                "6b1f0c93e7d2485aa0f4b6d7e9c35182",
                "is not an Ed25519 private key",
            ),
            ("AUTH_URL", "http://auth.example.com", "outside of the cluster"),
            ("ML_URL", "ml-service:8084", "is not a base URL"),
            ("SANDBOX_RAIL", "true", "make money out of nothing"),
            ("SANDBOX_FAULTS", "true", "go wrong on purpose"),
            (
                "WEBHOOK_ALLOW_PRIVATE_TARGETS",
                "true",
                "into the private network",
            ),
            (
                "WEBHOOK_KEYS",
                "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "hardly any different characters",
            ),
        ],
    ),
    (
        Service::Accounts,
        &[
            ("DATABASE_URL", "hunter2=hunter2", "is not a URL"),
            (
                "SERVICE_SECRETS",
                "service-secret-service-secret-service",
                "has a word in it",
            ),
            ("FLOWLET_ENV", "prod", "is neither"),
            ("TRANSACTIONS_URL", "", "is not set"),
        ],
    ),
    (
        Service::Gateway,
        &[
            (
                "AUTH_URL",
                "http://auth.example.com:8081",
                "outside of the cluster",
            ),
            ("ACCOUNTS_URL", "http://10.1.2.3", "outside of the cluster"),
            ("TRANSACTIONS_URL", "", "is not set"),
            ("ML_URL", "ml-service:8084", "is not a base URL"),
        ],
    ),
];

#[test]
fn production_names_everything_that_is_wrong_and_shows_none_of_it() {
    for (service, wrong) in WRONG {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", service.name()])
            .env_clear()
            .env("BIND_ADDRESS", "127.0.0.1:0")
            .envs(wrong.iter().map(|(name, value, _)| (name, value)));
        // Its input stays open until it has ended by itself: closing it would end it too.
        command.stdin(std::process::Stdio::piped());
        let mut process = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let _input = process.stdin.take();
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for (name, value, why) in wrong {
            let told = said
                .lines()
                .any(|line| line.trim().starts_with(name) && line.contains(why));
            assert!(told, "{name} {why}: {said}");
            assert!(value.len() < 6 || !said.contains(value), "{name}: {said}");
        }
        for part in ["hunter2", "4e0c97b1", "change-me"] {
            assert!(!said.contains(part), "{said}");
        }
    }
}

#[test]
fn creating_secrets_never_touches_what_is_there_and_leaves_nothing_half_made() {
    let directory = std::env::temp_dir().join(format!("flowlet-secrets-{}", new_key()));
    let path = directory.to_str().unwrap();
    let refused = |database: &str| script("create.sh", &[path, database]).unwrap_err();
    for wrong in [
        "db.example.com",
        "user:hunter2@db.example.com/flowlet",
        "/flowlet",
        "",
    ] {
        assert!(refused(wrong).contains("DATABASE is"), "{wrong}");
        assert!(!directory.exists());
    }
    let database = "db.example.com:5432/flowlet?sslmode=require";
    script("create.sh", &[path, database]).unwrap();
    let url = fs::read_to_string(directory.join("ml-service/DATABASE_URL")).unwrap();
    assert!(url.starts_with("postgres://ml_runtime:") && url.ends_with(&format!("@{database}\n")));
    assert!(refused(database).contains("exists"));
    assert_eq!(
        fs::read_to_string(directory.join("ml-service/DATABASE_URL")).unwrap(),
        url
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("ml-service/DATABASE_URL")), 0o600);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_step_of_a_rotation_is_refused_out_of_order() {
    let directory = std::env::temp_dir().join(format!("flowlet-secrets-{}", new_key()));
    let path = directory.to_str().unwrap();
    script("create.sh", &[path, "localhost/flowlet"]).unwrap();
    let rotate = |what: &str, step: &str| script("rotate.sh", &[path, what, step]);
    for what in ["signing-key", "service-secrets", "webhook-keys"] {
        for step in ["sign", "retire", "hasten"] {
            rotate(what, step).unwrap_err();
        }
        rotate(what, "publish").unwrap();
        rotate(what, "retire").unwrap_err();
        rotate(what, "sign").unwrap();
        rotate(what, "publish").unwrap_err();
        rotate(what, "retire").unwrap();
        rotate(what, "retire").unwrap_err();
    }
    rotate("checkpoint-key", "publish").unwrap_err();
    rotate("checkpoint-key", "replace").unwrap();
    rotate("field-keys", "retire").unwrap_err();
    rotate("field-keys", "publish").unwrap();
    let keys = || fs::read_to_string(directory.join("auth-service/FIELD_KEYS")).unwrap();
    let both = keys();
    assert!(both.starts_with("2:") && both.contains(",1:"), "{both}");
    // A step that was broken off is repeated without a third key.
    rotate("field-keys", "publish").unwrap();
    assert_eq!(keys(), both);
    rotate("field-keys", "retire").unwrap();
    assert_eq!(Some(keys().trim_end()), both.split(',').next());
    for nobody in ["gateway", "nobody"] {
        rotate("database-login", nobody).unwrap_err();
        rotate("migration-password", nobody).unwrap_err();
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn the_manifest_has_every_secret_and_is_one() {
    let directory = std::env::temp_dir().join(format!("flowlet-secrets-{}", new_key()));
    script("create.sh", &[directory.to_str().unwrap(), "localhost/flowlet"]).unwrap();
    let manifest = script("manifest.sh", &[directory.to_str().unwrap()]).unwrap();
    let file = directory.join("manifest.yaml");
    fs::write(&file, &manifest).unwrap();
    let validate = tools::ensure(Tool::KubernetesValidate).await.unwrap();
    outcome(Command::new(validate).arg("--strict").arg(&file)).unwrap();
    for secret in fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if !secret.is_dir() {
            continue;
        }
        let name = secret.file_name().unwrap().to_str().unwrap();
        assert!(manifest.contains(&format!("  name: {name}\n")), "{name}");
        for variable in fs::read_dir(&secret).unwrap().map(|entry| entry.unwrap().path()) {
            let name = variable.file_name().unwrap().to_str().unwrap();
            let encoded = base64::Engine::encode(
                &base64::engine::general_purpose::STANDARD,
                fs::read(&variable).unwrap(),
            );
            assert!(manifest.contains(&format!("  {name}: \"{encoded}\"\n")), "{name}");
        }
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// The Jobs that end old logins are those that make new ones, with another command.
#[tokio::test]
async fn what_provisions_also_retires_as_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kubectl = tools::ensure(Tool::Kubectl).await.unwrap();
    let page = fs::read_to_string(root.join("infrastructure/secrets.md")).unwrap();
    let mut lines = page.lines().filter(|line| line.contains("retire-logins/'"));
    let (rendered, rest) = lines.next().unwrap().split_once(" | ").unwrap();
    let (edited, _) = rest.split_once(" | ").unwrap();
    let pipe =
        format!("set -o pipefail; {rendered} | {edited}").replace("kubectl", kubectl.to_str().unwrap());
    let manifest = outcome(Command::new("bash").args(["-c", &pipe]).current_dir(root)).unwrap();
    let lines = |text: &str| manifest.lines().filter(|line| line.trim() == text).count();
    assert_eq!(
        (lines("kind: Job"), lines("- retire-logins"), lines("- provision")),
        (4, 4, 0),
        "{manifest}"
    );
}

#[tokio::test]
async fn the_scripts_pass_shellcheck() {
    let shellcheck = tools::ensure(Tool::Shellcheck).await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infrastructure/secrets");
    let scripts = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    outcome(Command::new(shellcheck).args(scripts)).unwrap();
}

/// What `sslmode=require` promises: the certificate is verified, by an authority of the machine or of `SSL_CERT_DIR`, and is
/// the host's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_believed_only_with_a_certificate_of_its_own() {
    let installation = Installation::new().await;
    let directory = installation.secrets.join("certificates");
    fs::create_dir(&directory).unwrap();
    make_certificates(&directory);
    serve_tls(&installation, &directory).await;
    let port = installation.server.cluster.port();
    let password = |url: String| url.split(['/', '@']).nth(2).unwrap().to_owned();
    let login = password(installation.secret("ml-service-migration", "MIGRATION_DATABASE_URL"));
    let migrate = |host: &str, authority: Option<&str>| {
        let url = format!("postgres://{login}@{host}:{port}/{DATABASE}?sslmode=require");
        let mut command = Command::new(PROGRAM);
        command.args(["migrate", "ml-service"]).env_clear();
        command.env("MIGRATION_DATABASE_URL", url);
        if let Some(authority) = authority {
            command.env("SSL_CERT_DIR", directory.join(authority));
        }
        outcome(&mut command)
    };
    migrate("localhost", Some("authority")).unwrap();
    for (host, authority) in [
        ("localhost", None),
        ("localhost", Some("stranger")),
        ("127.0.0.1", Some("authority")),
    ] {
        let error = migrate(host, authority).unwrap_err();
        assert!(error.contains("certificate"), "{host} {authority:?}: {error}");
    }
}

/// A certificate for `localhost` by one authority, and another authority.
fn make_certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(directory).args(arguments.split(' '));
        outcome(&mut command).unwrap();
    };
    for name in ["authority", "stranger"] {
        fs::create_dir(directory.join(name)).unwrap();
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN={name} -days 2 -keyout {name}.key -out {name}/{name}.pem"
        ));
    }
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=database -keyout server.key -out server.csr",
    );
    fs::write(
        directory.join("extensions"),
        "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n",
    )
    .unwrap();
    openssl(
        "x509 -req -in server.csr -CA authority/authority.pem -CAkey authority.key -days 2 -extfile extensions -out server.pem",
    );
}

/// Has the server itself write its key, because it must be the server's alone.
async fn serve_tls(installation: &Installation, directory: &Path) {
    let sql = installation.server.connect(DATABASE).await.unwrap();
    for file in ["server.key", "server.pem"] {
        let text = fs::read_to_string(directory.join(file)).unwrap();
        sql.batch_execute(&format!(
            "COPY (SELECT unnest(string_to_array(trim('{text}'), E'\\n')))
             TO PROGRAM 'umask 077 && cat > {file}';"
        ))
        .await
        .unwrap();
    }
    for setting in [
        "ssl_cert_file = 'server.pem'",
        "ssl_key_file = 'server.key'",
        "ssl = on",
    ] {
        let statement = format!("ALTER SYSTEM SET {setting}");
        sql.batch_execute(&statement).await.unwrap();
    }
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    platform::client::eventually("the server serves TLS", async || {
        let sql = installation.server.connect(DATABASE).await.ok()?;
        let on: String = sql.query_one("SHOW ssl", &[]).await.ok()?.get(0);
        (on == "on").then_some(())
    })
    .await;
}
