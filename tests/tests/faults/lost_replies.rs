//! Answers that do not arrive: of PostgreSQL to a lane's COMMIT, and of the platform to its client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use platform::client::{new_key, transfer_body};
use platform::database::Server;
use platform::postgres::Durability;
use platform::{Client, Platform, Service};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::commit_proxy::{CommitProxy, Cut};
use crate::load::Load;
use crate::table::Row;

const DATABASE: &str = "flowlet";

/// The platform, and the proxy between its transactions-service and PostgreSQL.
async fn behind_a_proxy() -> (Platform, CommitProxy) {
    let server = Arc::new(Server::throwaway(Durability::Fast).await.unwrap());
    server.prepare(DATABASE, |_| ()).await.unwrap();
    let proxy = CommitProxy::start(server.cluster.port()).await.unwrap();
    let url = server.runtime_url(Service::Transactions, DATABASE).unwrap();
    let direct = format!("127.0.0.1:{}", server.cluster.port());
    let platform = Platform::builder()
        .on(server, DATABASE)
        .set(
            Service::Transactions,
            "DATABASE_URL",
            url.replace(&direct, &proxy.address.to_string()),
        )
        .start()
        .await
        .unwrap();
    (platform, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_commit_is_looked_up_and_never_guessed() {
    let (platform, proxy) = behind_a_proxy().await;
    let load = Load::prepare(&platform).await;
    let clients = load.start();
    for cut in [Cut::BeforeTheReply, Cut::WithTheCommit, Cut::BeforeTheServer] {
        load.wait_for(100).await;
        proxy.set(cut);
        if cut == Cut::BeforeTheReply {
            // Not one COMMIT is replied to, and yet all of them are known to have taken effect.
            load.wait_for(200).await;
        }
        proxy.wait_for_cuts(20).await;
        proxy.set(Cut::Never);
    }
    load.wait_for(100).await;
    load.stop(clients).await;
    load.verify(&platform, "the reply to COMMIT, or COMMIT itself, is lost")
        .await;
    platform.stop().await.unwrap();
}

/// Passes requests on to the gateway and keeps the answers.
struct AnswerThief {
    address: SocketAddr,
    /// Each as it was on the wire.
    stolen: Arc<Mutex<Vec<String>>>,
    _accepting: JoinSet<()>,
}

impl AnswerThief {
    async fn start(gateway: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway: SocketAddr = gateway.trim_start_matches("http://").parse().unwrap();
        let stolen = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::clone(&stolen);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let answers = Arc::clone(&answers);
                connections.spawn(async move {
                    let answer = swallow(client, gateway).await;
                    answers.lock().unwrap().push(answer);
                });
            }
        });
        Self {
            address,
            stolen,
            _accepting: accepting,
        }
    }
}

/// The gateway's answer to the client's first request, of which the client hears nothing.
async fn swallow(mut client: TcpStream, gateway: SocketAddr) -> String {
    let mut upstream = TcpStream::connect(gateway).await.unwrap();
    let (mut request, _) = client.split();
    let (mut answer, mut to_gateway) = upstream.split();
    let mut bytes = Vec::new();
    let whole_answer = async {
        while !is_complete(&bytes) {
            answer.read_buf(&mut bytes).await.unwrap();
        }
    };
    tokio::select! {
        () = whole_answer => {}
        ended = copy(&mut request, &mut to_gateway) => panic!("the client hung up: {ended:?}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Whether these are the head of an answer and as much of a body as it announces.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let announced: Option<usize> = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= announced.unwrap_or_else(|| panic!("an answer without a length: {head}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_the_client_lost_is_got_again_byte_for_byte() {
    const REQUESTS: usize = 60;
    let platform = Platform::start().await;
    let payer = platform.register("payer").await;
    let from = payer.open_funded_account(10_000, "USD").await;
    let to = payer.open_account("USD").await;
    let thief = AnswerThief::start(&platform.url(Service::Gateway)).await;
    let robbed = Client {
        base_url: format!("http://{}", thief.address),
        ..payer.client.clone()
    };
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let (path, body): (&str, Value) = match number % 4 {
            0 => (
                "payments/deposits",
                json!({ "account_id": from, "amount": 7, "currency": "USD" }),
            ),
            1 => (
                "holds",
                json!({ "account_id": from, "credit_account_id": to, "amount": 3, "currency": "USD" }),
            ),
            2 => ("transfers", transfer_body(&from, &to, 100_000, "USD")),
            _ => ("transfers", transfer_body(&from, &to, 5, "USD")),
        };
        let (robbed, payer, path) = (robbed.clone(), payer.clone(), format!("/api/v1/{path}"));
        requests.spawn(async move {
            let key = new_key();
            let lost = robbed.try_post_with_key(&path, &key, &body).await;
            assert!(lost.is_err(), "{lost:?}");
            let again = payer.post_with_key(&path, &key, body).await;
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again}");
            again
        });
    }
    let answers = requests.join_all().await;
    let stolen = thief.stolen.lock().unwrap().clone();
    assert_eq!(stolen.len(), REQUESTS);
    for answer in &answers {
        let first = stolen.iter().find(|first| first.ends_with(&answer.text));
        let first = first.unwrap_or_else(|| panic!("nobody was answered so: {answer}"));
        assert!(
            first.starts_with(&format!("HTTP/1.1 {} ", answer.status)),
            "{first}\n{answer}"
        );
    }
    let quarter = i64::try_from(REQUESTS / 4).unwrap();
    let (posted, held, _) = payer.balance(&from).await;
    assert_eq!((posted, held), (10_000 + quarter * (7 - 5), quarter * 3));
    assert_eq!(payer.balance(&to).await.0, quarter * 5);
    platform.assert_invariants().await;
    Row {
        tried: REQUESTS,
        acknowledged: REQUESTS * 3 / 4,
        refused: REQUESTS / 4,
        unknown: REQUESTS,
        lost: 0,
    }
    .print("the answer is lost on its way to the client");
    platform.stop().await.unwrap();
}
