//! What a Kubernetes Service is to those who call it: one address, and each new connection goes to the next of the replicas
//! that say they are ready.
//!
//! As there, a connection stays where it is until one end closes it, and one that cannot be passed on breaks: nothing is
//! tried again here. Deliberately absent: anything above TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Kubernetes takes some seconds to notice; what matters is that a stopping replica takes requests for longer than that.
const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_FOR: Duration = Duration::from_secs(1);

/// Ends, with its connections, when it is dropped.
pub struct Balancer {
    pub address: SocketAddr,
    replicas: Arc<[Replica]>,
    _tasks: JoinSet<()>,
}

struct Replica {
    address: SocketAddr,
    ready: AtomicBool,
}

impl Balancer {
    pub async fn start(replicas: &[SocketAddr], http: &reqwest::Client) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let replicas: Arc<[Replica]> = replicas
            .iter()
            .map(|address| Replica {
                address: *address,
                ready: AtomicBool::new(false),
            })
            .collect();
        let mut tasks = JoinSet::new();
        for number in 0..replicas.len() {
            tasks.spawn(ask(Arc::clone(&replicas), number, http.clone()));
        }
        tasks.spawn(accept(listener, Arc::clone(&replicas)));
        Ok(Self {
            address,
            replicas,
            _tasks: tasks,
        })
    }

    /// Whether new connections go to the replica at `address` too.
    pub fn uses(&self, address: SocketAddr) -> bool {
        let mut ready = self.replicas.iter().filter(|it| it.ready.load(Ordering::Relaxed));
        ready.any(|replica| replica.address == address)
    }
}

/// Keeps up with whether a replica is ready.
async fn ask(replicas: Arc<[Replica]>, number: usize, http: reqwest::Client) {
    let Some(replica) = replicas.get(number) else {
        return;
    };
    let url = format!("http://{}/readyz", replica.address);
    loop {
        let answer = http.get(&url).timeout(ASK_FOR).send().await;
        let ready = answer.is_ok_and(|answer| answer.status().is_success());
        replica.ready.store(ready, Ordering::Relaxed);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn accept(listener: TcpListener, replicas: Arc<[Replica]>) {
    let mut connections = JoinSet::new();
    let mut next = 0;
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let mut in_turn = replicas.iter().cycle().skip(next).take(replicas.len());
        let chosen = in_turn.find(|replica| replica.ready.load(Ordering::Relaxed));
        next = (next + 1) % replicas.len().max(1);
        connections.spawn(pass_on(client, chosen.map(|replica| replica.address)));
    }
}

async fn pass_on(mut client: TcpStream, replica: Option<SocketAddr>) {
    let Some(replica) = replica else { return };
    if let Ok(mut replica) = TcpStream::connect(replica).await {
        drop((client.set_nodelay(true), replica.set_nodelay(true)));
        // That an end breaks the connection is theirs to notice.
        drop(copy_bidirectional(&mut client, &mut replica).await);
    }
}
