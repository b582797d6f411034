//! What a rule would have done: the log of facts is read again in its order, each account's habits are learnt from it as they were
//! learnt then, and where the rule applies the decision that was stored is compared with the one that it would have made.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::ApiError;
use shared::clients::ml::{Decision, Fact, Score, ScoreRequest};
use shared::id::{AccountId, TransferId};
use utoipa::ToSchema;

use crate::account_state::AccountState;
use crate::fact;
use crate::label;
use crate::rule::{Evidence, MAX_SCORE, Policy, written::ParsedRule};
use crate::score;
use crate::transfer_log::{self, LoggedTransfer};

/// How far before the days in question habits are learnt.
const HISTORY_DAYS: i64 = 30;
const ROWS: i64 = 2_000;
/// So that a test neither blocks its asker nor loads the database for long.
const MAX_TRANSFERS: usize = 300_000;
const MAX_DURATION: Duration = Duration::from_secs(15);

/// Transfers, and what is known of them by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    #[schema(example = 12)]
    pub transfers: u64,
    /// Labelled as fraud.
    #[schema(example = 9)]
    pub fraud: u64,
    /// Labelled as no fraud.
    pub no_fraud: u64,
}

impl Count {
    fn add(&mut self, label: Option<bool>) {
        self.transfers = self.transfers.saturating_add(1);
        self.fraud = self.fraud.saturating_add(u64::from(label == Some(true)));
        self.no_fraud = self.no_fraud.saturating_add(u64::from(label == Some(false)));
    }
}

/// What a rule would have done to the transfers that were scored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrialResult {
    pub days: u16,
    /// What it was tried on.
    pub tried: Count,
    /// Where it applies.
    pub applies: Count,
    /// Blocked by it, and not without it; the next two likewise.
    pub would_block: Count,
    pub would_review: Count,
    pub would_allow: Count,
    /// Whether all of the days were read; a test reads a bounded number of transfers.
    pub complete: bool,
    #[schema(
        example = "Applies to 40 of 9120 transfers; would have blocked 12, 9 of them fraud, and reviewed 3, none of them fraud."
    )]
    pub summary: String,
}

impl TrialResult {
    fn summarised(self) -> Self {
        let of = |count: Count| match count.fraud {
            0 => format!("{}, none of them known as fraud", count.transfers),
            fraud => format!("{}, {fraud} of them fraud", count.transfers),
        };
        let mut parts = vec![format!("blocked {}", of(self.would_block))];
        parts.push(format!("reviewed {}", of(self.would_review)));
        if self.would_allow.transfers > 0 {
            parts.push(format!("let through {}", of(self.would_allow)));
        }
        let summary = format!(
            "Applies to {} of {} transfers; would have {}.",
            self.applies.transfers,
            self.tried.transfers,
            parts.join(", and ")
        );
        Self { summary, ..self }
    }
}

/// A rule on its way through the log.
pub struct Trial<'a> {
    rule: &'a ParsedRule,
    points: u16,
    policy: Policy,
    from: DateTime<Utc>,
    states: HashMap<AccountId, AccountState>,
    result: TrialResult,
}

impl<'a> Trial<'a> {
    pub fn new(rule: &'a ParsedRule, points: u16, policy: Policy, from: DateTime<Utc>) -> Self {
        Self {
            rule,
            points,
            policy,
            from,
            states: HashMap::new(),
            result: TrialResult::default(),
        }
    }

    /// The next transfer of the log, with the answer that was given and what is known by now.
    pub fn take(&mut self, transfer: &LoggedTransfer, stored: Option<&Score>, label: Option<bool>) {
        if let Some(stored) = stored.filter(|_| transfer.occurred_at >= self.from) {
            self.result.tried.add(label);
            if self.applies(transfer) {
                self.result.applies.add(label);
                self.compare(stored, label);
            }
        }
        let fact = fact_of(transfer);
        if fact::is_paid(&fact) {
            self.states
                .entry(fact.debit_account_id)
                .and_modify(|state| state.observe(&fact))
                .or_insert_with(|| AccountState::first(&fact));
        }
    }

    fn applies(&self, transfer: &LoggedTransfer) -> bool {
        let state = self.states.get(&transfer.debit_account_id);
        let request = ScoreRequest {
            transfer_id: transfer.transfer_id,
            debit_account_id: transfer.debit_account_id,
            credit_account_id: transfer.credit_account_id,
            amount: transfer.amount,
            currency: transfer.currency,
            requested_at: transfer.occurred_at,
            kind: Some(transfer.kind),
            initiated_by: None,
            origin: None,
        };
        let evidence = Evidence {
            transfer: &request,
            state,
            count_in_hour: state.map_or(0, |state| state.count_in_hour_before(transfer.occurred_at)),
            origin_known: transfer.device.is_some() || transfer.address.is_some(),
        };
        self.rule.finding(&evidence).is_some()
    }

    fn compare(&mut self, stored: &Score, label: Option<bool>) {
        let score = stored.score.saturating_add(self.points).min(MAX_SCORE);
        let by_points = self.policy.decide(score).max(stored.decision);
        let decision = match self.rule.action {
            Some(Decision::Allow) => Decision::Allow,
            Some(action) => action.max(by_points),
            None => by_points,
        };
        if decision == stored.decision {
            return;
        }
        match decision {
            Decision::Block => self.result.would_block.add(label),
            Decision::Review => self.result.would_review.add(label),
            Decision::Allow => self.result.would_allow.add(label),
        }
    }

    pub fn finish(self, days: u16, complete: bool) -> TrialResult {
        let result = TrialResult {
            days,
            complete,
            ..self.result
        };
        result.summarised()
    }
}

fn fact_of(transfer: &LoggedTransfer) -> Fact {
    Fact {
        transfer_id: transfer.transfer_id,
        status: transfer.status,
        kind: transfer.kind,
        original_transfer_id: transfer.original_transfer_id,
        debit_account_id: transfer.debit_account_id,
        credit_account_id: transfer.credit_account_id,
        debit_holder_id: transfer.debit_holder_id,
        credit_holder_id: transfer.credit_holder_id,
        amount: transfer.amount,
        currency: transfer.currency,
        description: None,
        code: None,
        decided_by: None,
        at: transfer.occurred_at,
    }
}

/// Tries a rule on the last `days`.
pub async fn run(
    conn: &mut AsyncPgConnection,
    rule: &ParsedRule,
    points: u16,
    policy: Policy,
    days: u16,
    now: DateTime<Utc>,
) -> Result<TrialResult, ApiError> {
    let started = Instant::now();
    let from = now - chrono::Duration::days(days.into());
    let learn_from = from - chrono::Duration::days(HISTORY_DAYS);
    let mut trial = Trial::new(rule, points, policy, from);
    let mut position = transfer_log::queries::position_before(conn, learn_from).await?;
    let mut read = 0_usize;
    loop {
        let rows = transfer_log::queries::after_position(conn, position, ROWS).await?;
        let Some(last) = rows.last() else {
            return Ok(trial.finish(days, true));
        };
        position = last.position;
        read = read.saturating_add(rows.len());
        let ids: Vec<TransferId> = rows.iter().map(|row| row.transfer_id).collect();
        let scores = score::queries::find(conn, &ids).await?;
        let labels = label::queries::newest_of(conn, &ids).await?;
        for row in &rows {
            let id = &row.transfer_id;
            trial.take(row, scores.get(id), labels.get(id).copied());
        }
        if read >= MAX_TRANSFERS || started.elapsed() > MAX_DURATION {
            return Ok(trial.finish(days, false));
        }
    }
}

#[cfg(test)]
mod tests;
