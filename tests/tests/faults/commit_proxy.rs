//! Stands between transactions-service and PostgreSQL, and cuts a lane's connection around its COMMIT.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use platform::client::eventually;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// In place of a version number, the request to talk TLS.
const WANTS_TLS: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// When connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Never,
    /// COMMIT does not reach the server.
    BeforeTheServer,
    /// COMMIT is sent, and nobody waits for what becomes of it.
    WithTheCommit,
    /// COMMIT has taken effect, and the reply does not reach the lane.
    BeforeTheReply,
}

/// Ends, with its connections, when it is dropped.
pub struct CommitProxy {
    pub address: SocketAddr,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

struct State {
    server: SocketAddr,
    cut: Mutex<Cut>,
    cuts: AtomicUsize,
}

impl CommitProxy {
    pub async fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            cut: Mutex::new(Cut::Never),
            cuts: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _accepting: accepting,
        })
    }

    /// From now on every lane's connection is cut so.
    pub fn set(&self, cut: Cut) {
        *self.state.cut.lock().unwrap() = cut;
    }

    pub async fn wait_for_cuts(&self, more: usize) {
        let goal = self.state.cuts.load(Ordering::Relaxed) + more;
        eventually("connections are cut", async || {
            (self.state.cuts.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // That one end breaks the connection is the other's to notice.
        connections.spawn(async move { drop(state.pass_on(client).await) });
    }
}

impl State {
    async fn pass_on(&self, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(self.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        greet(&mut client, &mut server).await?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let is_muted = AtomicBool::new(false);
        tokio::select! {
            ended = self.pass_up(BufReader::new(from_client), to_server, &is_muted) => ended,
            ended = self.pass_down(BufReader::new(from_server), to_client, &is_muted) => ended,
        }
    }

    /// What the client says, up to a COMMIT of a lane that is to be cut.
    async fn pass_up(
        &self,
        mut client: impl AsyncRead + Unpin,
        mut server: impl AsyncWrite + Unpin,
        is_muted: &AtomicBool,
    ) -> io::Result<()> {
        let mut is_lane = false;
        loop {
            let message = read_message(&mut client).await?;
            // Only a lane prepares this.
            is_lane |= message[0] == b'P' && contains(&message, b"pg_current_xact_id");
            let cut = match is_lane && message[0] == b'Q' && message.ends_with(b"COMMIT\0") {
                true => *self.cut.lock().unwrap(),
                false => Cut::Never,
            };
            match cut {
                Cut::Never => server.write_all(&message).await?,
                Cut::BeforeTheServer => break,
                Cut::WithTheCommit => {
                    server.write_all(&message).await?;
                    break;
                }
                Cut::BeforeTheReply => {
                    is_muted.store(true, Ordering::SeqCst);
                    server.write_all(&message).await?;
                }
            }
        }
        self.cuts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What the server says; once that is muted, up to the end of the transaction and to nobody.
    async fn pass_down(
        &self,
        mut server: impl AsyncRead + Unpin,
        mut client: impl AsyncWrite + Unpin,
        is_muted: &AtomicBool,
    ) -> io::Result<()> {
        loop {
            let message = read_message(&mut server).await?;
            if !is_muted.load(Ordering::SeqCst) {
                client.write_all(&message).await?;
            } else if message[0] == b'C' && (contains(&message, b"COMMIT") || contains(&message, b"ROLLBACK"))
            {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
    }
}

/// Everything before the first message that has a type. We refuse TLS as a server without a certificate does.
async fn greet(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let mut rest = vec![0; usize::try_from(length).unwrap() - 4];
        client.read_exact(&mut rest).await?;
        if rest == WANTS_TLS {
            client.write_all(b"N").await?;
            continue;
        }
        server.write_u32(length).await?;
        return server.write_all(&rest).await;
    }
}

/// A message as it is on the wire: its type, its length, and what it says.
async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    let mut message = vec![0; usize::try_from(length).unwrap() + 1];
    message[0] = kind;
    message[1..5].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut message[5..]).await?;
    Ok(message)
}

fn contains(message: &[u8], text: &[u8]) -> bool {
    message.windows(text.len()).any(|window| window == text)
}
