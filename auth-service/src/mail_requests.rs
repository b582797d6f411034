//! Asking for a mail without being logged in. The same steps, answer and time whether or not there is such a user: both are
//! queued, and who it is for is looked up when it is sent.

use actix_web::HttpResponse;
use chrono::Duration;
use serde::Serialize;
use shared::ApiError;
use shared::id::MessageId;
use utoipa::ToSchema;

use crate::field_keys;
use crate::messages::{self, Channel, Content};
use crate::one_time_tokens::Purpose;
use crate::sessions::Client;
use crate::state::AppState;
use crate::throttles::{self, Limit};
use crate::users::Email;

/// So that nobody is flooded with our mail.
const PER_RECIPIENT: Limit = Limit {
    name: "mail to recipient",
    uses: 6,
    window: Duration::hours(1),
};
/// So that nobody floods others. An office may be behind one address.
const PER_ADDRESS: Limit = Limit {
    name: "mail from address",
    uses: 60,
    window: Duration::hours(1),
};

/// That a mail was asked for; not whether anybody gets it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailRequested {
    /// Seconds for which what is in the mail works.
    #[schema(example = 3600)]
    pub expires_in: i64,
}

impl MailRequested {
    pub fn answer(purpose: Purpose) -> HttpResponse {
        HttpResponse::Accepted().json(Self {
            expires_in: purpose.lifetime().num_seconds(),
        })
    }
}

/// Queues a mail to whoever has `email`.
pub async fn queue(
    state: &AppState,
    client: &Client,
    email: &Email,
    content: &Content,
) -> Result<MessageId, ApiError> {
    let now = state.clock.now();
    let address = client.ip.as_deref().unwrap_or_default();
    {
        // Not in the transaction: a refusal must not take the count back.
        let mut connection = state.db.connection().await?;
        let keys = &state.field_keys;
        throttles::admit(&mut connection, keys, PER_ADDRESS, address, now).await?;
        throttles::admit(&mut connection, keys, PER_RECIPIENT, email.as_str(), now).await?;
    }
    state
        .db
        .transaction("request_mail", async |connection| {
            let protection = field_keys::queries::begin_writing(connection, &state.field_keys).await?;
            let recipient = email.as_str();
            messages::queries::queue(connection, &protection, Channel::Email, recipient, content, now).await
        })
        .await
}
