//! Lists: accounts, counterparties, holders, devices and addresses that are always let through (`allow`), never (`block`), or
//! watched (`watch`). They decide before the rules and the model do; an entry ends when it expires, by the database's clock, or
//! when somebody removes it, and is kept as a record.
//!
//! When several apply, `block` wins over `allow`: who blocks knows of a danger. Watching changes no decision; a posted transfer of
//! somebody who is watched becomes an alert.

pub mod handlers;
pub mod queries;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::clients::ml::{Decision, Reason};
use shared::id::{AccountId, ListEntryId, UserId};
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum List {
    Allow,
    Watch,
    Block,
}

impl List {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Watch, Self::Block];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Watch => "watch",
            Self::Block => "block",
        }
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// An account that pays.
    Account,
    /// An account that is paid.
    Counterparty,
    /// On `allow` and `block`, somebody who asks for payments; on `watch`, somebody who pays or is paid. By whatever account.
    Holder,
    /// What a payment is asked for with.
    Device,
    /// Where it is asked for from.
    Address,
}

impl SubjectKind {
    pub const ALL: [Self; 5] = [
        Self::Account,
        Self::Counterparty,
        Self::Holder,
        Self::Device,
        Self::Address,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Counterparty => "counterparty",
            Self::Holder => "holder",
            Self::Device => "device",
            Self::Address => "address",
        }
    }
}

/// What a transfer is looked up by.
pub type Subject = (SubjectKind, Uuid);

/// An entry that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub list: List,
    pub subject: Subject,
    pub reason: String,
}

impl Match {
    fn explained(&self) -> Reason {
        Reason {
            code: code(self.list),
            detail: format!(
                "the {} is on the {} list: {}",
                self.subject.0.name(),
                self.list.name(),
                self.reason
            ),
            points: 0,
        }
    }
}

/// Whether it is the word of a list that decided.
pub fn is_reason(reason: &Reason) -> bool {
    let deciding = [List::Allow, List::Block];
    deciding.iter().any(|list| reason.code == code(*list))
}

fn code(list: List) -> String {
    format!("{}_list", list.name())
}

/// What the lists say about a transfer, whatever rules and model say, and why.
pub fn verdict(matches: &[Match]) -> Option<(Decision, Reason)> {
    let strongest = matches
        .iter()
        .filter(|it| it.list != List::Watch)
        .max_by_key(|it| it.list)?;
    let decision = match strongest.list {
        List::Block => Decision::Block,
        _ => Decision::Allow,
    };
    Some((decision, strongest.explained()))
}

/// An entry, as people of staff see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ListEntryRecord {
    pub id: ListEntryId,
    pub list: List,
    pub subject_kind: SubjectKind,
    /// The id of an account or user. Of a device or address only a keyed hash is kept, and nothing is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub reason: String,
    pub added_by: UserId,
    pub added_at: DateTime<Utc>,
    /// `null`: until it is removed.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The id that clients know, of what has one.
pub fn shown_subject((kind, subject): Subject) -> Option<String> {
    match kind {
        SubjectKind::Account | SubjectKind::Counterparty => Some(AccountId::from_uuid(subject).to_string()),
        SubjectKind::Holder => Some(UserId::from_uuid(subject).to_string()),
        SubjectKind::Device | SubjectKind::Address => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(list: List) -> Match {
        Match {
            list,
            subject: (SubjectKind::Counterparty, Uuid::from_u128(7)),
            reason: "a mule".to_owned(),
        }
    }

    #[test]
    fn block_wins_over_allow_and_watching_decides_nothing() {
        let decided = |lists: &[List]| {
            let matches: Vec<Match> = lists.iter().map(|list| matched(*list)).collect();
            verdict(&matches).map(|(decision, reason)| (decision, reason.detail))
        };
        let blocked = "the counterparty is on the block list: a mule".to_owned();
        assert_eq!(
            decided(&[List::Allow, List::Block, List::Watch]),
            Some((Decision::Block, blocked))
        );
        assert_eq!(decided(&[List::Watch, List::Allow]).unwrap().0, Decision::Allow);
        assert_eq!(decided(&[List::Watch]), None);
        assert_eq!(decided(&[]), None);
    }
}
