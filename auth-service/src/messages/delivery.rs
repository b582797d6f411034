//! Sends what is queued. Any replica takes a message for a while (a lease) and writes down what became of it; one that dies
//! in between has it sent a second time, under the same id.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use shared::{ApiError, Clock, Db, FieldKeys};
use tokio_util::sync::CancellationToken;

use super::carrier::{Failure, Parcel};
use super::letter::Letter;
use super::queries::{self, Taken};
use super::{Carriers, Channel, Content, LinkTarget, Links};
use crate::one_time_tokens::{self, Purpose};
use crate::telemetry::{MessageOutcome, messages_ended};

const PAUSE: Duration = Duration::from_millis(200);
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How many are sent at once.
const AT_ONCE: usize = 8;

/// Seconds to wait after the first, second, … attempt; after all further ones, the longest.
const DELAYS_S: [i64; 7] = [5, 15, 60, 300, 900, 1800, LONGEST_DELAY_S];
const LONGEST_DELAY_S: i64 = 3600;

/// What sending needs.
pub struct Delivery {
    pub db: Db,
    pub clock: Clock,
    pub field_keys: FieldKeys,
    pub carriers: Carriers,
    pub links: Links,
    pub brand: String,
}

/// Sends until `shutdown`; what is under way then is finished.
pub async fn run(delivery: Delivery, shutdown: CancellationToken) {
    let mut measured: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        let pause = match delivery.send_due().await {
            Ok(AT_ONCE) => Duration::ZERO,
            Ok(_) => PAUSE,
            Err(error) => {
                tracing::warn!(%error, "messages wait for better times");
                TROUBLE_PAUSE
            }
        };
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            delivery.measure().await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

impl Delivery {
    async fn send_due(&self) -> Result<usize, ApiError> {
        let limit = i64::try_from(AT_ONCE).unwrap_or(1);
        let taken = {
            let mut connection = self.db.connection().await?;
            queries::take(&mut connection, limit, self.clock.now()).await?
        };
        let count = taken.len();
        stream::iter(taken)
            .for_each_concurrent(AT_ONCE, async |message| {
                if let Err(error) = self.send(&message).await {
                    tracing::warn!(error = %error, message = %message.id, "a message is sent again later");
                }
            })
            .await;
        Ok(count)
    }

    async fn send(&self, message: &Taken) -> Result<(), ApiError> {
        if message.expires_at <= self.clock.now() {
            return self.end(message, MessageOutcome::Failed, Some("expired")).await;
        }
        let recipient = message.recipient(&self.field_keys).map_err(ApiError::internal)?;
        let content = message.content(&self.field_keys).map_err(ApiError::internal)?;
        let channel = message.channel().map_err(ApiError::internal)?;
        let Some(letter) = self.letter(&content, &recipient).await? else {
            return self.end(message, MessageOutcome::Dropped, None).await;
        };
        let parcel = Parcel {
            id: message.id.uuid(),
            kind: &message.kind,
            recipient: &recipient,
            letter: &letter,
        };
        match self.carriers.carry(channel, &parcel).await {
            Ok(()) => self.end(message, MessageOutcome::Sent, None).await,
            Err(Failure::Permanent(problem)) => self.give_up(message, channel, &problem).await,
            Err(Failure::Temporary(problem)) => self.try_later(message, channel, &problem).await,
        }
    }

    /// The words; `None` when there is nobody to write to.
    async fn letter(&self, content: &Content, recipient: &str) -> Result<Option<Letter>, ApiError> {
        let brand = &self.brand;
        let token = async |purpose| self.new_token(purpose, recipient).await;
        let link = |target: &LinkTarget, page, token: &str| self.links.link(target, page, token);
        Ok(match content {
            Content::EmailVerification => token(Purpose::EmailVerification).await?.map(|token| {
                Letter::email_verification(brand, link(&LinkTarget::default(), "/verify-email", &token))
            }),
            Content::PasswordReset { target } => token(Purpose::PasswordReset)
                .await?
                .map(|token| Letter::password_reset(brand, link(target, "/reset-password", &token))),
            Content::LoginLink { target } => token(Purpose::LoginLink)
                .await?
                .map(|token| Letter::login_link(brand, link(target, "/login", &token))),
            Content::LoginCode { request } => {
                let code = self.new_code(request, recipient).await?;
                code.map(|code| Letter::code(brand, &code))
            }
            Content::Code { code } => Some(Letter::code(brand, code)),
            Content::PasswordChanged => Some(Letter::password_changed(brand)),
            Content::EmailChanged => Some(Letter::email_changed(brand)),
            Content::BreachedPassword => Some(Letter::breached_password(brand)),
            Content::LoginAdded { provider } => Some(Letter::login_added(brand, provider)),
        })
    }

    async fn new_token(&self, purpose: Purpose, email: &str) -> Result<Option<String>, ApiError> {
        let mut connection = self.db.connection().await?;
        one_time_tokens::issue(
            &mut connection,
            &self.field_keys,
            purpose,
            email,
            self.clock.now(),
        )
        .await
    }

    async fn new_code(&self, request: &str, email: &str) -> Result<Option<String>, ApiError> {
        let mut connection = self.db.connection().await?;
        one_time_tokens::issue_code(
            &mut connection,
            &self.field_keys,
            request,
            email,
            self.clock.now(),
        )
        .await
    }

    async fn try_later(&self, message: &Taken, channel: Channel, problem: &str) -> Result<(), ApiError> {
        let at = self.clock.now() + delay(message.attempts);
        if at >= message.expires_at {
            return self.give_up(message, channel, problem).await;
        }
        messages_ended(channel, MessageOutcome::Retried).increment(1);
        tracing::warn!(message = %message.id, kind = message.kind, problem, "a message was not taken over");
        let mut connection = self.db.connection().await?;
        queries::postpone(&mut connection, message.id, problem, at).await?;
        Ok(())
    }

    async fn give_up(&self, message: &Taken, channel: Channel, problem: &str) -> Result<(), ApiError> {
        let channel = channel.name();
        tracing::error!(message = %message.id, kind = message.kind, channel, problem, "a message is not sent");
        self.end(message, MessageOutcome::Failed, Some(problem)).await
    }

    async fn end(
        &self,
        message: &Taken,
        outcome: MessageOutcome,
        problem: Option<&str>,
    ) -> Result<(), ApiError> {
        let mut connection = self.db.connection().await?;
        let (status, now) = (outcome.name(), self.clock.now());
        queries::end(&mut connection, message.id, status, problem, now).await?;
        if let Ok(channel) = message.channel() {
            messages_ended(channel, outcome).increment(1);
        }
        Ok(())
    }

    async fn measure(&self) {
        let measured = async {
            let mut connection = self.db.connection().await?;
            Ok::<_, ApiError>(queries::measure(&mut connection, self.clock.now()).await?)
        };
        match measured.await {
            Ok(backlog) => {
                metrics::gauge!("messages_pending").set(u32::try_from(backlog.pending).unwrap_or(u32::MAX));
                metrics::gauge!("messages_lag_seconds").set(backlog.lag_s);
            }
            Err(error) => tracing::debug!(%error, "the messages cannot be measured"),
        }
    }
}

/// How long to wait after so many attempts.
fn delay(attempts: i32) -> chrono::Duration {
    let index = usize::try_from(attempts).unwrap_or_default().saturating_sub(1);
    chrono::Duration::seconds(*DELAYS_S.get(index).unwrap_or(&LONGEST_DELAY_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer() {
        let delays: Vec<i64> = (1..9).map(|attempts| delay(attempts).num_seconds()).collect();
        assert_eq!(delays, [5, 15, 60, 300, 900, 1800, 3600, 3600]);
    }
}
