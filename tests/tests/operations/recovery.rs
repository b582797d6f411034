//! Backups bring back what was acknowledged, and whatever is wrong with them is noticed: the drill, through its program, and
//! each script of infrastructure/backup on a repository made by hand, which needs no PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use platform::client::new_key;
use platform::programs;
use platform::tools::{self, Tool};

/// The smallest that PostgreSQL has.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SYSTEM_IDENTIFIER: u64 = 7_710_832_904_557_268_594;
const FIRST: &str = "000000010000000000000001";
const SECOND: &str = "000000010000000000000002";
const THIRD: &str = "000000010000000000000003";
const FOURTH: &str = "000000010000000000000004";

#[test]
fn the_drill_loses_nothing_that_was_archived_and_notices_every_damage() {
    let drill = Command::new(env!("CARGO_BIN_EXE_recovery-drill"))
        .args(["--seconds", "2"])
        .output()
        .unwrap();
    let (table, errors) = (text(&drill.stdout), text(&drill.stderr));
    println!("{table}{errors}");
    assert!(drill.status.success());
    for line in [
        "Restored to latest",
        "repeated requests, same answer         ",
        "lost (RPO)                             0 transfers, 0.0 s",
        "verify-archive.sh --contents           no gap: 1 base backup(s)",
        "a segment of the log is missing        noticed by verify-archive.sh",
        "a segment of the log is missing        noticed by restore-backup.sh",
        "The drill has passed.",
    ] {
        assert!(table.contains(line), "the table has no line with `{line}`");
    }
}

#[tokio::test]
async fn archiving_the_same_file_again_succeeds_and_nothing_is_ever_overwritten() {
    let repository = Repository::new().await;
    repository.archive(FIRST, &segment(1)).must_succeed();
    let archived = fs::read(repository.archived(FIRST)).unwrap();
    repository.archive(FIRST, &segment(1)).must_succeed();
    repository
        .archive(FIRST, &segment(2))
        .must_fail("in the archive with another content");
    assert_eq!(fs::read(repository.archived(FIRST)).unwrap(), archived);

    let history = "00000002.history";
    repository
        .archive(history, b"1\t0/200000\tno target\n")
        .must_succeed();
    repository
        .archive(history, b"1\t0/200000\tno target\n")
        .must_succeed();
    repository
        .archive(history, b"1\t0/300000\tno target\n")
        .must_fail("in the archive with another content");

    assert!(
        !archived.windows(16).any(|window| window == [1; 16]),
        "the content can be read"
    );
    let metric = fs::read_to_string(
        repository
            .directory
            .join("metrics/flowlet_wal_archive_last_success_timestamp_seconds.prom"),
    );
    assert!(
        metric
            .unwrap()
            .contains("\nflowlet_wal_archive_last_success_timestamp_seconds 1")
    );
    assert!(repository.leftovers().is_empty(), "{:?}", repository.leftovers());
}

#[tokio::test]
async fn a_file_that_does_not_belong_into_the_archive_is_refused() {
    let repository = Repository::new().await;
    let mut foreign = segment(1);
    foreign[24..32].copy_from_slice(&1_u64.to_le_bytes());
    repository
        .archive(FIRST, &foreign)
        .must_fail("is of the cluster 1");
    repository
        .archive(FIRST, &segment(1)[..4096])
        .must_fail("has 4096 bytes");
    repository
        .archive("../escape", &segment(1))
        .must_fail("is no file of the log");
    repository
        .archive("0000000x.history", b"")
        .must_fail("is no file of the log");
    // An empty mount point must not fill the disk below it.
    fs::remove_file(repository.directory.join("repository/repository")).unwrap();
    repository
        .archive(FIRST, &segment(1))
        .must_fail("is the volume mounted?");
    assert!(repository.leftovers().is_empty(), "{:?}", repository.leftovers());
}

#[tokio::test]
async fn archiving_goes_on_where_it_was_interrupted() {
    let repository = Repository::new().await;
    repository.archive(FIRST, &segment(1)).must_succeed();
    // As if the machine had stopped between the claim and the segment.
    fs::remove_file(repository.archived(FIRST)).unwrap();
    repository
        .archive(FIRST, &segment(2))
        .must_fail("in the archive with another content");
    repository.archive(FIRST, &segment(1)).must_succeed();
    assert_eq!(repository.fetch(FIRST), (Some(0), Some(segment(1))));
}

#[tokio::test]
async fn only_the_end_of_the_log_is_taken_for_it() {
    let repository = Repository::new().await;
    for (name, content) in [(FIRST, 1), (THIRD, 3)] {
        repository.archive(name, &segment(content)).must_succeed();
    }
    repository
        .archive("00000002.history", b"1\t0/200000\tno target\n")
        .must_succeed();
    assert_eq!(repository.fetch(THIRD), (Some(0), Some(segment(3))));
    let history = Some(b"1\t0/200000\tno target\n".to_vec());
    assert_eq!(repository.fetch("00000002.history"), (Some(0), history));
    // PostgreSQL starts when it is told 1, and stops the recovery above 125.
    assert_eq!(repository.fetch(FOURTH), (Some(1), None));
    assert_eq!(repository.fetch("00000003.history"), (Some(1), None));
    assert_eq!(repository.fetch(SECOND), (Some(200), None), "a gap");

    let intact = fs::read(repository.archived(THIRD)).unwrap();
    fs::write(repository.archived(THIRD), &intact[..intact.len() - 1]).unwrap();
    assert_eq!(repository.fetch(THIRD).0, Some(200), "cut short");
    fs::copy(repository.archived(FIRST), repository.archived(THIRD)).unwrap();
    assert_eq!(
        repository.fetch(THIRD).0,
        Some(200),
        "another segment under its name"
    );
    fs::write(repository.archived(THIRD), intact).unwrap();
    repository.make_key("identity").await;
    assert_eq!(repository.fetch(THIRD).0, Some(200), "another key");
    fs::remove_file(repository.directory.join("repository/repository")).unwrap();
    assert_eq!(repository.fetch(FOURTH).0, Some(200), "the volume is not mounted");
}

#[tokio::test]
async fn a_gap_is_found_on_any_timeline() {
    let repository = Repository::new().await;
    for (name, content) in [
        (FIRST, 1),
        (SECOND, 2),
        // It left the first timeline within the third segment.
        ("000000020000000000000003", 3),
        ("000000020000000000000004", 4),
        ("000000020000000000000005", 5),
    ] {
        repository.archive(name, &segment(content)).must_succeed();
    }
    repository
        .archive("00000002.history", b"1\t0/300100\tno target\n")
        .must_succeed();
    repository.add_base_backup("20261122T010000Z", FIRST);
    let verify = || repository.run("verify-archive.sh", &["--contents"]);
    verify().must_say("5 segments from 000000010000000000000001 to 000000020000000000000005");

    for (hidden, problem) in [
        (
            FIRST,
            "base backup 20261122T010000Z needs 000000010000000000000001",
        ),
        (
            SECOND,
            "timeline 00000002 begins after 000000010000000000000002, which is missing",
        ),
        (
            "000000020000000000000003",
            "missing from 000000020000000000000003",
        ),
        (
            "000000020000000000000004",
            "missing from 000000020000000000000004",
        ),
    ] {
        let (place, aside) = (repository.archived(hidden), repository.directory.join("aside"));
        fs::rename(&place, &aside).unwrap();
        verify().must_fail(problem);
        fs::rename(aside, place).unwrap();
    }
    verify().must_succeed();

    let history = repository.directory.join("repository/wal/00000002.history");
    fs::remove_file(history).unwrap();
    verify().must_fail("timeline 00000002 has no history");
}

#[tokio::test]
async fn removing_old_backups_keeps_the_log_that_the_others_need() {
    let repository = Repository::new().await;
    for (name, content) in [(FIRST, 1), (SECOND, 2), (THIRD, 3), (FOURTH, 4)] {
        repository.archive(name, &segment(content)).must_succeed();
    }
    for (label, first) in [
        ("20261120T010000Z", FIRST),
        ("20261121T010000Z", SECOND),
        ("20261122T010000Z", THIRD),
    ] {
        repository.add_base_backup(label, first);
    }
    let prune = |keep| repository.run("prune-backups.sh", &["--keep", keep]);
    for refused in ["0", "-1", "", "all"] {
        prune(refused).must_fail("usage");
    }
    prune("3").must_say("nothing to remove");

    // What would stay has a gap, so what would go may be the only way back.
    let (place, aside) = (repository.archived(THIRD), repository.directory.join("aside"));
    fs::rename(&place, &aside).unwrap();
    prune("2").must_fail("nothing is removed");
    assert!(repository.archived(FIRST).exists());
    fs::rename(aside, place).unwrap();

    prune("2").must_succeed();
    assert!(!repository.archived(FIRST).exists());
    for kept in [SECOND, THIRD, FOURTH] {
        assert!(repository.archived(kept).exists(), "{kept}");
    }
    let bases = fs::read_dir(repository.directory.join("repository/base")).unwrap();
    assert_eq!(bases.count(), 2);
    repository
        .run("verify-archive.sh", &["--contents"])
        .must_say("2 base backup(s) from 20261121T010000Z");
}

#[tokio::test]
async fn the_scripts_have_no_finding_of_shellcheck() {
    let scripts = fs::read_dir(scripts())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| path.extension().is_some_and(|extension| extension == "sh"));
    let mut shellcheck = Command::new(tools::ensure(Tool::Shellcheck).await.unwrap());
    let checked = shellcheck.args(scripts).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stdout));
}

/// A repository with keys, as an operator has them, in a directory of its own.
struct Repository {
    directory: PathBuf,
    path: std::ffi::OsString,
}

impl Repository {
    async fn new() -> Self {
        let age = tools::ensure(Tool::Age).await.unwrap();
        let zstd = tools::ensure(Tool::Zstd).await.unwrap();
        let mut path = vec![
            age.parent().unwrap().to_owned(),
            zstd.parent().unwrap().to_owned(),
        ];
        path.extend(programs::search_path());
        let directory = std::env::temp_dir().join(format!("flowlet-repository-{}", new_key()));
        for name in ["repository/wal", "repository/base", "metrics"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        let identity = format!("system_identifier={SYSTEM_IDENTIFIER}\nsegment_bytes={SEGMENT_BYTES}\n");
        fs::write(directory.join("repository/repository"), identity).unwrap();
        let path = std::env::join_paths(path).unwrap();
        let repository = Self { directory, path };
        let recipient = repository.make_key("identity").await;
        fs::write(repository.directory.join("recipients"), recipient).unwrap();
        repository
    }

    /// Makes a private key and returns its public one.
    async fn make_key(&self, name: &str) -> String {
        let keygen = tools::ensure(Tool::Age)
            .await
            .unwrap()
            .with_file_name("age-keygen");
        let file = self.directory.join(name);
        drop(fs::remove_file(&file));
        let made = Command::new(&keygen).arg("-o").arg(&file).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        text(&Command::new(keygen).arg("-y").arg(file).output().unwrap().stdout)
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(scripts().join(script));
        command.args(arguments).env("PATH", &self.path);
        for (variable, name) in [
            ("BACKUP_DIRECTORY", "repository"),
            ("BACKUP_RECIPIENTS_FILE", "recipients"),
            ("BACKUP_IDENTITY_FILE", "identity"),
            ("BACKUP_METRICS_DIRECTORY", "metrics"),
        ] {
            command.env(variable, self.directory.join(name));
        }
        Ran(command.output().unwrap())
    }

    fn archive(&self, name: &str, content: &[u8]) -> Ran {
        let file = self.directory.join("file");
        fs::write(&file, content).unwrap();
        self.run("archive-wal.sh", &[file.to_str().unwrap(), name])
    }

    /// The exit code, and what was brought back.
    fn fetch(&self, name: &str) -> (Option<i32>, Option<Vec<u8>>) {
        let file = self.directory.join("fetched");
        drop(fs::remove_file(&file));
        let ran = self.run("fetch-wal.sh", &[name, file.to_str().unwrap()]);
        (ran.0.status.code(), fs::read(file).ok())
    }

    fn archived(&self, name: &str) -> PathBuf {
        self.directory.join(format!("repository/wal/{name}.zst.age"))
    }

    fn add_base_backup(&self, label: &str, first: &str) {
        let directory = self.directory.join("repository/base").join(label);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("data.tar.zst.age"), "x").unwrap();
        let digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        let info = format!(
            "first_segment={first}\nlast_segment={first}\nfinished_at=2026-11-22 01:00:00.000000+00\n\
             postgres=15\nbytes=1\nsha256={digest}\n"
        );
        fs::write(directory.join("info"), info).unwrap();
    }

    /// Files that were begun and not finished.
    fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join("repository/wal")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).collect()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// How a script ended.
struct Ran(Output);

impl Ran {
    #[track_caller]
    fn must_succeed(self) {
        assert!(self.0.status.success(), "{}", self.said());
    }

    #[track_caller]
    fn must_say(self, expected: &str) {
        assert!(
            self.0.status.success() && self.said().contains(expected),
            "{}",
            self.said()
        );
    }

    #[track_caller]
    fn must_fail(self, expected: &str) {
        assert!(
            !self.0.status.success() && self.said().contains(expected),
            "{}",
            self.said()
        );
    }

    fn said(&self) -> String {
        format!("{}{}", text(&self.0.stdout), text(&self.0.stderr))
    }
}

/// A segment as our PostgreSQL would write it, as far as the scripts look.
fn segment(content: u8) -> Vec<u8> {
    let mut segment = vec![content; SEGMENT_BYTES];
    segment[24..32].copy_from_slice(&SYSTEM_IDENTIFIER.to_le_bytes());
    segment
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infrastructure/backup")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
