//! What `accounts-service` asks of the ledger in `transactions-service`, and the ledger's words for a transfer.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::export::CsvRow;
use crate::http_client::{CallError, Retry};
use crate::id::{AccountId, TransferId, UserId};
use crate::page::Limit;
use crate::{Currency, Cursor, HttpClient, Page, Principal, Role};

pub const SERVICE: &str = "transactions-service";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, FromSqlRow)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// Between two accounts of the platform.
    Transfer,
    /// Money that enters over a rail.
    Deposit,
    /// Money that leaves over a rail.
    Withdrawal,
    /// What was set aside by a hold, or a part of it.
    Capture,
    /// What the payee gives back of a transfer; the payee can do so in several parts.
    Refund,
    /// A mistake undone, once and as a whole, proposed by one person of staff and approved by another.
    Reversal,
}

impl TransferKind {
    pub const ALL: [Self; 6] = [
        Self::Transfer,
        Self::Deposit,
        Self::Withdrawal,
        Self::Capture,
        Self::Refund,
        Self::Reversal,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Capture => "capture",
            Self::Refund => "refund",
            Self::Reversal => "reversal",
        }
    }

    /// Whether it tells something about how the debit account pays.
    pub fn is_paid(self) -> bool {
        matches!(self, Self::Transfer | Self::Withdrawal | Self::Capture)
    }

    /// Whether the payer asked for it just now. Money that enters, that was set aside before, or that goes back is not scored.
    pub fn is_scored(self) -> bool {
        matches!(self, Self::Transfer | Self::Withdrawal)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, FromSqlRow)]
#[serde(rename_all = "snake_case")]
pub enum TransferStatus {
    /// The money moved.
    Posted,
    /// The money is held and a person decides.
    InReview,
    /// Nothing moved, for `rejection_code`.
    Rejected,
}

impl TransferStatus {
    pub const ALL: [Self; 3] = [Self::Posted, Self::InReview, Self::Rejected];

    pub fn word(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::InReview => "in_review",
            Self::Rejected => "rejected",
        }
    }
}

impl FromSql<Text, Pg> for TransferKind {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let word = <String as FromSql<Text, Pg>>::from_sql(value)?;
        let kind = Self::ALL.into_iter().find(|kind| kind.word() == word);
        Ok(kind.ok_or("not a kind of transfer")?)
    }
}

impl FromSql<Text, Pg> for TransferStatus {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let word = <String as FromSql<Text, Pg>>::from_sql(value)?;
        let status = Self::ALL.into_iter().find(|status| status.word() == word);
        Ok(status.ok_or("not a status of a transfer")?)
    }
}

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
    /// `None`: the service by itself, to repair what is out of step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
}

/// Who wants a change, for the audit log. The services know each other by their tokens, and believe this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    #[serde(rename = "changed_by")]
    pub user_id: UserId,
    pub roles: Vec<Role>,
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self {
            user_id: principal.user_id,
            roles: principal.roles.clone(),
        }
    }
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

/// How much the holder may take out of an account, in its minor units. `null` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of one transfer, withdrawal or hold.
    #[schema(required, minimum = 0, maximum = 9007199254740991_i64, example = 100000)]
    pub per_transfer: Option<i64>,
    /// Of what is posted on a day (UTC), with all that is held.
    #[schema(required, minimum = 0, maximum = 9007199254740991_i64, example = 500000)]
    pub daily: Option<i64>,
    /// The same of a month.
    #[schema(required, minimum = 0, maximum = 9007199254740991_i64, example = 2000000)]
    pub monthly: Option<i64>,
}

/// `PUT /internal/ledger-accounts/{account_id}/limits`: replaces them, under the account's lock, with an entry in the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetLimits {
    pub limits: Limits,
    pub reason: String,
    #[serde(flatten)]
    pub actor: Actor,
}

/// An account's limits, and what counts against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitUse {
    pub limits: Limits,
    /// Minor units that transfers, withdrawals and captures took today (UTC).
    #[schema(example = 25000)]
    pub spent_today: i64,
    /// The same of this month.
    #[schema(example = 120000)]
    pub spent_this_month: i64,
    /// Minor units that are held; they count against both.
    #[schema(example = 5000)]
    pub held: i64,
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

impl Direction {
    pub fn word(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }
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

/// The query of `GET /internal/ledger-accounts/{account_id}/postings`, and of what clients ask of `accounts-service`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListPostings {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    pub limit: Limit,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub after: Option<Cursor<i64>>,
    pub direction: Option<Direction>,
    /// Only those booked at this moment (RFC 3339) or later.
    #[serde(default, deserialize_with = "crate::clock::moment")]
    pub posted_from: Option<DateTime<Utc>>,
    /// Only those booked before this moment.
    #[serde(default, deserialize_with = "crate::clock::moment")]
    pub posted_before: Option<DateTime<Utc>>,
}

impl ListPostings {
    fn query(&self) -> String {
        let after = self.after.map(|it| format!("&after={it}"));
        let direction = self.direction.map(|it| format!("&direction={}", it.word()));
        let from = self.posted_from.map(|it| format!("&posted_from={}", moment(it)));
        let before = self
            .posted_before
            .map(|it| format!("&posted_before={}", moment(it)));
        let optional = [after, direction, from, before].map(Option::unwrap_or_default);
        format!("limit={}{}", self.limit.get(), optional.concat())
    }
}

/// As the database keeps it, and with nothing in it that a URL would have to escape.
fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The query of `GET /internal/ledger-accounts/{account_id}/balance`, and of what clients ask of `accounts-service`.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AskBalance {
    /// A moment (RFC 3339) that is not in the future; now unless told.
    #[serde(default, deserialize_with = "crate::clock::moment")]
    pub as_of: Option<DateTime<Utc>>,
}

/// What was booked on an account up to a moment. This never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalanceAt {
    pub account_id: AccountId,
    pub currency: Currency,
    pub as_of: DateTime<Utc>,
    /// Minor units: the sum of all postings that are dated `as_of` or earlier.
    #[schema(example = 100_000)]
    pub posted: i64,
}

impl CsvRow for Posting {
    const NAMES: &'static [&'static str] = &[
        "account_id",
        "transfer_id",
        "sequence",
        "direction",
        "amount",
        "currency",
        "balance_after",
        "posted_at",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.account_id.to_string(),
            self.transfer_id.to_string(),
            self.sequence.to_string(),
            self.direction.word().to_owned(),
            self.amount.to_string(),
            self.currency.to_string(),
            self.balance_after.to_string(),
            moment(self.posted_at),
        ]
    }
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
        command: &SetLedgerStatus,
    ) -> Result<LedgerAccount, CallError> {
        self.http
            .put(&format!("/internal/ledger-accounts/{account_id}/status"), command)
            .await
    }

    pub async fn limits(&self, account_id: AccountId) -> Result<LimitUse, CallError> {
        self.http
            .get(&format!("/internal/ledger-accounts/{account_id}/limits"))
            .await
    }

    pub async fn set_limits(&self, account_id: AccountId, limits: &SetLimits) -> Result<LimitUse, CallError> {
        self.http
            .put(&format!("/internal/ledger-accounts/{account_id}/limits"), limits)
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

    /// Newest first.
    pub async fn postings(
        &self,
        account_id: AccountId,
        asked: &ListPostings,
    ) -> Result<Page<Posting>, CallError> {
        let query = asked.query();
        self.http
            .get(&format!(
                "/internal/ledger-accounts/{account_id}/postings?{query}"
            ))
            .await
    }

    /// Now, unless told.
    pub async fn balance(
        &self,
        account_id: AccountId,
        as_of: Option<DateTime<Utc>>,
    ) -> Result<BalanceAt, CallError> {
        let query = as_of
            .map(|it| format!("?as_of={}", moment(it)))
            .unwrap_or_default();
        self.http
            .get(&format!("/internal/ledger-accounts/{account_id}/balance{query}"))
            .await
    }
}
