//! One attempt: the request, and what the answer means.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use shared::http_client::outward_connection_pool;
use shared::{ApiError, Clock};

use super::Webhooks;
use super::leases::{Due, Leased};
use crate::event::{Event, EventType};
use crate::webhook::secret::{Secret, signatures};
use crate::webhook::target::TargetError;
use crate::webhook::{Attempt, DeliveryStatus, Fault, TEST_TYPE, retry_after_s};

const TIMEOUT: Duration = Duration::from_secs(15);
/// How much of an answer is read.
const MAX_ANSWER_BYTES: usize = 4096;
/// How much of it is kept, for the owner to see.
const SHOWN_CHARACTERS: usize = 256;

pub struct Sender {
    client: Client,
    clock: Clock,
    webhooks: Webhooks,
}

/// What came of an attempt.
pub struct Sent {
    pub attempt: Attempt,
    pub status: DeliveryStatus,
    /// When to try again, of one that is still pending.
    pub retry_after_s: Option<u32>,
    /// The receiver says that it is gone for good.
    pub gone: bool,
}

impl Sent {
    pub fn outcome(&self) -> &'static str {
        match self.status {
            DeliveryStatus::Pending => "retried",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Failed => "failed",
        }
    }
}

/// What a receiver answered, or why it did not.
enum Answer {
    Given {
        status: StatusCode,
        retry_after_s: Option<u32>,
        body: String,
    },
    None(&'static str),
}

impl Sender {
    pub fn new(clock: Clock, webhooks: Webhooks) -> anyhow::Result<Self> {
        Ok(Self {
            client: outward_connection_pool(TIMEOUT, webhooks.reach)?,
            clock,
            webhooks,
        })
    }

    pub async fn send(&self, endpoint: &Leased, due: &Due) -> Result<Sent, ApiError> {
        let secrets = self.secrets(endpoint)?;
        let body = body_of(due)?;
        let (started, at) = (Instant::now(), self.clock.now());
        let answer = self.post(endpoint, due, &secrets, &body).await?;
        if self.webhooks.sandbox_faults && endpoint.has(Fault::Duplicate) {
            self.post(endpoint, due, &secrets, &body).await?;
        }
        let duration = started.elapsed();
        metrics::histogram!("webhook_delivery_duration_seconds").record(duration);
        let attempt = Attempt {
            at,
            duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
            status: None,
            error: None,
            response: None,
        };
        let attempts = usize::try_from(due.attempted)
            .unwrap_or_default()
            .saturating_add(1);
        Ok(judge(attempt, answer, attempts))
    }

    fn secrets(&self, endpoint: &Leased) -> Result<Vec<Secret>, ApiError> {
        let encrypted = [Some(&endpoint.secret), endpoint.previous_secret.as_ref()];
        let decrypt = |secret| Secret::decrypt(&self.webhooks.keys, endpoint.id, secret);
        encrypted.into_iter().flatten().map(decrypt).collect()
    }

    async fn post(
        &self,
        endpoint: &Leased,
        due: &Due,
        secrets: &[Secret],
        body: &str,
    ) -> Result<Answer, ApiError> {
        // The rules may have changed since it was registered, and the resolver sees names only.
        let Ok(url) = self.webhooks.reach.parse(&endpoint.url) else {
            return Ok(Answer::None(REFUSED));
        };
        let (id, timestamp) = (due.event_id.to_string(), self.clock.now().timestamp());
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("user-agent", "Flowlet-Webhooks")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures(secrets, &id, timestamp, body)?)
            .body(body.to_owned());
        Ok(match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Answer::None(reason_of(&error)),
        })
    }
}

const REFUSED: &str = "the URL does not lead to a public address";

fn reason_of(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(it) = cause {
        match it.downcast_ref::<TargetError>() {
            Some(TargetError::Unknown) => return "the host cannot be found",
            Some(_) => return REFUSED,
            None => cause = it.source(),
        }
    }
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    }
}

/// The answer, with the beginning of its body. One that does not end counts as late.
async fn read(mut response: Response) -> Answer {
    let status = response.status();
    let retry_after_s = response
        .headers()
        .get(RETRY_AFTER)
        .filter(|_| matches!(status.as_u16(), 429 | 503))
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend(chunk.iter().take(MAX_ANSWER_BYTES)),
            Ok(None) => break,
            Err(error) => return Answer::None(reason_of(&error)),
        }
    }
    Answer::Given {
        status,
        retry_after_s,
        body: excerpt(&body),
    }
}

/// Printable text only: it is written to the database and shown.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let printable = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    printable
        .take(SHOWN_CHARACTERS)
        .collect::<String>()
        .trim()
        .to_owned()
}

fn judge(mut attempt: Attempt, answer: Answer, attempts: usize) -> Sent {
    let (mut asked_for, mut delivered, mut gone) = (None, false, false);
    match answer {
        Answer::None(reason) => attempt.error = Some(reason.to_owned()),
        Answer::Given {
            status,
            retry_after_s,
            body,
        } => {
            (asked_for, delivered, gone) = (retry_after_s, status.is_success(), status == StatusCode::GONE);
            attempt.status = Some(status.as_u16());
            attempt.response = Some(body).filter(|body| !body.is_empty());
            if status.is_redirection() {
                attempt.error = Some("redirects are not followed".to_owned());
            } else if !delivered {
                attempt.error = Some("not a 2xx".to_owned());
            }
        }
    }
    let again = retry_after_s(attempts, asked_for).filter(|_| !delivered && !gone);
    Sent {
        attempt,
        status: match (delivered, again) {
            (true, _) => DeliveryStatus::Delivered,
            (false, Some(_)) => DeliveryStatus::Pending,
            (false, None) => DeliveryStatus::Failed,
        },
        retry_after_s: again,
        gone,
    }
}

/// What is sent: the event as `GET /api/v1/events` shows it.
fn body_of(due: &Due) -> Result<String, ApiError> {
    let body = match (&due.payload, due.account_id, due.account_sequence) {
        (Some(data), Some(account_id), Some(account_sequence)) => {
            let kind = EventType::of_word(&due.kind);
            let event = Event {
                id: due.event_id,
                kind: kind
                    .ok_or_else(|| ApiError::internal(anyhow::anyhow!("there is no type {}", due.kind)))?,
                created_at: due.created_at,
                account_id,
                account_sequence,
                data: data.clone(),
            };
            serde_json::to_value(event).map_err(ApiError::internal)?
        }
        _ => {
            json!({ "id": due.event_id, "type": TEST_TYPE, "created_at": due.created_at, "data": Value::Object(Default::default()) })
        }
    };
    Ok(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: Answer, attempts: usize) -> (DeliveryStatus, Option<u32>, bool) {
        let attempt = Attempt {
            at: Clock::system().now(),
            duration_ms: 1,
            status: None,
            error: None,
            response: None,
        };
        let sent = judge(attempt, answer, attempts);
        assert_eq!(
            sent.attempt.error.is_none(),
            sent.status == DeliveryStatus::Delivered
        );
        (sent.status, sent.retry_after_s, sent.gone)
    }

    #[test]
    fn only_a_2xx_is_a_delivery_and_only_a_410_is_the_end() {
        use DeliveryStatus::{Delivered, Failed, Pending};
        let given = |status, retry_after_s| Answer::Given {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after_s,
            body: String::new(),
        };
        for (answer, attempts, expected) in [
            (given(200, None), 1, (Delivered, None, false)),
            (given(204, None), 10, (Delivered, None, false)),
            (given(301, None), 1, (Pending, Some(5), false)),
            (given(404, None), 1, (Pending, Some(5), false)),
            (given(410, None), 1, (Failed, None, true)),
            (given(500, None), 2, (Pending, Some(300), false)),
            (given(503, Some(60)), 1, (Pending, Some(60), false)),
            (given(500, None), 10, (Failed, None, false)),
            (Answer::None("late"), 9, (Pending, Some(24 * 3600), false)),
            (Answer::None("late"), 10, (Failed, None, false)),
        ] {
            assert_eq!(judged(answer, attempts), expected);
        }
    }

    #[test]
    fn of_an_answer_a_little_is_kept_and_nothing_that_harms() {
        assert_eq!(
            excerpt(b"\0<h1>\n no \x1b[31m</h1>\xff"),
            "<h1>  no  [31m</h1>\u{fffd}"
        );
        assert_eq!(excerpt(&[b'x'; 5000]).len(), SHOWN_CHARACTERS);
    }
}
