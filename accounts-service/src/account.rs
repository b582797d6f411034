//! An account as a product: what kind, whose, in which currency, what its owner calls it, and who froze it.
//!
//! Whether money may move is the ledger's to say, so the status that clients see is the ledger's. The `status` kept here is
//! what the ledger is to be brought to: it is written first, then commanded, and repeated until it is done (`ledger`).
//! Deliberately absent: balances, which are read from the ledger and never copied.

pub mod handlers;
pub mod history;
pub mod ledger;
pub mod limits;
pub mod queries;

use std::io::Write;

use chrono::{DateTime, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::sql_types::Text;
use serde::{Deserialize, Deserializer, Serialize};
use shared::clients::transactions::{Actor, LedgerAccount, LedgerStatus};
use shared::id::{AccountId, UserId};
use shared::idempotency::IdempotencyKey;
use shared::{ApiError, Currency, Denial, Principal, Role};
use utoipa::ToSchema;

use crate::schema::accounts;

/// The most accounts that one owner may have open.
pub const MAX_OPEN_ACCOUNTS: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[diesel(sql_type = Text)]
pub enum AccountKind {
    Checking,
    Savings,
    Business,
}

/// `pending` is being opened and becomes `active` by itself; `frozen` neither sends nor receives; `closed` is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[diesel(sql_type = Text)]
pub enum AccountStatus {
    Pending,
    Active,
    Frozen,
    Closed,
}

/// Who froze an account, by ascending power: a freeze of `compliance` is not the owner's to lift.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    AsExpression,
    FromSqlRow,
)]
#[serde(rename_all = "snake_case")]
#[diesel(sql_type = Text)]
pub enum Party {
    Owner,
    Compliance,
}

/// How an enum is written in a column: in the words of the wire.
macro_rules! stored_as_text {
    ($($type:ident { $($variant:ident = $word:literal,)* })*) => {$(
        impl ToSql<Text, Pg> for $type {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
                let word = match self {
                    $(Self::$variant => $word,)*
                };
                out.write_all(word.as_bytes())?;
                Ok(IsNull::No)
            }
        }

        impl FromSql<Text, Pg> for $type {
            fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
                match <String as FromSql<Text, Pg>>::from_sql(value)?.as_str() {
                    $($word => Ok(Self::$variant),)*
                    word => Err(format!("unknown {} {word}", stringify!($type)).into()),
                }
            }
        }
    )*};
}

stored_as_text! {
    AccountKind { Checking = "checking", Savings = "savings", Business = "business", }
    AccountStatus { Pending = "pending", Active = "active", Frozen = "frozen", Closed = "closed", }
    Party { Owner = "owner", Compliance = "compliance", }
}

/// What an owner calls an account: 1 to 64 characters, trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, AsExpression)]
#[schema(value_type = String, min_length = 1, max_length = 64, example = "Holidays")]
#[diesel(sql_type = Text)]
pub struct Nickname(String);

const MAX_NICKNAME_LENGTH: usize = 64;

/// Characters that break a line, or make text around them look like something else.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl Nickname {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let length = text.chars().take(MAX_NICKNAME_LENGTH + 1).count();
        let valid = (1..=MAX_NICKNAME_LENGTH).contains(&length) && !text.contains(is_unprintable);
        valid.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Nickname {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("expected 1 to 64 characters, none of them a control character")
        })
    }
}

impl ToSql<Text, Pg> for Nickname {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        ToSql::<Text, Pg>::to_sql(&self.0, out)
    }
}

/// The account's own row.
#[derive(Clone, Debug, HasQuery, QueryableByName)]
#[diesel(table_name = accounts)]
pub struct AccountRow {
    pub id: AccountId,
    pub owner_id: UserId,
    pub kind: AccountKind,
    pub currency: Currency,
    pub nickname: Option<String>,
    /// What the ledger is to be brought to.
    pub status: AccountStatus,
    pub frozen_by: Option<Party>,
    pub retry_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// An [`Actor`]: who wants what the ledger is to be brought to. `None` once it agrees.
    pub changed_by: Option<serde_json::Value>,
}

/// A request's name, and what it asked for.
pub struct Claim {
    pub key: IdempotencyKey,
    pub fingerprint: [u8; 32],
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("the account is closed")]
    Closed,
    #[error("the account is frozen by compliance")]
    FrozenByCompliance,
    #[error("the account is not open yet")]
    Pending,
    #[error("the owner has as many open accounts as allowed")]
    TooManyAccounts,
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Closed => ApiError::unprocessable("account_closed", "The account is closed."),
            AccountError::FrozenByCompliance => ApiError::forbidden(
                "frozen_by_compliance",
                "The account was frozen by compliance. Please contact support.",
            )
            .denied(Denial::Forbidden),
            AccountError::Pending => ApiError::unavailable(
                "account_pending",
                "The account is still being opened. Try again shortly.",
            ),
            AccountError::TooManyAccounts => ApiError::unprocessable(
                "too_many_accounts",
                format!("You have {MAX_OPEN_ACCOUNTS} open accounts, which is the most. Close one first."),
            ),
        }
    }
}

impl AccountRow {
    /// As whom `principal` acts on this account. One's own account is never compliance's to oneself, and to everybody else it
    /// does not exist.
    pub fn party(&self, principal: &Principal) -> Result<Party, ApiError> {
        if principal.user_id != self.owner_id && principal.has_any(&[Role::Compliance]) {
            return Ok(Party::Compliance);
        }
        principal.require_owner(self.owner_id)?;
        Ok(Party::Owner)
    }

    /// Who wants what the ledger is to be brought to.
    pub fn actor(&self) -> Result<Option<Actor>, ApiError> {
        let actor = self.changed_by.clone().map(serde_json::from_value).transpose();
        actor.map_err(ApiError::internal)
    }

    /// The status and freezer after `by` freezes it.
    pub fn frozen(&self, by: Party) -> Result<(AccountStatus, Option<Party>), AccountError> {
        match self.status {
            AccountStatus::Pending => Err(AccountError::Pending),
            AccountStatus::Closed => Err(AccountError::Closed),
            AccountStatus::Active | AccountStatus::Frozen => {
                Ok((AccountStatus::Frozen, self.frozen_by.max(Some(by))))
            }
        }
    }

    /// The status and freezer after `by` unfreezes it.
    pub fn unfrozen(&self, by: Party) -> Result<(AccountStatus, Option<Party>), AccountError> {
        self.require_power(by)?;
        match self.status {
            AccountStatus::Pending => Err(AccountError::Pending),
            AccountStatus::Closed => Err(AccountError::Closed),
            AccountStatus::Active | AccountStatus::Frozen => Ok((AccountStatus::Active, None)),
        }
    }

    /// Refuses a party that is less powerful than the one that froze the account.
    pub fn require_power(&self, party: Party) -> Result<(), AccountError> {
        if self.frozen_by > Some(party) {
            return Err(AccountError::FrozenByCompliance);
        }
        Ok(())
    }
}

/// The status that the ledger's word means to a client.
pub fn visible_status(ledger: Option<&LedgerAccount>) -> AccountStatus {
    match ledger.map(|account| account.status) {
        None => AccountStatus::Pending,
        Some(LedgerStatus::Open) => AccountStatus::Active,
        Some(LedgerStatus::Frozen) => AccountStatus::Frozen,
        Some(LedgerStatus::Closed) => AccountStatus::Closed,
    }
}

/// Minor units of the account's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Balance {
    /// What is booked.
    #[schema(example = 100_000)]
    pub posted: i64,
    /// What is set aside for payments that are not booked yet.
    #[schema(example = 1050)]
    pub held: i64,
    /// What can be spent: `posted` less `held`.
    #[schema(example = 98_950)]
    pub available: i64,
}

/// An account of a customer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Account {
    pub id: AccountId,
    pub kind: AccountKind,
    pub currency: Currency,
    /// What its owner calls it.
    #[schema(example = "Holidays")]
    pub nickname: Option<String>,
    pub status: AccountStatus,
    /// Only while it is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_by: Option<Party>,
    pub balance: Balance,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Account {
    /// The account as clients see it. One that the ledger does not know yet is pending and empty.
    pub fn new(row: AccountRow, ledger: Option<&LedgerAccount>) -> Self {
        let status = visible_status(ledger);
        Self {
            id: row.id,
            kind: row.kind,
            currency: row.currency,
            nickname: row.nickname,
            status,
            frozen_by: row.frozen_by.filter(|_| status == AccountStatus::Frozen),
            balance: ledger.map_or_else(Balance::default, |account| Balance {
                posted: account.posted,
                held: account.held,
                available: account.available,
            }),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::id::SessionId;

    fn account(status: AccountStatus, frozen_by: Option<Party>) -> AccountRow {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        AccountRow {
            id: AccountId::new(),
            owner_id: UserId::new(),
            kind: AccountKind::Checking,
            currency: "USD".parse().unwrap(),
            nickname: None,
            status,
            frozen_by,
            retry_at: None,
            created_at: at,
            updated_at: at,
            changed_by: None,
        }
    }

    fn principal(user_id: UserId, role: Role) -> Principal {
        Principal {
            user_id,
            session_id: SessionId::new(),
            roles: vec![role],
            client_id: None,
            scopes: None,
            actor: None,
            expires_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        }
    }

    #[test]
    fn compliance_has_the_last_word_on_a_freeze() {
        use AccountStatus::{Active, Frozen};
        use Party::{Compliance, Owner};
        for (before, by, frozen, unfrozen) in [
            (
                (Active, None),
                Owner,
                Ok((Frozen, Some(Owner))),
                Ok((Active, None)),
            ),
            (
                (Active, None),
                Compliance,
                Ok((Frozen, Some(Compliance))),
                Ok((Active, None)),
            ),
            (
                (Frozen, Some(Owner)),
                Owner,
                Ok((Frozen, Some(Owner))),
                Ok((Active, None)),
            ),
            (
                (Frozen, Some(Owner)),
                Compliance,
                Ok((Frozen, Some(Compliance))),
                Ok((Active, None)),
            ),
            (
                (Frozen, Some(Compliance)),
                Owner,
                Ok((Frozen, Some(Compliance))),
                Err(AccountError::FrozenByCompliance),
            ),
            (
                (Frozen, Some(Compliance)),
                Compliance,
                Ok((Frozen, Some(Compliance))),
                Ok((Active, None)),
            ),
            (
                (AccountStatus::Closed, None),
                Compliance,
                Err(AccountError::Closed),
                Err(AccountError::Closed),
            ),
            (
                (AccountStatus::Pending, None),
                Owner,
                Err(AccountError::Pending),
                Err(AccountError::Pending),
            ),
        ] {
            let account = account(before.0, before.1);
            assert_eq!(account.frozen(by), frozen, "{before:?} {by:?}");
            assert_eq!(account.unfrozen(by), unfrozen, "{before:?} {by:?}");
        }
    }

    #[test]
    fn nobody_is_compliance_to_oneself() {
        let account = account(AccountStatus::Active, None);
        let party = |user_id, role| account.party(&principal(user_id, role)).ok();
        assert_eq!(party(account.owner_id, Role::Customer), Some(Party::Owner));
        assert_eq!(party(account.owner_id, Role::Compliance), Some(Party::Owner));
        assert_eq!(party(UserId::new(), Role::Compliance), Some(Party::Compliance));
        assert_eq!(party(UserId::new(), Role::Admin), None);
        assert_eq!(party(UserId::new(), Role::Customer), None);
    }

    #[test]
    fn a_nickname_is_short_and_printable() {
        assert_eq!(Nickname::parse("  Rent  "), Some(Nickname("Rent".to_owned())));
        assert!(Nickname::parse(&"ä".repeat(64)).is_some());
        assert!(Nickname::parse("👩‍👧 fund").is_some());
        for text in [
            "",
            "   ",
            "a\nb",
            "a\0b",
            "a\u{202e}b",
            "a\u{2028}b",
            &"ä".repeat(65),
        ] {
            assert_eq!(Nickname::parse(text), None, "{text:?}");
        }
    }
}
