//! PostgreSQL's disk is full: what cannot be written is refused, nothing acknowledged is lost, and it goes on by itself when
//! there is room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use platform::Platform;
use platform::database::Server;
use platform::postgres::ScratchDirectory;
use platform::programs::tell;

use crate::load::Load;

/// A file system of its own, in memory.
struct SmallDisk {
    path: PathBuf,
    _parent: ScratchDirectory,
}

impl SmallDisk {
    /// `None` where nobody lets us mount one.
    fn mount() -> Option<Self> {
        let parent = ScratchDirectory::new("small-disk").unwrap();
        let path = parent.path.join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"])
            .arg(&path)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then_some(Self {
            path,
            _parent: parent,
        })
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still be ending.
        drop(Command::new("umount").arg("--lazy").arg(&self.path).output());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        tell("FULL DISK NOT CHECKED: run this as root where a tmpfs can be mounted");
        return;
    };
    let server = Server::persistent(&disk.path.join("postgresql"), 0, |_| ()).await;
    let server = Arc::new(server.unwrap());
    server.prepare("flowlet", |_| ()).await.unwrap();
    let platform = Platform::builder()
        .on(Arc::clone(&server), "flowlet")
        .start()
        .await
        .unwrap();
    let load = Load::prepare(&platform).await;
    let clients = load.start();
    load.wait_for(300).await;
    for refusals in [100, 200] {
        disk.fill();
        load.wait_for_refusals(refusals).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        disk.make_room();
        load.wait_for(300).await;
    }
    load.stop(clients).await;
    load.verify(&platform, "PostgreSQL's disk is full, twice").await;
    platform.stop().await.unwrap();
}
