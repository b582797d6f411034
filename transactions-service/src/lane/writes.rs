//! What one batch reads and writes: the rows under its locks, and the rows of each statement as arrays.

use std::collections::HashMap;

use bytestring::ByteString;
use chrono::{DateTime, Utc};
use shared::clients::ml::Decision;
use shared::clients::transactions::Direction;
use shared::id::{AccountId, EventId, HoldId, TransferId, UserId};
use shared::idempotency::IdempotencyKey;

use super::Answer;
use crate::book::{Leg, LockedHold};
use crate::idempotency_key::Claim;
use crate::ledger_account::LockedAccount;
use crate::transfer::{Description, Risk, TransferOrder, TransferRecord};

/// What the first round trip found, under locks that are held to the commit.
pub struct Opened {
    pub xid: i64,
    pub now: DateTime<Utc>,
    pub accounts: Vec<LockedAccount>,
    pub holds: HashMap<HoldId, LockedHold>,
    pub keys: HashMap<(UserId, IdempotencyKey), StoredKey>,
}

pub struct StoredKey {
    pub fingerprint: Vec<u8>,
    pub answer: Answer,
}

pub struct NewKey {
    pub claim: Claim,
    pub transfer_id: TransferId,
    pub answer: Answer,
}

pub struct NewTransfer {
    pub order: TransferOrder,
    pub record: TransferRecord,
    pub debit_holder_id: Option<UserId>,
    pub credit_holder_id: Option<UserId>,
    pub hold_id: Option<HoldId>,
    pub risk: Option<Risk>,
}

pub struct NewPosting {
    pub transfer_id: TransferId,
    pub leg: Leg,
    pub currency: &'static str,
}

pub struct NewHold {
    pub id: HoldId,
    pub account_id: AccountId,
    pub transfer_id: TransferId,
    pub amount: i64,
}

pub struct HoldChange {
    pub id: HoldId,
    pub captured: i64,
    pub released: i64,
}

pub struct ReviewOutcome {
    pub record: TransferRecord,
    pub decided_by: UserId,
}

pub struct NewEvent {
    pub id: EventId,
    pub kind: &'static str,
    pub transfer_id: TransferId,
    pub payload: ByteString,
}

/// What the second round trip writes.
#[derive(Default)]
pub struct Writes {
    pub xid: i64,
    pub keys: Vec<NewKey>,
    pub transfers: Vec<NewTransfer>,
    pub postings: Vec<NewPosting>,
    pub accounts: Vec<LockedAccount>,
    pub holds: Vec<NewHold>,
    pub hold_changes: Vec<HoldChange>,
    pub reviews: Vec<ReviewOutcome>,
    pub events: Vec<NewEvent>,
}

impl Writes {
    pub fn add_legs(&mut self, order: &TransferOrder, debit: Leg, credit: Leg) {
        let currency = order.currency.code();
        for leg in [debit, credit] {
            self.postings.push(NewPosting {
                transfer_id: order.id,
                leg,
                currency,
            });
        }
    }
}

pub type Parameter = dyn tokio_postgres::types::ToSql + Sync;

/// The rows of one statement, turned into one array per column.
pub struct Table<'a> {
    pub rows: usize,
    pub arrays: Vec<Box<dyn tokio_postgres::types::ToSql + Sync + Send + 'a>>,
}

macro_rules! table {
    ($rows:expr; $($column:expr),+ $(,)?) => {
        Table { rows: $rows.len(), arrays: vec![$(Box::new($rows.iter().map($column).collect::<Vec<_>>())),+] }
    };
}

/// One [`Table`] for each statement of the second round trip.
pub struct Columns<'a> {
    pub keys: Table<'a>,
    pub transfers: Table<'a>,
    pub postings: Table<'a>,
    pub accounts: Table<'a>,
    pub holds: Table<'a>,
    pub hold_changes: Table<'a>,
    pub reviews: Table<'a>,
    pub events: Table<'a>,
}

impl<'a> Columns<'a> {
    pub fn of(writes: &'a Writes) -> Self {
        Self {
            keys: table!(writes.keys;
                |it| it.claim.owner_id.uuid(),
                |it| it.claim.key.as_str(),
                |it| it.claim.fingerprint.as_slice(),
                |it| it.transfer_id.uuid(),
                |it| i16::try_from(it.answer.status).unwrap_or(500),
                |it| &*it.answer.body,
            ),
            transfers: table!(writes.transfers;
                |it| it.order.id.uuid(),
                |it| it.order.kind.word(),
                |it| it.record.status.word(),
                |it| it.order.debit_account_id.uuid(),
                |it| it.order.credit_account_id.uuid(),
                |it| it.debit_holder_id.map(UserId::uuid),
                |it| it.credit_holder_id.map(UserId::uuid),
                |it| it.order.amount.minor(),
                |it| it.order.currency.code(),
                |it| it.order.description.as_ref().map(Description::as_str),
                |it| it.order.metadata.as_ref().and_then(|pairs| serde_json::to_string(pairs).ok()),
                |it| it.order.initiated_by.uuid(),
                |it| it.record.rejection_code.as_deref(),
                |it| it.hold_id.map(HoldId::uuid),
                |it| it.risk.as_ref().and_then(|risk| i16::try_from(risk.score).ok()),
                |it| it.risk.as_ref().map(|risk| decision_word(risk.decision)),
                |it| it.risk.as_ref().and_then(|risk| serde_json::to_string(&risk.reasons).ok()),
            ),
            postings: table!(writes.postings;
                |it| it.transfer_id.uuid(),
                |it| it.leg.account_id.uuid(),
                |it| it.leg.sequence,
                |it| direction_word(it.leg.direction),
                |it| it.leg.amount,
                |it| it.currency,
                |it| it.leg.balance_after,
            ),
            accounts: table!(writes.accounts; |it| it.id.uuid(), |it| it.posted, |it| it.held, |it| it.version),
            holds: table!(writes.holds;
                |it| it.id.uuid(), |it| it.account_id.uuid(), |it| it.transfer_id.uuid(), |it| it.amount),
            hold_changes: table!(writes.hold_changes; |it| it.id.uuid(), |it| it.captured, |it| it.released),
            reviews: table!(writes.reviews;
                |it| it.record.id.uuid(),
                |it| it.record.status.word(),
                |it| it.record.rejection_code.as_deref(),
                |it| it.decided_by.uuid(),
            ),
            events: table!(writes.events;
                |it| it.id.uuid(), |it| it.kind, |it| it.transfer_id.uuid(), |it| &*it.payload),
        }
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Debit => "debit",
        Direction::Credit => "credit",
    }
}

pub fn decision_word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Review => "review",
        Decision::Block => "block",
    }
}
