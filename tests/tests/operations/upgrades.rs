//! A new version comes while the one before it serves, and may have to go again: migrations only expand, wait for locks no
//! longer than the services can, and leave a database that the previous release works on. `infrastructure/upgrades.md` has
//! the rules.

#[path = "upgrades/previous_release.rs"]
mod previous_release;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use platform::database::Server;
use platform::platform::Replica;
use platform::postgres::Durability;
use platform::tools::{Tool, ensure};
use platform::traffic::Traffic;
use platform::{Platform, Service, programs};
use previous_release::PreviousRelease;
use serde_json::Value;
use shared::db::migrate::{self, LOCK_TIMEOUT};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dev");
const DATABASE: &str = "flowlet";
/// Before each exception that a migration makes from the linter's rules.
const REASON: &str = "-- contract: ";

/// The top of the work tree.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files in `<service>/migrations` and, for calls between services, in `shared/src/clients` below `top`, by their paths
/// in it: what one version leaves to the next.
fn left_to_others(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let migrations = Service::ALL.map(|service| format!("{}/migrations", service.name()));
    let mut files = BTreeMap::new();
    for directory in migrations
        .iter()
        .map(String::as_str)
        .chain(["shared/src/clients"])
    {
        collect(top, Path::new(directory), &mut files);
    }
    assert!(!files.is_empty(), "{} has no migrations", top.display());
    files
}

fn collect(top: &Path, directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    // The gateway has no migrations.
    let entries = fs::read_dir(top.join(directory)).into_iter().flatten();
    for name in entries.map(|entry| entry.unwrap().file_name()) {
        let path = directory.join(name);
        if top.join(&path).is_dir() {
            collect(top, &path, files);
        } else {
            files.insert(path.clone(), fs::read(top.join(path)).unwrap());
        }
    }
}

fn is_migration(path: &Path) -> bool {
    path.iter().any(|part| part == "migrations")
}

#[tokio::test]
async fn a_migration_that_was_released_stays_as_it_was() {
    let Some(previous) = PreviousRelease::get().await.unwrap() else {
        return;
    };
    let now = left_to_others(root());
    for (path, released) in left_to_others(&previous.source()) {
        if is_migration(&path) {
            let same = now.get(&path) == Some(&released);
            assert!(
                same,
                "{} was released: add another migration instead",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn new_migrations_only_expand() {
    let Some(previous) = PreviousRelease::get().await.unwrap() else {
        return;
    };
    let released = left_to_others(&previous.source());
    let new = left_to_others(root());
    let new = new
        .into_iter()
        .filter(|(path, _)| is_migration(path) && path.ends_with("up.sql") && !released.contains_key(path));
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for (path, text) in new {
        let text = String::from_utf8(text).unwrap();
        problems.extend(unexplained(&text).map(|line| format!("{}: {line}", path.display())));
        files.push(root().join(path));
    }
    println!("{} migrations since the previous release", files.len());
    problems.extend(lint(&files).await.iter().map(Finding::to_string));
    assert!(
        problems.is_empty(),
        "The previous version would stumble over these, or everybody over their locks. Each rule is explained at \
         squawkhq.com/docs. Expand first and contract in a later release; where there is no harm, write above the \
         line\n\n    {REASON}why, and the release that stopped using it\n    -- squawk-ignore <rule>\n\n{}\n",
        problems.join("\n")
    );
}

/// Exceptions without a reason above them, and those for whole files, which would hide what is added later.
fn unexplained(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_explained = |number: usize| {
        let above = lines
            .iter()
            .take(number)
            .rev()
            .take_while(|line| line.starts_with("--"));
        let mut reasons = above.filter_map(|line| line.strip_prefix(REASON));
        reasons.any(|reason| reason.len() > 20)
    };
    let bad = |(number, line): &(usize, &&str)| {
        line.contains("squawk-ignore") && (line.contains("squawk-ignore-file") || !is_explained(*number))
    };
    let bad: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(bad)
        .map(|(number, _)| number)
        .collect();
    bad.into_iter().filter_map(|number| text.lines().nth(number))
}

struct Finding {
    file: String,
    line: i64,
    rule: String,
    message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            rule,
            message,
        } = self;
        write!(f, "{file}:{line}: {rule}: {message}")
    }
}

/// What the linter says about migrations.
async fn lint(files: &[PathBuf]) -> Vec<Finding> {
    if files.is_empty() {
        return Vec::new();
    }
    let mut squawk = Command::new(ensure(Tool::Squawk).await.unwrap());
    squawk.args(["--reporter", "json", "--config", ".squawk.toml"]);
    let output = squawk.args(files).current_dir(root()).output().unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    findings
        .iter()
        .map(|finding| Finding {
            file: text(finding, "file"),
            line: finding["line"].as_i64().unwrap() + 1,
            rule: text(finding, "rule_name"),
            message: text(finding, "message"),
        })
        .collect()
}

/// Statements as a migration might have them, and the rules that each breaks.
const CASES: [(&str, &[&str]); 22] = [
    ("DROP TABLE accounts;", &["ban-drop-table"]),
    ("ALTER TABLE accounts DROP COLUMN nickname;", &["ban-drop-column"]),
    (
        "ALTER TABLE accounts RENAME COLUMN nickname TO name;",
        &["renaming-column"],
    ),
    ("ALTER TABLE accounts RENAME TO products;", &["renaming-table"]),
    (
        "ALTER TABLE accounts ALTER COLUMN nickname TYPE bytea USING nickname::bytea;",
        &["changing-column-type"],
    ),
    (
        "ALTER TABLE accounts ALTER COLUMN nickname SET NOT NULL;",
        &["adding-not-nullable-field"],
    ),
    (
        "ALTER TABLE accounts ALTER COLUMN nickname DROP NOT NULL;",
        &["ban-drop-not-null"],
    ),
    (
        "ALTER TABLE accounts ADD COLUMN colour text NOT NULL;",
        &["adding-required-field"],
    ),
    (
        "ALTER TABLE accounts ADD COLUMN at timestamptz DEFAULT clock_timestamp();",
        &["adding-field-with-default"],
    ),
    (
        "ALTER TABLE accounts ADD CONSTRAINT short CHECK (char_length(nickname) < 9);",
        &["constraint-missing-not-valid"],
    ),
    (
        "ALTER TABLE accounts ADD CONSTRAINT owner FOREIGN KEY (owner_id) REFERENCES users (id);",
        &["adding-foreign-key-constraint", "constraint-missing-not-valid"],
    ),
    (
        "ALTER TABLE accounts ADD CONSTRAINT one UNIQUE (nickname);",
        &["constraint-missing-not-valid", "disallowed-unique-constraint"],
    ),
    (
        "CREATE INDEX by_nickname ON accounts (nickname);",
        &["require-concurrent-index-creation"],
    ),
    (
        "DROP INDEX accounts_by_owner;",
        &["require-concurrent-index-deletion"],
    ),
    ("DROP FUNCTION refuse_change;", &["ban-drop-function"]),
    ("DROP SEQUENCE rules_version_seq;", &["ban-drop-sequence"]),
    // What only expands.
    (
        "CREATE TABLE new (id uuid PRIMARY KEY, name text NOT NULL); CREATE INDEX new_name ON new (name);",
        &[],
    ),
    (
        "ALTER TABLE accounts ADD COLUMN colour text NOT NULL DEFAULT 'red';",
        &[],
    ),
    (
        "ALTER TABLE accounts ADD CONSTRAINT short CHECK (char_length(nickname) < 9) NOT VALID;",
        &[],
    ),
    ("ALTER TABLE accounts VALIDATE CONSTRAINT short;", &[]),
    (
        "CREATE INDEX CONCURRENTLY by_nickname ON accounts (nickname);",
        &[],
    ),
    (
        "-- contract: nobody reads it since 0.3.0\n-- squawk-ignore ban-drop-column\nALTER TABLE accounts DROP COLUMN nickname;",
        &[],
    ),
];

#[tokio::test]
async fn each_rule_finds_what_it_is_for() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("upgrades");
    fs::create_dir_all(&directory).unwrap();
    let files: Vec<PathBuf> = (0..CASES.len())
        .map(|number| directory.join(format!("{number}.sql")))
        .collect();
    for (file, (sql, _)) in files.iter().zip(CASES) {
        fs::write(file, sql).unwrap();
    }
    let findings = lint(&files).await;
    for (file, (sql, expected)) in files.iter().zip(CASES) {
        let file = file.to_string_lossy();
        let of_file = findings.iter().filter(|finding| *finding.file == *file);
        let mut rules: Vec<&str> = of_file.map(|finding| finding.rule.as_str()).collect();
        rules.sort_unstable();
        assert_eq!(rules, expected, "{sql}");
    }
}

#[test]
fn an_exception_needs_a_reason_above_it() {
    let reason = "-- contract: the column is not read since 0.3.0";
    let ignore = "-- squawk-ignore ban-drop-column";
    let drop = "ALTER TABLE accounts DROP COLUMN nickname;";
    let is_unexplained = |lines: &[&str]| unexplained(&lines.join("\n")).count() > 0;
    assert!(!is_unexplained(&[drop]));
    assert!(!is_unexplained(&[reason, ignore, drop]));
    assert!(!is_unexplained(&[reason, "-- and more about it", ignore, drop]));
    assert!(is_unexplained(&[ignore, drop]));
    assert!(is_unexplained(&["-- contract: safe", ignore, drop]));
    assert!(is_unexplained(&[reason, drop, ignore, drop]));
    assert!(is_unexplained(&[
        reason,
        "-- squawk-ignore-file ban-drop-column",
        drop
    ]));
}

const HELD_UP: EmbeddedMigrations = embed_migrations!("tests/operations/upgrades/migrations");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_held_up_stops_nobody_and_leaves_nothing_behind() {
    let platform = Platform::start().await;
    let owner_url = platform
        .server
        .owner_url(Service::Accounts, &platform.database)
        .unwrap();
    let owner_url = owner_url.into();
    let sql = platform.sql().await;
    let traffic = Traffic::start(&platform).await;
    traffic.wait_for(20).await;

    // As a long report would.
    sql.batch_execute("BEGIN; SELECT count(*) FROM accounts.accounts")
        .await
        .unwrap();
    let refused = migrate::migrate("accounts", &owner_url, HELD_UP)
        .await
        .unwrap_err();
    let refused = format!("{refused:#}");
    for part in ["held_up", "due to lock timeout", "run `migrate` again"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    sql.batch_execute("ROLLBACK").await.unwrap();
    let there = "SELECT to_regclass('accounts.left_behind') IS NOT NULL";
    assert!(!sql.query_one(there, &[]).await.unwrap().get::<_, bool>(0));

    // What is done concurrently waits for older snapshots, for longer than that, and holds up nobody.
    let old_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM auth.users";
    sql.batch_execute(old_snapshot).await.unwrap();
    let (migrated, ()) = tokio::join!(migrate::migrate("accounts", &owner_url, HELD_UP), async {
        tokio::time::sleep(LOCK_TIMEOUT * 2).await;
        sql.batch_execute("ROLLBACK").await.unwrap();
    });
    migrated.unwrap();
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'accounts.accounts_by_colour'::regclass";
    for holds in [there, valid] {
        assert!(
            sql.query_one(holds, &[]).await.unwrap().get::<_, bool>(0),
            "{holds}"
        );
    }
    traffic.wait_for(20).await;
    let report = traffic.finish(&platform).await;
    println!("beside a migration that was held up: {report}");
    assert_eq!(report.repeated, Vec::<String>::new());
    // Some did wait behind it, and none for longer than it waits.
    assert!(report.slowest > LOCK_TIMEOUT / 2, "{report}");
    assert!(report.slowest < LOCK_TIMEOUT + Duration::from_secs(3), "{report}");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_release_serves_before_during_and_after_the_upgrade() {
    let Some(previous) = PreviousRelease::get().await.unwrap() else {
        return;
    };
    if left_to_others(&previous.source()) == left_to_others(root()) {
        println!(
            "no migration and no call between services has changed since {}",
            previous.commit
        );
        return;
    }
    let old = previous.build().await.unwrap();
    let server = Arc::new(Server::throwaway(Durability::Fast).await.unwrap());
    server.provision(DATABASE).await.unwrap();
    migrate_with(&old, &server).await;
    let mut builder = Platform::builder()
        .processes(&old)
        .replicas(2)
        .on(Arc::clone(&server), DATABASE);
    for service in Service::ALL {
        builder = builder.set(service, "SHUTDOWN_DELAY_S", 1);
    }
    let platform = builder.start().await.unwrap();
    let traffic = Traffic::start(&platform).await;
    traffic.wait_for(20).await;
    server.migrate(DATABASE, |_| ()).await.unwrap();
    traffic.wait_for(50).await;
    let replicas = |number| Service::ALL.map(|service| Replica { service, number });
    let forward = [replicas(0), replicas(1)]
        .concat()
        .into_iter()
        .map(|replica| (replica, PROGRAM.as_ref()));
    let back = replicas(0).map(|replica| (replica, old.as_path()));
    // The older version cannot tell of the books as this one does.
    let again = replicas(0).map(|replica| (replica, PROGRAM.as_ref()));
    for (replica, program) in forward.chain(back).chain(again) {
        platform.stop_service(replica).await.unwrap();
        traffic.wait_for(5).await;
        platform.start_version(replica, program).await.unwrap();
        traffic.wait_for(10).await;
    }
    let report = traffic.finish(&platform).await;
    println!(
        "from {} to this version, half way back, and on again: {report}",
        previous.commit
    );
    for why in &report.repeated {
        println!("repeated because: {why}");
    }
    platform.stop().await.unwrap();
}

/// Runs the `migrate` command of each service of another version.
async fn migrate_with(program: &Path, server: &Server) {
    for service in Service::ALL
        .into_iter()
        .filter(|service| service.schema().is_some())
    {
        let mut migrate = Command::new(program);
        migrate
            .args(["migrate", service.name()])
            .env_clear()
            .env(
                "MIGRATION_DATABASE_URL",
                server.owner_url(service, DATABASE).unwrap(),
            )
            .env("FLOWLET_ENV", "development")
            .stdin(Stdio::null());
        programs::finish(migrate).await.unwrap();
    }
}
