//! Each test starts real servers; the names say what must hold.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use tokio_postgres::{Client, NoTls};

use super::*;

async fn connect(cluster: &Cluster) -> Client {
    let (client, connection) = tokio_postgres::connect(&cluster.superuser_url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

async fn count_notes(cluster: &Cluster) -> i64 {
    connect(cluster)
        .await
        .query_one("SELECT count(*) FROM note", &[])
        .await
        .unwrap()
        .get(0)
}

fn postmaster(cluster: &Cluster) -> Pid {
    Pid::from_child(&cluster.server.lock().unwrap())
}

async fn is_gone(process: Pid, directory: &Path) {
    wait_until(|| processes::command_line(process).is_none() && !directory.exists())
        .await
        .unwrap();
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        Directory(Path::new("/var/tmp").join(format!("flowlet-test-{}", random_name())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn two_throwaway_clusters_run_at_once_and_stopping_leaves_nothing() {
    let both = tokio::try_join!(
        Cluster::throwaway(Durability::Fast),
        Cluster::throwaway(Durability::Fast)
    );
    let (first, second) = both.unwrap();
    assert_ne!(first.port(), second.port());
    for cluster in [first, second] {
        connect(&cluster)
            .await
            .batch_execute("CREATE DATABASE other")
            .await
            .unwrap();
        let (process, directory) = (postmaster(&cluster), cluster.home.directory.clone());
        cluster.stop().await.unwrap();
        assert!(processes::command_line(process).is_none());
        assert!(!directory.exists());
    }
}

#[tokio::test]
async fn dropping_a_cluster_leaves_nothing() {
    let cluster = Cluster::throwaway(Durability::Fast).await.unwrap();
    let (process, directory) = (postmaster(&cluster), cluster.home.directory.clone());
    drop(cluster);
    is_gone(process, &directory).await;
}

#[tokio::test]
async fn a_scratch_directory_goes_with_what_is_in_it() {
    let scratch = ScratchDirectory::new("test").unwrap();
    let path = scratch.path.clone();
    fs::write(path.join("file"), "").unwrap();
    drop(scratch);
    wait_until(|| !path.exists()).await.unwrap();
}

#[tokio::test]
async fn killing_the_launcher_leaves_nothing() {
    let mut launcher = Command::new(std::env::current_exe().unwrap());
    launcher.args([
        "--exact",
        "postgres::tests::launcher_to_be_killed",
        "--ignored",
        "--nocapture",
    ]);
    let mut launcher = launcher.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(launcher.stdout.take().unwrap()).lines();
    let report = output
        .find_map(|line| line.unwrap().strip_prefix("running: ").map(str::to_owned))
        .unwrap();
    let (process, directory) = report.split_once(' ').unwrap();
    let process = Pid::from_raw(process.parse().unwrap()).unwrap();
    assert!(processes::command_line(process).is_some());

    launcher.kill().unwrap();
    launcher.wait().unwrap();
    is_gone(process, Path::new(directory)).await;
}

#[tokio::test]
#[ignore = "run by killing_the_launcher_leaves_nothing"]
async fn launcher_to_be_killed() {
    let cluster = Cluster::throwaway(Durability::Fast).await.unwrap();
    println!(
        "\nrunning: {} {}",
        postmaster(&cluster),
        cluster.home.directory.display()
    );
    sleep(Duration::from_secs(60)).await;
}

async fn commit_notes_then_kill(durability: Durability, notes: i64) -> i64 {
    let cluster = Cluster::throwaway(durability).await.unwrap();
    let client = connect(&cluster).await;
    client
        .batch_execute("CREATE TABLE note (id bigint PRIMARY KEY)")
        .await
        .unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    let insert = client.prepare("INSERT INTO note VALUES ($1)").await.unwrap();
    for id in 0..notes {
        client.execute(&insert, &[&id]).await.unwrap();
    }
    let port = cluster.port();
    cluster.kill_9().await.unwrap();
    assert!(home::is_free(port));
    cluster.restart_after_kill().await.unwrap();
    assert_eq!(cluster.port(), port);
    let survivors = count_notes(&cluster).await;
    cluster.stop().await.unwrap();
    survivors
}

#[tokio::test]
async fn a_durable_cluster_keeps_every_commit_when_killed() {
    assert_eq!(commit_notes_then_kill(Durability::Durable, 100).await, 100);
}

#[tokio::test]
async fn a_lossy_cluster_loses_commits_when_killed() {
    let survivors = commit_notes_then_kill(Durability::Lossy, 2_000).await;
    assert!(survivors < 2_000, "all {survivors} commits survived");
}

#[tokio::test]
async fn a_persistent_cluster_keeps_its_data_and_stops_what_was_left_running() {
    let directory = Directory::new();
    let first = Cluster::persistent(&directory.0, 0, |_| ()).await.unwrap();
    connect(&first)
        .await
        .batch_execute("CREATE TABLE note (id int); INSERT INTO note VALUES (1)")
        .await
        .unwrap();
    let port = first.port();
    first.stop().await.unwrap();

    let second = Cluster::persistent(&directory.0, port, |_| ()).await.unwrap();
    let left_running = postmaster(&second);
    second.watchdog.forget().unwrap();
    drop(second);

    let third = Cluster::persistent(&directory.0, port, |_| ()).await.unwrap();
    assert!(processes::command_line(left_running).is_none());
    assert_eq!(count_notes(&third).await, 1);
    third.stop().await.unwrap();
}

#[tokio::test]
async fn the_next_launcher_waits_until_the_one_before_has_stopped_its_server() {
    let directory = Directory::new();
    let first = Cluster::persistent(&directory.0, 0, |_| ()).await.unwrap();
    let port = first.port();
    drop(first);
    let second = Cluster::persistent(&directory.0, port, |_| ()).await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_stranger_does_not_stop_the_start() {
    let directory = Directory::new();
    let cluster = Cluster::persistent(&directory.0, 0, |_| ()).await.unwrap();
    cluster.stop().await.unwrap();
    let stranger = std::os::unix::process::parent_id();
    fs::write(directory.0.join("data/postmaster.pid"), format!("{stranger}\n")).unwrap();
    Cluster::persistent(&directory.0, 0, |_| ())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let directory = Directory::new();
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let error = Cluster::persistent(&directory.0, port, |_| ())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains(&format!("port {port}")), "{error:#}");
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let directory = Directory::new();
    Cluster::persistent(&directory.0, 0, |_| ())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    fs::write(directory.0.join("data/postgresql.conf"), "nonsense = on\n").unwrap();
    let error = Cluster::persistent(&directory.0, 0, |_| ()).await.err().unwrap();
    assert!(error.to_string().contains("nonsense"), "{error:#}");
}

/// Fixtures start clusters from spawned tasks.
#[test]
fn starting_is_send() {
    fn is_send(_: impl Send) {}
    is_send(Cluster::throwaway(Durability::Fast));
    is_send(Cluster::persistent(Path::new("unused"), 0, |_| ()));
}
