//! Reading transfers. They are written by the lane.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::de::DeserializeOwned;
use shared::id::{AccountId, HoldId, TransferId, UserId};
use shared::{Amount, ApiError, Currency};

use super::{Note, Risk, TransferOrder, TransferRecord, TransferStatus};
use crate::book::ReviewReason;
use crate::leg::Legs;
use crate::schema::{holds, transfer_parties, transfers};

#[derive(Clone, Debug, HasQuery)]
#[diesel(table_name = transfers)]
pub struct TransferRow {
    pub id: TransferId,
    pub kind: String,
    pub status: String,
    pub debit_account_id: Option<AccountId>,
    pub credit_account_id: Option<AccountId>,
    pub debit_holder_id: Option<UserId>,
    pub credit_holder_id: Option<UserId>,
    pub amount: Option<i64>,
    pub currency: Option<Currency>,
    pub several_legs: Option<serde_json::Value>,
    pub description: Option<String>,
    pub metadata: Option<serde_json::Value>,
    pub reference: Option<String>,
    pub effective_date: Option<NaiveDate>,
    pub initiated_by: UserId,
    pub rejection_code: Option<String>,
    pub review_reason: Option<String>,
    pub hold_id: Option<HoldId>,
    pub risk_score: Option<i16>,
    pub risk_decision: Option<String>,
    pub risk_reasons: Option<serde_json::Value>,
    pub captured_hold_id: Option<HoldId>,
    pub original_transfer_id: Option<TransferId>,
    pub refunded: i64,
    pub reversal_id: Option<TransferId>,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

impl TransferRow {
    /// Its payer always sees it; its payee once it is posted.
    pub fn visible_to(&self, user: UserId) -> bool {
        self.debit_holder_id == Some(user)
            || self.initiated_by == user
            || (self.credit_holder_id == Some(user) && self.status == TransferStatus::Posted.word())
    }

    /// Whether the user made it, pays or is paid by it.
    pub fn involves(&self, user: UserId) -> bool {
        self.initiated_by == user || self.debit_holder_id == Some(user) || self.credit_holder_id == Some(user)
    }

    /// What was asked for.
    pub fn into_order(self) -> Result<TransferOrder, ApiError> {
        let note = Note {
            description: parsed(self.description)?,
            metadata: self
                .metadata
                .map(serde_json::from_value)
                .transpose()
                .map_err(ApiError::internal)?,
            reference: parsed(self.reference)?,
            effective_date: self.effective_date,
        };
        let pair = (
            self.debit_account_id,
            self.credit_account_id,
            self.amount,
            self.currency,
        );
        let legs = match (pair, self.several_legs) {
            ((Some(debit), Some(credit), Some(amount), Some(currency)), _) => {
                let amount = Amount::try_from(amount).map_err(ApiError::internal)?;
                Legs::pair(debit, credit, amount, currency)
            }
            (_, legs) => {
                let legs = serde_json::from_value(legs.unwrap_or_default()).map_err(ApiError::internal)?;
                Legs::parse(legs).map_err(|error| ApiError::internal(anyhow::anyhow!("{error}")))?
            }
        };
        Ok(TransferOrder {
            id: self.id,
            kind: word(self.kind)?,
            legs,
            note,
            initiated_by: self.initiated_by,
            captured_hold_id: self.captured_hold_id,
            original_transfer_id: self.original_transfer_id,
        })
    }

    pub fn review_reason(&self) -> Result<Option<ReviewReason>, ApiError> {
        self.review_reason.clone().map(word).transpose()
    }

    pub fn into_record(mut self, with_risk: bool) -> Result<TransferRecord, ApiError> {
        let status = word(std::mem::take(&mut self.status))?;
        let (created_at, completed_at) = (self.created_at, self.completed_at);
        let rejection_code = self.rejection_code.take();
        let review_reason = self.review_reason()?;
        let (refunded, reversal_id) = (Amount::try_from(self.refunded).ok(), self.reversal_id);
        let risk = if with_risk { self.take_risk()? } else { None };
        let order = self.into_order()?;
        let record = TransferRecord::new(&order, status, created_at, completed_at);
        Ok(TransferRecord {
            rejection_code,
            review_reason,
            refunded,
            reversal_id,
            risk,
            ..record
        })
    }

    fn take_risk(&mut self) -> Result<Option<Risk>, ApiError> {
        let (Some(score), Some(decision), Some(reasons)) = (
            self.risk_score.take(),
            self.risk_decision.take(),
            self.risk_reasons.take(),
        ) else {
            return Ok(None);
        };
        Ok(Some(Risk {
            score: score.try_into().map_err(ApiError::internal)?,
            decision: word(decision)?,
            reasons: serde_json::from_value(reasons).map_err(ApiError::internal)?,
        }))
    }
}

fn parsed<T: TryFrom<String, Error: std::error::Error + Send + Sync + 'static>>(
    text: Option<String>,
) -> Result<Option<T>, ApiError> {
    text.map(TryInto::try_into)
        .transpose()
        .map_err(ApiError::internal)
}

/// A word of the database as the enum that the wire spells the same way.
fn word<T: DeserializeOwned>(text: String) -> Result<T, ApiError> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(ApiError::internal)
}

pub async fn find(conn: &mut AsyncPgConnection, id: TransferId) -> QueryResult<TransferRow> {
    TransferRow::query()
        .filter(transfers::id.eq(id))
        .first(conn)
        .await
}

/// Whether the user is paid by a transfer with several legs.
pub async fn is_party(conn: &mut AsyncPgConnection, id: TransferId, holder: UserId) -> QueryResult<bool> {
    diesel::select(exists(transfer_parties::table.find((holder, id))))
        .get_result(conn)
        .await
}

/// What is held for the review of a transfer.
pub async fn review_holds(conn: &mut AsyncPgConnection, id: TransferId) -> QueryResult<Vec<HoldId>> {
    holds::table
        .filter(holds::transfer_id.eq(id))
        .select(holds::id)
        .load(conn)
        .await
}

/// Who decided about those of these transfers that were in review.
pub async fn deciders_of(
    conn: &mut AsyncPgConnection,
    ids: &[TransferId],
) -> QueryResult<HashMap<TransferId, UserId>> {
    let rows: Vec<(TransferId, Option<UserId>)> = transfers::table
        .filter(transfers::id.eq_any(ids))
        .select((transfers::id, transfers::decided_by))
        .load(conn)
        .await?;
    let decided = rows.into_iter().filter_map(|(id, decider)| Some((id, decider?)));
    Ok(decided.collect())
}
