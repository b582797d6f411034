//! Mail over SMTP and text messages over HTTP, to servers that take, refuse, or are not there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use chrono::Duration;
use platform::client::eventually;
use platform::platform::free_listener;
use platform::{Platform, Service};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A mail server: says what it is told to about the next recipients, then yes, and keeps what it is given.
#[derive(Clone, Default)]
struct MailServer {
    replies: Arc<Mutex<VecDeque<&'static str>>>,
    mails: Arc<Mutex<Vec<Received>>>,
}

#[derive(Clone, Debug, Default)]
struct Received {
    user: String,
    from: String,
    to: String,
    data: String,
}

impl MailServer {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::default();
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                tokio::spawn(async move { server.talk(stream).await });
            }
        });
        (server, format!("smtp://mailer:se%20cret@{address}"))
    }

    fn say(&self, replies: &[&'static str]) {
        self.replies.lock().unwrap().extend(replies);
    }

    fn mails(&self) -> Vec<Received> {
        self.mails.lock().unwrap().clone()
    }

    async fn talk(&self, stream: TcpStream) -> Option<()> {
        let (input, mut output) = stream.into_split();
        let mut lines = BufReader::new(input).lines();
        let mut mail = Received::default();
        output.write_all(b"220 mail.example.com ESMTP\r\n").await.ok()?;
        while let Some(line) = lines.next_line().await.ok()? {
            let word = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
            let rest = line.split_once(':').map_or("", |(_, rest)| rest).to_owned();
            let reply = match word.as_str() {
                "EHLO" => "250-mail.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "AUTH" => {
                    mail.user = line.rsplit(' ').next().unwrap().to_owned();
                    "235 welcome"
                }
                "MAIL" => {
                    mail.from = rest;
                    "250 ok"
                }
                "RCPT" => {
                    mail.to = rest;
                    self.replies.lock().unwrap().pop_front().unwrap_or("250 ok")
                }
                "DATA" => {
                    output.write_all(b"354 go on\r\n").await.ok()?;
                    loop {
                        let line = lines.next_line().await.ok()??;
                        if line == "." {
                            break;
                        }
                        mail.data
                            .push_str(line.strip_prefix("..").map_or(line.as_str(), |_| &line[1..]));
                        mail.data.push('\n');
                    }
                    let next = Received {
                        user: mail.user.clone(),
                        ..Received::default()
                    };
                    self.mails
                        .lock()
                        .unwrap()
                        .push(std::mem::replace(&mut mail, next));
                    "250 taken"
                }
                "RSET" | "NOOP" => "250 ok",
                "QUIT" => "221 bye",
                _ => "502 what?",
            };
            output.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        }
        Some(())
    }
}

async fn platform_with(smtp_url: &str) -> Platform {
    Platform::builder()
        .set(Service::Auth, "SMTP_URL", smtp_url)
        .set(Service::Auth, "MAIL_FROM", "Flowlet <no-reply@flowlet.example>")
        .set(Service::Auth, "BRAND_NAME", "Sparkasse")
        .start()
        .await
        .unwrap()
}

/// The status, the attempts and the problem of the only message.
async fn message(platform: &Platform) -> (String, i32, Option<String>) {
    let sql = platform.sql().await;
    let query = "SELECT status, attempts, problem FROM auth.messages";
    let row = sql.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_gets_a_mail_that_it_can_pass_on() {
    let (server, url) = MailServer::start().await;
    let platform = platform_with(&url).await;
    platform.register("ada").await;
    let mail = eventually("the mail has come", async || server.mails().pop()).await;
    // `\0mailer\0se cret`, in base64.
    assert_eq!(mail.user, "AG1haWxlcgBzZSBjcmV0");
    assert!(mail.from.contains("<no-reply@flowlet.example>"), "{mail:?}");
    assert!(mail.to.contains("<ada@example.com>"), "{mail:?}");
    for part in [
        "From: Flowlet <no-reply@flowlet.example>",
        "Subject: Verify your e-mail for Sparkasse",
        "multipart/alternative",
        "text/html",
        "/verify-email?token=ver_",
    ] {
        assert!(mail.data.contains(part), "{part}: {}", mail.data);
    }
    eventually("it is written down as sent", async || {
        (message(&platform).await == ("sent".to_owned(), 1, None)).then_some(())
    })
    .await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_tried_again_until_it_is_taken() {
    let (server, url) = MailServer::start().await;
    server.say(&["451 try again later", "421 busy"]);
    let platform = platform_with(&url).await;
    platform.register("ada").await;
    for (attempts, problem) in [(1, "smtp_451"), (2, "smtp_421")] {
        eventually("an attempt was refused", async || {
            let expected = ("pending".to_owned(), attempts, Some(problem.to_owned()));
            (message(&platform).await == expected).then_some(())
        })
        .await;
        assert!(server.mails().is_empty());
        platform.clock.advance(Duration::seconds(15));
    }
    eventually("it has come", async || server.mails().pop()).await;
    assert_eq!(server.mails().len(), 1);
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_refused_for_good_is_not_tried_again_and_is_counted() {
    let (server, url) = MailServer::start().await;
    server.say(&["550 no such mailbox: ada@example.com"]);
    let platform = platform_with(&url).await;
    platform.register("ada").await;
    eventually("it was given up", async || {
        let expected = ("failed".to_owned(), 1, Some("smtp_550".to_owned()));
        (message(&platform).await == expected).then_some(())
    })
    .await;
    let page = platform.client_of(Service::Auth).get("/metrics").await.text;
    let series = r#"messages_total{channel="email",outcome="failed"} "#;
    let count = page.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    assert!(count.parse::<u32>().unwrap() >= 1, "{count}");
    assert!(server.mails().is_empty());
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mail_server_everything_else_goes_on_and_the_mail_waits_for_it() {
    let listener = free_listener().unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let platform = platform_with(&format!("smtp://{address}")).await;
    platform.register("ada").await;
    eventually("an attempt failed", async || {
        let expected = ("pending".to_owned(), 1, Some("smtp_connection".to_owned()));
        (message(&platform).await == expected).then_some(())
    })
    .await;
    platform.clock.advance(Duration::days(1));
    eventually("it is too late for it", async || {
        let (status, _, problem) = message(&platform).await;
        (status == "failed" && problem.as_deref() == Some("expired")).then_some(())
    })
    .await;
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_send_every_mail_once() {
    let (server, url) = MailServer::start().await;
    let platform = Platform::builder()
        .set(Service::Auth, "SMTP_URL", &url)
        .set(Service::Auth, "MAIL_FROM", "no-reply@flowlet.example")
        .replicas(2)
        .start()
        .await
        .unwrap();
    let client = platform.client();
    for number in 0..20 {
        let email = format!("user-{number}@example.com");
        let registration =
            serde_json::json!({ "email": email, "password": platform::client::PASSWORD, "name": "User" });
        client
            .post("/api/v1/auth/register", registration)
            .await
            .must_be(201);
    }
    eventually("all have come", async || {
        (server.mails().len() >= 20).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let mut recipients: Vec<String> = server.mails().into_iter().map(|mail| mail.to).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!((recipients.len(), server.mails().len()), (20, 20));
    platform.stop().await.unwrap();
}
