//! What `accounts-service` asks of the ledger in `transactions-service`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http_client::{CallError, Retry};
use crate::id::{AccountId, TransferId, UserId};
use crate::{Currency, HttpClient, Page};

pub const SERVICE: &str = "transactions-service";

/// Whether an account may send and receive. Closed is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerStatus {
    Open,
    Frozen,
    Closed,
}

/// `PUT /internal/ledger-accounts/{account_id}`: opens it, or finds it open with the same holder and currency.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenLedgerAccount {
    pub holder_id: UserId,
    pub currency: Currency,
}

/// `PUT /internal/ledger-accounts/{account_id}/status`: decided under the account's lock. Closing an account that has a
/// balance or a hold is refused with 422 `account_not_empty`; leaving `closed`, with 422 `account_closed`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetLedgerStatus {
    pub status: LedgerStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerAccount {
    pub account_id: AccountId,
    pub holder_id: Option<UserId>,
    pub currency: Currency,
    pub status: LedgerStatus,
    /// Minor units, like `held` and `available`.
    pub posted: i64,
    pub held: i64,
    /// `posted − held`.
    pub available: i64,
}

/// `POST /internal/ledger-accounts/query`: at most 1,000 ids; unknown ones are left out of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryLedgerAccounts {
    pub account_ids: Vec<AccountId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerAccounts {
    pub accounts: Vec<LedgerAccount>,
}

/// From the account's point of view: a credit brings money in, a debit takes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Debit,
    Credit,
}

/// One leg of a transfer, as it stands in an account forever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Posting {
    pub account_id: AccountId,
    pub transfer_id: TransferId,
    /// 1, 2, 3 … within the account, without a gap.
    pub sequence: i64,
    pub direction: Direction,
    /// Minor units, positive.
    #[schema(example = 1050)]
    pub amount: i64,
    pub currency: Currency,
    /// The account's posted balance after it, in minor units.
    pub balance_after: i64,
    pub posted_at: DateTime<Utc>,
}

#[derive(Clone)]
pub struct TransactionsClient {
    http: HttpClient,
}

impl TransactionsClient {
    pub fn new(http: HttpClient) -> Self {
        Self { http }
    }

    pub async fn open(
        &self,
        account_id: AccountId,
        account: &OpenLedgerAccount,
    ) -> Result<LedgerAccount, CallError> {
        self.http
            .put(&format!("/internal/ledger-accounts/{account_id}"), account)
            .await
    }

    pub async fn set_status(
        &self,
        account_id: AccountId,
        status: LedgerStatus,
    ) -> Result<LedgerAccount, CallError> {
        self.http
            .put(
                &format!("/internal/ledger-accounts/{account_id}/status"),
                &SetLedgerStatus { status },
            )
            .await
    }

    /// The accounts that the ledger knows, by id.
    pub async fn accounts(
        &self,
        account_ids: Vec<AccountId>,
    ) -> Result<HashMap<AccountId, LedgerAccount>, CallError> {
        let query = QueryLedgerAccounts { account_ids };
        let found: LedgerAccounts = self
            .http
            .post("/internal/ledger-accounts/query", &query, Retry::Idempotent)
            .await?;
        Ok(found
            .accounts
            .into_iter()
            .map(|account| (account.account_id, account))
            .collect())
    }

    /// Newest first. `query` is the rest of the URL as the client sent it: `limit` and `after`.
    pub async fn postings(&self, account_id: AccountId, query: &str) -> Result<Page<Posting>, CallError> {
        self.http
            .get(&format!(
                "/internal/ledger-accounts/{account_id}/postings?{query}"
            ))
            .await
    }
}
