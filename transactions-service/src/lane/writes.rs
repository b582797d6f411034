//! What one batch reads and writes: the rows under its locks, and the rows of each statement as arrays.

use std::collections::HashMap;

use bytestring::ByteString;
use chrono::{DateTime, Utc};
use shared::clients::ml::Decision;
use shared::clients::transactions::Direction;
use shared::id::{AccountId, EventId, HoldId, TransferId, UserId};
use shared::idempotency::IdempotencyKey;
use shared::{Amount, Currency};
use uuid::Uuid;

use super::{Answer, Subject};
use crate::audit;
use crate::block::NewBlock;
use crate::book::{Leg, ReviewReason};
use crate::hold::{HoldTerms, LockedHold};
use crate::idempotency_key::Claim;
use crate::ledger_account::LockedAccount;
use crate::transfer::{Description, LockedTransfer, Reference, Risk, TransferOrder, TransferRecord};

/// What the first round trip found, under locks that are held to the commit.
pub struct Opened {
    pub xid: i64,
    pub now: DateTime<Utc>,
    /// The date of what is posted: not before that of any earlier posting of these accounts.
    pub posted_at: DateTime<Utc>,
    pub accounts: Vec<LockedAccount>,
    pub holds: Vec<LockedHold>,
    /// What requests want to give back.
    pub transfers: Vec<LockedTransfer>,
    pub keys: HashMap<(UserId, IdempotencyKey), StoredKey>,
}

pub struct StoredKey {
    pub fingerprint: Vec<u8>,
    pub answer: Answer,
}

pub struct NewKey {
    pub claim: Claim,
    pub subject: Subject,
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

/// Who is paid by a transfer with several legs.
pub struct NewParty {
    pub holder_id: UserId,
    pub transfer_id: TransferId,
}

pub struct NewPosting {
    pub transfer_id: TransferId,
    pub leg: Leg,
}

pub struct NewHold {
    pub hold: LockedHold,
    /// Of a hold for a review.
    pub transfer_id: Option<TransferId>,
    pub debit_holder_id: Option<UserId>,
    pub credit_holder_id: Option<UserId>,
}

impl NewHold {
    fn terms(&self) -> Option<&HoldTerms> {
        self.hold.terms.as_ref()
    }
}

pub struct ReviewOutcome {
    pub order: TransferOrder,
    pub record: TransferRecord,
    pub decided_by: UserId,
}

pub struct NewEvent {
    pub id: EventId,
    pub kind: &'static str,
    pub subject: Subject,
    pub payload: ByteString,
}

/// What the second round trip writes.
#[derive(Default)]
pub struct Writes {
    pub xid: i64,
    /// The time of its postings, and of its block.
    pub posted_at: DateTime<Utc>,
    pub keys: Vec<NewKey>,
    pub transfers: Vec<NewTransfer>,
    pub parties: Vec<NewParty>,
    pub postings: Vec<NewPosting>,
    pub accounts: Vec<LockedAccount>,
    pub holds: Vec<NewHold>,
    pub hold_changes: Vec<LockedHold>,
    pub returned: Vec<LockedTransfer>,
    pub reviews: Vec<ReviewOutcome>,
    pub events: Vec<NewEvent>,
    pub audit: Vec<audit::Entry>,
}

impl Writes {
    pub fn add_legs(&mut self, transfer_id: TransferId, legs: Vec<Leg>) {
        let postings = legs.into_iter().map(|leg| NewPosting { transfer_id, leg });
        self.postings.extend(postings);
    }

    /// Adds what was decided on its own, all of it.
    pub fn append(&mut self, mut more: Self) {
        self.keys.append(&mut more.keys);
        self.transfers.append(&mut more.transfers);
        self.parties.append(&mut more.parties);
        self.postings.append(&mut more.postings);
        self.holds.append(&mut more.holds);
        self.reviews.append(&mut more.reviews);
        self.events.append(&mut more.events);
        self.audit.append(&mut more.audit);
    }
}

pub type Parameter = dyn tokio_postgres::types::ToSql + Sync;

/// The rows of one statement, turned into one array per column.
#[derive(Default)]
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
    pub parties: Table<'a>,
    pub postings: Table<'a>,
    pub accounts: Table<'a>,
    pub holds: Table<'a>,
    pub hold_changes: Table<'a>,
    pub returned: Table<'a>,
    pub reviews: Table<'a>,
    pub events: Table<'a>,
    pub block: Table<'a>,
    pub audit: Table<'a>,
}

impl<'a> Columns<'a> {
    pub fn of(writes: &'a Writes, block: Option<&NewBlock>) -> Self {
        // There is a block when there are transfers or reviews.
        let block_id = || Box::new(block.map(|block| block.id.uuid()));
        let mut columns = Self {
            keys: table!(writes.keys;
                |it| it.claim.owner_id.uuid(),
                |it| it.claim.key.as_str(),
                |it| it.claim.fingerprint.as_slice(),
                |it| it.subject.uuid(),
                |it| i16::try_from(it.answer.status).unwrap_or(500),
                |it| &*it.answer.body,
                |it| it.subject.word(),
            ),
            transfers: table!(writes.transfers;
                |it| it.order.id.uuid(),
                |it| it.order.kind.word(),
                |it| it.record.status.word(),
                |it| it.record.debit_account_id.map(AccountId::uuid),
                |it| it.record.credit_account_id.map(AccountId::uuid),
                |it| it.debit_holder_id.map(UserId::uuid),
                |it| it.credit_holder_id.map(UserId::uuid),
                |it| it.record.amount.map(Amount::minor),
                |it| it.record.currency.map(Currency::code),
                |it| it.order.note.description.as_ref().map(Description::as_str),
                |it| it.order.note.metadata.as_ref().and_then(|pairs| serde_json::to_string(pairs).ok()),
                |it| it.order.initiated_by.uuid(),
                |it| it.record.rejection_code.as_deref(),
                |it| it.hold_id.map(HoldId::uuid),
                |it| it.risk.as_ref().and_then(|risk| i16::try_from(risk.score).ok()),
                |it| it.risk.as_ref().map(|risk| decision_word(risk.decision)),
                |it| it.risk.as_ref().and_then(|risk| serde_json::to_string(&risk.reasons).ok()),
                |it| it.order.captured_hold_id.map(HoldId::uuid),
                |it| it.order.original_transfer_id.map(TransferId::uuid),
                |it| it.record.legs.as_ref().and_then(|legs| serde_json::to_string(legs).ok()),
                |it| it.order.note.reference.as_ref().map(Reference::as_str),
                |it| it.order.note.effective_date,
                |it| it.record.review_reason.map(ReviewReason::word),
            ),
            parties: table!(writes.parties; |it| it.holder_id.uuid(), |it| it.transfer_id.uuid()),
            postings: table!(writes.postings;
                |it| it.transfer_id.uuid(),
                |it| it.leg.account_id.uuid(),
                |it| it.leg.sequence,
                |it| direction_word(it.leg.direction),
                |it| it.leg.amount,
                |it| it.leg.currency.code(),
                |it| it.leg.balance_after,
                |_| writes.posted_at,
            ),
            accounts: table!(writes.accounts;
                |it| it.id.uuid(), |it| it.posted, |it| it.held, |it| it.version, |it| it.spent.today,
                |it| it.spent.this_month, |_| writes.posted_at),
            holds: table!(writes.holds;
                |it| it.hold.id.uuid(),
                |it| it.hold.account_id.uuid(),
                |it| it.transfer_id.map(TransferId::uuid),
                |it| it.hold.amount,
                |it| if it.transfer_id.is_some() { "review" } else { "payment" },
                |it| it.terms().map(|terms| terms.credit_account_id.uuid()),
                |it| it.debit_holder_id.map(UserId::uuid),
                |it| it.credit_holder_id.map(UserId::uuid),
                |it| it.terms().map(|terms| terms.currency.code()),
                |it| it.terms().and_then(|terms| terms.description.as_deref()),
                |it| it.terms().and_then(|terms| terms.metadata.as_ref()).map(ToString::to_string),
                |it| it.terms().map(|terms| terms.expires_at),
                |it| it.terms().and_then(|terms| terms.capture_at),
            ),
            hold_changes: table!(writes.hold_changes;
                |it| it.id.uuid(), |it| it.amount, |it| it.captured, |it| it.released, |it| it.expired),
            returned: table!(writes.returned;
                |it| it.id.uuid(), |it| it.refunded, |it| it.reversal_id.map(TransferId::uuid)),
            reviews: table!(writes.reviews;
                |it| it.record.id.uuid(),
                |it| it.record.status.word(),
                |it| it.record.rejection_code.as_deref(),
                |it| it.decided_by.uuid(),
            ),
            events: table!(writes.events;
                |it| it.id.uuid(), |it| it.kind, |it| it.subject.uuid(), |it| &*it.payload, |it| it.subject.word()),
            audit: table!(writes.audit;
                |it| it.actor.as_str(),
                |it| it.roles.as_str(),
                |it| it.action,
                |it| it.subject.as_str(),
                |it| it.before.as_deref(),
                |it| it.after.as_deref(),
                |it| it.request_id.as_deref(),
            ),
            block: block.map(block_table).unwrap_or_default(),
        };
        columns.transfers.arrays.push(block_id());
        columns.reviews.arrays.push(block_id());
        columns
    }
}

/// One row, so its columns are no arrays.
fn block_table(block: &NewBlock) -> Table<'static> {
    let transfer_ids: Vec<Uuid> = block.transfer_ids.iter().map(|id| id.uuid()).collect();
    Table {
        rows: 1,
        arrays: vec![
            Box::new(block.id.uuid()),
            Box::new(block.chain_id.uuid()),
            Box::new(block.height),
            Box::new(block.previous_hash.0.to_vec()),
            Box::new(block.root.0.to_vec()),
            Box::new(transfer_ids),
            Box::new(block.leaf_bytes()),
            Box::new(block.created_at),
        ],
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
