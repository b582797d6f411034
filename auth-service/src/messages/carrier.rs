//! Who takes messages over: a mail server by SMTP, a gateway for text messages by HTTP, or a directory for developers and
//! tests, where each becomes a file.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use shared::config::{Env, is_loopback};
use shared::http_client::connection_pool;
use uuid::Uuid;

use super::Channel;
use super::letter::Letter;

/// Shorter than the time after which another replica takes a message for abandoned.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a message was not taken over; the problem is a code without anybody's words in it.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Worth another attempt.
    Temporary(String),
    /// The next attempt would fare the same.
    Permanent(String),
}

/// A message in the hands of a carrier.
pub struct Parcel<'m> {
    pub id: Uuid,
    pub kind: &'m str,
    pub recipient: &'m str,
    pub letter: &'m Letter,
}

pub trait Carrier: Send + Sync {
    fn carry<'m>(&'m self, parcel: &'m Parcel<'m>) -> BoxFuture<'m, Result<(), Failure>>;
}

#[derive(Clone, Debug)]
pub enum CarrierConfig {
    Directory(PathBuf),
    Network {
        smtp_url: SecretString,
        from: Mailbox,
        sms: Option<SmsConfig>,
    },
}

#[derive(Clone, Debug)]
pub struct SmsConfig {
    url: Url,
    token: SecretString,
}

impl CarrierConfig {
    pub fn from_env(env: &mut Env) -> Self {
        let directory: Option<PathBuf> = env.optional("MESSAGE_DIRECTORY");
        let smtp_url: Option<String> = env.optional("SMTP_URL");
        let from: Option<Mailbox> = env.optional("MAIL_FROM");
        let sms = SmsConfig::from_env(env);
        if let Some(directory) = directory {
            env.refuse_in_production(
                "MESSAGE_DIRECTORY",
                "writes mail into files instead of sending it: set SMTP_URL",
            );
            if smtp_url.is_some() || sms.is_some() {
                env.refuse("MESSAGE_DIRECTORY", "is set beside SMTP_URL or SMS_GATEWAY_URL");
            }
            return Self::Directory(directory);
        }
        if smtp_url.is_none() {
            env.refuse(
                "SMTP_URL",
                "is not set; developers may set MESSAGE_DIRECTORY instead",
            );
        }
        if from.is_none() {
            env.refuse("MAIL_FROM", "is not set");
        }
        let smtp_url = smtp_url.unwrap_or_default();
        check_smtp_url(env, &smtp_url);
        match from {
            Some(from) => Self::Network {
                smtp_url: smtp_url.into(),
                from,
                sms,
            },
            // Refused above.
            None => Self::Directory(PathBuf::new()),
        }
    }
}

fn check_smtp_url(env: &mut Env, text: &str) {
    if text.is_empty() {
        return;
    }
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(text).is_ok();
    let Some(url) = Url::parse(text).ok().filter(|_| transport) else {
        env.refuse(
            "SMTP_URL",
            "is not one such as smtps://user:password@mail.example.com or smtp://mail.example.com?tls=required",
        );
        return;
    };
    let is_encrypted = url.scheme() == "smtps" || url.query() == Some("tls=required");
    if !is_encrypted && !url.host_str().is_some_and(is_loopback) {
        env.refuse_in_production(
            "SMTP_URL",
            "sends mail in the clear: begin it with smtps, or end it with ?tls=required",
        );
    }
}

impl SmsConfig {
    fn from_env(env: &mut Env) -> Option<Self> {
        let url: Option<Url> = env.optional("SMS_GATEWAY_URL");
        let token: Option<String> = env.optional("SMS_GATEWAY_TOKEN");
        if url.is_some() != token.is_some() {
            env.refuse(
                "SMS_GATEWAY_TOKEN",
                "and SMS_GATEWAY_URL are set together or not at all",
            );
        }
        let url = url?;
        let is_encrypted = url.scheme() == "https";
        let is_local = url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
        if !is_encrypted && !is_local {
            env.refuse("SMS_GATEWAY_URL", "is not https");
        }
        Some(Self {
            url,
            token: token?.into(),
        })
    }
}

/// Who carries what.
#[derive(Clone)]
pub struct Carriers {
    mail: Arc<dyn Carrier>,
    sms: Option<Arc<dyn Carrier>>,
}

impl Carriers {
    pub fn new(config: &CarrierConfig) -> anyhow::Result<Self> {
        match config {
            CarrierConfig::Directory(path) => {
                let directory = Directory::new(path.clone())?;
                Ok(Self {
                    mail: Arc::new(directory.clone()),
                    sms: Some(Arc::new(directory)),
                })
            }
            CarrierConfig::Network { smtp_url, from, sms } => {
                let sms = sms.as_ref().map(SmsGateway::new).transpose()?;
                Ok(Self {
                    mail: Arc::new(Smtp::new(smtp_url, from.clone())?),
                    sms: sms.map(|gateway| -> Arc<dyn Carrier> { Arc::new(gateway) }),
                })
            }
        }
    }

    /// Whether messages can go this way.
    pub fn have(&self, channel: Channel) -> bool {
        self.of(channel).is_some()
    }

    fn of(&self, channel: Channel) -> Option<&Arc<dyn Carrier>> {
        match channel {
            Channel::Email => Some(&self.mail),
            Channel::Sms => self.sms.as_ref(),
        }
    }

    pub async fn carry(&self, channel: Channel, parcel: &Parcel<'_>) -> Result<(), Failure> {
        match self.of(channel) {
            Some(carrier) => carrier.carry(parcel).await,
            None => Err(Failure::Permanent("no_carrier".to_owned())),
        }
    }
}

/// Of a mail, without its end.
const MAX_LINE_BYTES: usize = 998;

/// The sender that files are written for.
const SANDBOX_SENDER: &str = "Flowlet <no-reply@flowlet.example>";

/// A mail in the form of RFC 5322. Its id is that of the message, so a mail that comes twice is shown once.
fn mail(parcel: &Parcel<'_>, from: &Mailbox) -> anyhow::Result<Message> {
    let letter = parcel.letter;
    let id = format!("<{}@{}>", parcel.id, from.email.domain());
    Ok(Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, parcel.recipient.parse()?))
        .subject(&letter.subject)
        .message_id(Some(id))
        .header(AutoSubmitted)
        .multipart(
            MultiPart::alternative()
                .singlepart(part(ContentType::TEXT_PLAIN, letter.text()?))
                .singlepart(part(ContentType::TEXT_HTML, letter.html()?)),
        )?)
}

/// As it is, where mail servers pass that on (RFC 5321, 4.5.3.1.6): a link that is broken into lines is copied in part.
fn part(content_type: ContentType, text: String) -> SinglePart {
    let is_plain = text.is_ascii() && text.lines().all(|line| line.len() < MAX_LINE_BYTES);
    let body = match is_plain {
        true => {
            let lines = text.replace('\n', "\r\n");
            Body::dangerous_pre_encoded(lines.into_bytes(), ContentTransferEncoding::SevenBit)
        }
        false => Body::new(text),
    };
    SinglePart::builder().header(content_type).body(body)
}

/// Says that a program wrote the mail, so that no other program answers it (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Smtp {
    fn new(url: &SecretString, from: Mailbox) -> anyhow::Result<Self> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret());
        // The error would quote the URL.
        let builder = builder.map_err(|_| anyhow::anyhow!("SMTP_URL cannot be used"))?;
        Ok(Self {
            transport: builder.timeout(Some(TIMEOUT)).build(),
            from,
        })
    }
}

impl Carrier for Smtp {
    fn carry<'m>(&'m self, parcel: &'m Parcel<'m>) -> BoxFuture<'m, Result<(), Failure>> {
        Box::pin(async move {
            let mail = mail(parcel, &self.from).map_err(|_| Failure::Permanent("not_a_mail".to_owned()))?;
            match tokio::time::timeout(TIMEOUT, self.transport.send(mail)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(smtp_failure(&error)),
                Err(_) => Err(Failure::Temporary("smtp_timeout".to_owned())),
            }
        })
    }
}

fn smtp_failure(error: &SmtpError) -> Failure {
    let Some(code) = error.status() else {
        let kind = if error.is_timeout() {
            "timeout"
        } else {
            "connection"
        };
        return Failure::Temporary(format!("smtp_{kind}"));
    };
    let code = u16::from(code);
    // That we are not let in is no fault of the mail.
    let is_about_us = matches!(code, 530 | 534 | 535 | 538);
    match error.is_permanent() && !is_about_us {
        true => Failure::Permanent(format!("smtp_{code}")),
        false => Failure::Temporary(format!("smtp_{code}")),
    }
}

/// `POST` of `{"id", "to", "text"}` with a bearer token: what a few lines in front of any provider's API understand.
struct SmsGateway {
    client: reqwest::Client,
    url: Url,
    token: SecretString,
}

impl SmsGateway {
    fn new(config: &SmsConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: connection_pool(TIMEOUT)?,
            url: config.url.clone(),
            token: config.token.clone(),
        })
    }
}

impl Carrier for SmsGateway {
    fn carry<'m>(&'m self, parcel: &'m Parcel<'m>) -> BoxFuture<'m, Result<(), Failure>> {
        Box::pin(async move {
            let id = parcel.id.to_string();
            let answer = self
                .client
                .post(self.url.clone())
                .bearer_auth(self.token.expose_secret())
                .header("idempotency-key", &id)
                .json(&json!({ "id": id, "to": parcel.recipient, "text": parcel.letter.short_text() }))
                .send()
                .await;
            match answer.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => Ok(()),
                // That we are not let in, or came too often, is no fault of the message.
                Ok(status)
                    if status.is_client_error()
                        && !matches!(status.as_u16(), 401 | 403 | 404 | 408 | 425 | 429) =>
                {
                    Err(Failure::Permanent(format!("sms_{}", status.as_u16())))
                }
                Ok(status) => Err(Failure::Temporary(format!("sms_{}", status.as_u16()))),
                Err(error) if error.is_timeout() => Err(Failure::Temporary("sms_timeout".to_owned())),
                Err(_) => Err(Failure::Temporary("sms_connection".to_owned())),
            }
        })
    }
}

/// Writes mail as `.eml`, which any mail program shows, and text messages as `.txt`, in the order of their names.
#[derive(Clone)]
struct Directory {
    path: PathBuf,
    from: Mailbox,
}

impl Directory {
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("MESSAGE_DIRECTORY: {}", path.display()))?;
        Ok(Self {
            path,
            from: SANDBOX_SENDER.parse()?,
        })
    }

    fn write(&self, parcel: &Parcel<'_>) -> anyhow::Result<()> {
        let is_mail = parcel.recipient.contains('@');
        let (extension, content) = match is_mail {
            true => ("eml", mail(parcel, &self.from)?.formatted()),
            false => {
                let text = format!("To: {}\n\n{}\n", parcel.recipient, parcel.letter.short_text());
                ("txt", text.into_bytes())
            }
        };
        let name = format!("{}-{}.{extension}", parcel.id, parcel.kind);
        // Whoever looks for new files never sees half of one.
        let partial = self.path.join(format!(".{name}"));
        fs::write(&partial, content)?;
        Ok(fs::rename(partial, self.path.join(name))?)
    }
}

impl Carrier for Directory {
    fn carry<'m>(&'m self, parcel: &'m Parcel<'m>) -> BoxFuture<'m, Result<(), Failure>> {
        let written = self.write(parcel).map_err(|error| {
            tracing::warn!(%error, "a message cannot be written to MESSAGE_DIRECTORY");
            Failure::Temporary("directory".to_owned())
        });
        Box::pin(std::future::ready(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(pairs: &[(&str, &str)]) -> String {
        let mut env = Env::from_pairs(pairs.iter().copied());
        CarrierConfig::from_env(&mut env);
        env.finish(())
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    const SMTP: (&str, &str) = ("SMTP_URL", "smtps://user:hunter2@mail.example.com");
    const FROM: (&str, &str) = ("MAIL_FROM", "Flowlet <no-reply@example.com>");

    #[test]
    fn production_sends_mail_over_tls_or_does_not_start() {
        assert_eq!(problems_of(&[SMTP, FROM]), "");
        assert_eq!(
            problems_of(&[("SMTP_URL", "smtp://mail.example.com?tls=required"), FROM]),
            ""
        );
        for (pairs, told) in [
            (vec![FROM], "SMTP_URL is not set"),
            (vec![SMTP], "MAIL_FROM is not set"),
            (vec![SMTP, ("MAIL_FROM", "nobody")], "MAIL_FROM cannot be read"),
            (
                vec![("SMTP_URL", "smtp://mail.example.com"), FROM],
                "sends mail in the clear",
            ),
            (
                vec![("SMTP_URL", "mail.example.com"), FROM],
                "SMTP_URL is not one",
            ),
            (
                vec![("MESSAGE_DIRECTORY", "/tmp")],
                "writes mail into files instead of sending it",
            ),
            (
                vec![SMTP, FROM, ("SMS_GATEWAY_URL", "https://sms.example.com")],
                "are set together",
            ),
            (
                vec![
                    SMTP,
                    FROM,
                    ("SMS_GATEWAY_URL", "http://sms.example.com"),
                    ("SMS_GATEWAY_TOKEN", "x"),
                ],
                "SMS_GATEWAY_URL is not https",
            ),
        ] {
            let problems = problems_of(&pairs);
            assert!(problems.contains(told), "{problems}");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
    }

    /// A gateway that answers each request with the next of these statuses, and what it was sent.
    async fn gateway(statuses: &'static [u16]) -> (Url, tokio::task::JoinHandle<Vec<String>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/messages", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let mut requests = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut request, mut piece) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"}") {
                    let read = stream.read(&mut piece).await.unwrap();
                    request.extend_from_slice(&piece[..read]);
                }
                requests.push(String::from_utf8(request).unwrap());
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        });
        (url.parse().unwrap(), answering)
    }

    #[tokio::test]
    async fn a_text_message_goes_to_the_gateway_and_its_answer_decides() {
        let (url, answering) = gateway(&[202, 400, 401, 429, 500]).await;
        let token = "token-of-ours".into();
        let gateway = SmsGateway::new(&SmsConfig { url, token }).unwrap();
        let letter = Letter::code("Flowlet", "493817");
        let parcel = Parcel {
            id: Uuid::nil(),
            kind: "code",
            recipient: "+4915112345678",
            letter: &letter,
        };
        let temporary = |problem: &str| Err(Failure::Temporary(problem.to_owned()));
        for expected in [
            Ok(()),
            Err(Failure::Permanent("sms_400".to_owned())),
            temporary("sms_401"),
            temporary("sms_429"),
            temporary("sms_500"),
        ] {
            assert_eq!(gateway.carry(&parcel).await, expected);
        }
        let requests = answering.await.unwrap();
        let request = requests.first().unwrap();
        for part in [
            "POST /messages",
            "authorization: Bearer token-of-ours",
            "idempotency-key: 00000000-0000-0000-0000-000000000000",
            r#""to":"+4915112345678""#,
            r#""text":"493817 is your code for Flowlet."#,
        ] {
            assert!(request.contains(part), "{part}: {request}");
        }
        // Nobody listens there any more.
        assert_eq!(gateway.carry(&parcel).await, temporary("sms_connection"));
    }

    #[test]
    fn a_mail_has_what_mail_servers_want() {
        let letter = Letter::password_changed("Flowlet");
        let parcel = Parcel {
            id: Uuid::nil(),
            kind: "password_changed",
            recipient: "ada@example.com",
            letter: &letter,
        };
        let mail = mail(&parcel, &SANDBOX_SENDER.parse().unwrap())
            .unwrap()
            .formatted();
        let mail = String::from_utf8(mail).unwrap();
        for header in [
            "From: Flowlet <no-reply@flowlet.example>\r\n",
            "To: ada@example.com\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Message-ID: <00000000-0000-0000-0000-000000000000@flowlet.example>\r\n",
            "Date: ",
            "Content-Type: multipart/alternative;",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Content-Type: text/html; charset=utf-8\r\n",
            "Content-Transfer-Encoding: 7bit\r\n",
        ] {
            assert!(mail.contains(header), "{header}: {mail}");
        }
    }
}
