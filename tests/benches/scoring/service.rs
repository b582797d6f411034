//! ml-service by itself on a PostgreSQL of its own, with the past of all accounts told to it.

use chrono::{DateTime, TimeDelta, Utc};
use ml_service::feature::{Event, Key};
use platform::load::{Caller, expect};
use platform::postgres::Durability;
use platform::processor_time::ProcessorTime;
use platform::{Platform, Service};
use shared::clients::ml::{Fact, FactBatch, MlClient, Position, ScoreBatch, ScoreRequest};
use shared::clients::transactions::{self, TransferKind, TransferStatus};
use shared::id::{AccountId, TransferId};
use shared::{Currency, HttpClient, Origin, ServiceTokens};
use uuid::Uuid;

use super::payments::Payments;

const FACTS: usize = 1_024;

pub struct MlService {
    platform: Platform,
    tokens: ServiceTokens,
    currency: Currency,
    pub url: &'static str,
}

impl MlService {
    pub async fn start(payments: &Payments) -> anyhow::Result<Self> {
        let platform = Platform::builder()
            .processes(env!("CARGO_BIN_EXE_dev"))
            .own_server(Durability::Durable)
            .production_settings()
            .without(Service::Auth)
            .without(Service::Transactions)
            .without(Service::Accounts)
            .without(Service::Gateway)
            .start()
            .await?;
        let secret = platform.server.secrets.service_secret.as_str();
        let tokens = ServiceTokens::new(transactions::SERVICE, &[secret.into()], platform.clock.clone())?;
        // One address for as long as the program runs.
        let url = platform.url(Service::Ml).leak();
        let service = Self {
            platform,
            tokens,
            currency: "USD".parse()?,
            url,
        };
        service.tell(payments).await?;
        Ok(service)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.platform.stop().await
    }

    async fn tell(&self, payments: &Payments) -> anyhow::Result<()> {
        eprintln!("telling ml-service the past …");
        let http = HttpClient::new(
            transactions::SERVICE,
            "ml-service",
            self.url,
            Some(self.tokens.clone()),
        )?;
        let client = MlClient::new(http);
        let last_at = payments.all().map(|event| event.at).max().unwrap_or_default();
        let later = self.platform.clock.now() - DateTime::from_timestamp(last_at, 0).unwrap_or_default();
        let facts: Vec<Fact> = payments
            .all()
            .map(|event| fact(event, later, self.currency))
            .collect();
        let mut after = client.told_up_to().await?.position;
        for facts in facts.chunks(FACTS) {
            let next = Position {
                xid: after.xid + 1,
                sequence: after.sequence + 1,
            };
            let batch = FactBatch {
                after,
                next,
                facts: facts.to_vec(),
            };
            after = client.tell(&batch).await?.position;
            anyhow::ensure!(after == next, "the facts were not taken in");
        }
        self.platform.sql().await.batch_execute("VACUUM ANALYZE").await?;
        Ok(())
    }

    /// Transfers that were never asked about, of accounts that are known.
    pub fn caller(&self, payments: Payments, number: usize, batch: usize) -> anyhow::Result<Caller> {
        let token = self.tokens.issue("ml-service")?;
        let (clock, currency) = (self.platform.clock.clone(), self.currency);
        let mut turn = number * 1_000;
        Ok(Box::new(move |answer| {
            answer.map_or(Ok(()), |answer| expect(answer, "\"decision\""))?;
            let transfers =
                (0..batch).map(|place| request(payments.turn(turn + place), clock.now(), currency));
            let body = serde_json::to_string(&ScoreBatch {
                transfers: transfers.collect(),
                dry_run: false,
            })?;
            turn += batch;
            Ok(Some(format!(
                "POST /internal/scores HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )))
        }))
    }

    pub fn processor_s(&self) -> anyhow::Result<(f64, f64)> {
        let now = ProcessorTime::now(&self.platform)?;
        let own = now.services_s.get(&Service::Ml).copied();
        Ok((own.unwrap_or_default(), now.postgresql_s))
    }
}

fn account(key: Key) -> AccountId {
    AccountId::from_uuid(Uuid::from_u128(key.0))
}

fn fact(event: &Event, later: TimeDelta, currency: Currency) -> Fact {
    Fact {
        transfer_id: TransferId::new(),
        status: TransferStatus::Posted,
        kind: TransferKind::Transfer,
        original_transfer_id: None,
        debit_account_id: account(event.account),
        credit_account_id: account(event.counterparty),
        debit_holder_id: None,
        credit_holder_id: None,
        amount: event.amount,
        currency,
        description: None,
        code: None,
        decided_by: None,
        at: DateTime::from_timestamp(event.at, 0).unwrap_or_default() + later,
    }
}

fn request(event: &Event, now: DateTime<Utc>, currency: Currency) -> ScoreRequest {
    ScoreRequest {
        transfer_id: TransferId::new(),
        debit_account_id: account(event.account),
        credit_account_id: account(event.counterparty),
        amount: event.amount,
        currency,
        requested_at: now,
        kind: Some(TransferKind::Transfer),
        initiated_by: None,
        origin: Some(Origin {
            device: event.device.map(|key| format!("device-{}", key.0)),
            address: None,
        }),
    }
}
