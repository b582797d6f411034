//! What a rule would have done: the log of facts is read again in its order, each account's habits are learnt from it as they were
//! learnt then, and the decision that the stored reasons make is compared with the one that they make with the rule, in place of the
//! version of it that is in force. What cannot be told from the reasons of then, such as the action of a rule that is retired, stays
//! as it was decided; so does what the lists decided.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::{Deserialize, Serialize};
use shared::ApiError;
use shared::clients::ml::{Decision, Fact, Reason, Score, ScoreRequest};
use shared::id::{AccountId, TransferId};
use utoipa::ToSchema;

use crate::account_state::AccountState;
use crate::rule::{Evidence, Findings, MAX_SCORE, RuleSet, written::ParsedRule};
use crate::transfer_log::{self, LoggedTransfer};
use crate::{fact, label, list, score};

/// How far before the days in question habits are learnt.
const HISTORY_DAYS: i64 = 30;
const ROWS: i64 = 2_000;
/// After so many other requests of the thread have their turn.
const ROWS_AT_ONCE: usize = 50;

/// What a test reads, so that it neither blocks its asker nor loads the database for long: half of it before the days in question.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub transfers: usize,
    pub duration: Duration,
}

pub const BUDGET: Budget = Budget {
    transfers: 300_000,
    duration: Duration::from_secs(15),
};

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
        let part = match self.complete {
            true => "",
            false => " Only the first part of the days was read.",
        };
        let summary = format!(
            "Applies to {} of {} transfers; would have {}.{part}",
            self.applies.transfers,
            self.tried.transfers,
            parts.join(", and ")
        );
        Self { summary, ..self }
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub code: &'a str,
    pub rule: &'a ParsedRule,
    pub points: u16,
    /// What is in force now.
    pub rules: &'a RuleSet,
}

/// A rule on its way through the log.
pub struct Trial<'a> {
    candidate: Candidate<'a>,
    from: DateTime<Utc>,
    states: HashMap<AccountId, AccountState>,
    result: TrialResult,
}

impl<'a> Trial<'a> {
    pub fn new(candidate: Candidate<'a>, from: DateTime<Utc>) -> Self {
        Self {
            candidate,
            from,
            states: HashMap::new(),
            result: TrialResult::default(),
        }
    }

    /// The next transfer of the log, with the answer that was given and what is known by now.
    pub fn take(&mut self, transfer: &LoggedTransfer, stored: Option<&Score>, label: Option<bool>) {
        if let Some(stored) = stored.filter(|_| transfer.occurred_at >= self.from) {
            self.result.tried.add(label);
            let applies = self.applies(transfer);
            if applies {
                self.result.applies.add(label);
            }
            self.compare(stored, applies, label);
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
        self.candidate.rule.holds(&evidence)
    }

    fn compare(&mut self, stored: &Score, applies: bool, label: Option<bool>) {
        if stored.reasons.iter().any(list::is_reason) {
            return;
        }
        let candidate = self.candidate;
        let (replaced, others): (Vec<&Reason>, Vec<&Reason>) = stored
            .reasons
            .iter()
            .partition(|reason| reason.code == candidate.code);
        let demanded = candidate.rule.action.filter(|_| applies);
        let points = if applies { candidate.points } else { 0 };
        let before = candidate.decide(others.iter().chain(&replaced), None, 0);
        let after = candidate.decide(&others, demanded, points);
        // More than the reasons explain was demanded by what is not known any more.
        let unexplained = match before < stored.decision {
            true => stored.decision,
            false => Decision::Allow,
        };
        let (before, after) = (before.max(unexplained), after.max(unexplained));
        match after {
            _ if after == before => {}
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

impl Candidate<'_> {
    /// What rules and model decide for these reasons, and for what one more demands and adds. Reasons of no rule are the model's.
    fn decide<'r>(
        &self,
        reasons: impl IntoIterator<Item = &'r &'r Reason>,
        mut action: Option<Decision>,
        points: u16,
    ) -> Decision {
        let (mut by_rules, mut by_model) = (points, 0_u16);
        for reason in reasons {
            match self.rules.rules.iter().find(|rule| rule.code == reason.code) {
                Some(rule) => {
                    by_rules = by_rules.saturating_add(reason.points);
                    action = action.max(rule.action());
                }
                None => by_model = by_model.saturating_add(reason.points),
            }
        }
        let policy = self.rules.policy;
        let findings = Findings {
            reasons: Vec::new(),
            action,
        };
        let by_rules = findings.decide(policy.decide(by_rules.min(MAX_SCORE)));
        by_rules.max(policy.decide(by_model))
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
    candidate: Candidate<'_>,
    days: u16,
    now: DateTime<Utc>,
    budget: Budget,
) -> Result<TrialResult, ApiError> {
    let started = Instant::now();
    let from = now - chrono::Duration::days(days.into());
    let half = budget.transfers / 2;
    let first = transfer_log::queries::position_before(conn, from).await?;
    let learn_from = from - chrono::Duration::days(HISTORY_DAYS);
    let learn_from = transfer_log::queries::position_before(conn, learn_from).await?;
    let mut position = transfer_log::queries::position_back(conn, first, half)
        .await?
        .max(learn_from)
        .min(first);
    let mut trial = Trial::new(candidate, from);
    let mut read = 0_usize;
    loop {
        if position < first && started.elapsed() > budget.duration / 2 {
            position = first;
        }
        let rows = transfer_log::queries::after_position(conn, position, ROWS).await?;
        let Some(last) = rows.last() else {
            return Ok(trial.finish(days, true));
        };
        position = last.position;
        let ids: Vec<TransferId> = rows.iter().map(|row| row.transfer_id).collect();
        let scores = score::queries::find(conn, &ids).await?;
        let labels = label::queries::newest_of(conn, &ids).await?;
        for (place, row) in rows.iter().enumerate() {
            if place % ROWS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            if row.position > first {
                read = read.saturating_add(1);
            }
            if read > half {
                return Ok(trial.finish(days, false));
            }
            let id = &row.transfer_id;
            trial.take(row, scores.get(id), labels.get(id).copied());
        }
        if started.elapsed() > budget.duration {
            return Ok(trial.finish(days, false));
        }
    }
}

#[cfg(test)]
mod tests;
