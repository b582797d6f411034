//! Scoring: each transfer of a batch gets the points of the rules that apply, a decision and the reasons, in request order.
//! The answer is stored, and a transfer that comes again gets the stored answer. Nothing here learns; see `fact`.

pub mod cost;
pub mod handlers;
pub mod judgement;
pub mod latency;
pub mod queries;
pub mod vector;

use std::collections::HashMap;

use shared::clients::ml::{Score, ScoreRequest};
use shared::id::AccountId;
use uuid::Uuid;

use crate::account_state::AccountState;
use crate::list::{self, Match, Subject, SubjectKind};
use crate::origin::HashedOrigin;
use crate::rule::{Evidence, MAX_SCORE, Policy, RuleSet};

/// Scores `transfers` in order: those earlier in the batch count into the velocity of those after them.
pub fn score_batch(
    transfers: &[ScoreRequest],
    states: &HashMap<AccountId, AccountState>,
    rules: &RuleSet,
) -> Vec<Score> {
    let mut scores = Vec::with_capacity(transfers.len());
    each_evidence(transfers, states, |evidence| {
        scores.push(score_transfer(evidence, rules))
    });
    scores
}

/// Counts to which of `transfers` the rules in the shadow would apply.
pub fn count_shadow_hits(
    transfers: &[ScoreRequest],
    states: &HashMap<AccountId, AccountState>,
    rules: &RuleSet,
) {
    each_evidence(transfers, states, |evidence| {
        for code in rules.shadow_hits(evidence) {
            metrics::counter!("fraud_shadow_rule_hits_total", "code" => code.to_owned()).increment(1);
        }
    });
}

fn each_evidence(
    transfers: &[ScoreRequest],
    states: &HashMap<AccountId, AccountState>,
    mut visit: impl FnMut(&Evidence<'_>),
) {
    let mut earlier: HashMap<AccountId, i64> = HashMap::new();
    for transfer in transfers {
        let state = states.get(&transfer.debit_account_id);
        let earlier = earlier.entry(transfer.debit_account_id).or_default();
        let posted = state.map_or(0, |state| state.count_in_hour_before(transfer.requested_at));
        let evidence = Evidence {
            transfer,
            state,
            count_in_hour: posted + *earlier,
            origin_known: transfer.origin.is_some(),
        };
        *earlier += 1;
        visit(&evidence);
    }
}

fn score_transfer(evidence: &Evidence<'_>, rules: &RuleSet) -> Score {
    let findings = rules.findings(evidence);
    let points = findings
        .reasons
        .iter()
        .fold(0_u16, |sum, reason| sum.saturating_add(reason.points));
    let score = points.min(MAX_SCORE);
    let decision = findings.decide(rules.policy.decide(score));
    Score {
        transfer_id: evidence.transfer.transfer_id,
        score: rules.policy.within(decision, score),
        decision,
        reasons: findings.reasons,
    }
}

/// What the lists are asked about a transfer, of which the origin may be listed under the hash of any key.
pub fn subjects(transfer: &ScoreRequest, origins: impl IntoIterator<Item = HashedOrigin>) -> Vec<Subject> {
    let parties = [
        (SubjectKind::Account, Some(transfer.debit_account_id.uuid())),
        (SubjectKind::Counterparty, Some(transfer.credit_account_id.uuid())),
        (SubjectKind::Holder, transfer.initiated_by.map(|user| user.uuid())),
    ];
    let origins = origins.into_iter().flat_map(|origin| {
        [
            (SubjectKind::Device, origin.device),
            (SubjectKind::Address, origin.address),
        ]
    });
    let known = parties.into_iter().chain(origins);
    known.filter_map(|(kind, id)| id.map(|id| (kind, id))).collect()
}

/// The hashes of an origin that are listed under a key of before, each with the one of now.
pub fn listed_before(
    origin: HashedOrigin,
    former: &[HashedOrigin],
    listed: &HashMap<Subject, Vec<Match>>,
) -> Vec<(Subject, Uuid)> {
    let pairs = former.iter().flat_map(|former| {
        [
            (SubjectKind::Device, former.device, origin.device),
            (SubjectKind::Address, former.address, origin.address),
        ]
    });
    let known = pairs.filter_map(|(kind, former, now)| Some(((kind, former?), now?)));
    known.filter(|(former, _)| listed.contains_key(former)).collect()
}

/// Lists decide before everything else.
pub fn apply_lists(
    score: &mut Score,
    subjects: &[Subject],
    listed: &HashMap<Subject, Vec<Match>>,
    policy: Policy,
) {
    let matches: Vec<Match> = subjects
        .iter()
        .filter_map(|subject| listed.get(subject))
        .flatten()
        .cloned()
        .collect();
    if let Some((decision, reason)) = list::verdict(&matches) {
        score.decision = decision;
        score.score = policy.within(decision, score.score);
        score.reasons.insert(0, reason);
    }
}

#[cfg(test)]
mod tests {
    use shared::clients::ml::Decision;
    use shared::id::TransferId;
    use uuid::Uuid;

    use super::*;
    use crate::account_state::state_of;
    use crate::rule::seeded_rules;

    fn account(number: u128) -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(number))
    }

    fn transfer(from: u128, to: u128, amount: i64) -> ScoreRequest {
        ScoreRequest {
            transfer_id: TransferId::new(),
            debit_account_id: account(from),
            credit_account_id: account(to),
            amount,
            currency: "USD".parse().unwrap(),
            requested_at: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            kind: None,
            initiated_by: None,
            origin: None,
        }
    }

    /// The decisions on transfers from account 1, which made `history` to account 2.
    fn decide(history: &[i64], transfers: &[ScoreRequest]) -> Vec<Decision> {
        let states = state_of(history, account(2)).map(|state| (account(1), state));
        let scores = score_batch(transfers, &states.into_iter().collect(), &seeded_rules());
        scores.iter().map(|score| score.decision).collect()
    }

    fn all(decision: Decision, decisions: &[Decision]) -> bool {
        decisions.iter().all(|it| *it == decision)
    }

    #[test]
    fn ordinary_use_is_allowed() {
        let amounts = [1_000, 5_000, 2_500, 10_000, 1_000];
        let transfers: Vec<_> = amounts.iter().map(|amount| transfer(1, 2, *amount)).collect();
        for history in [&[][..], &amounts, &[100_000]] {
            assert!(all(Decision::Allow, &decide(history, &transfers)), "{history:?}");
        }
    }

    #[test]
    fn volume_alone_is_allowed() {
        let busy = vec![150; 20_000];
        let tiny: Vec<_> = (0..1024).map(|number| transfer(1, 2 + number, 150)).collect();
        assert!(all(Decision::Allow, &decide(&busy, &tiny)));
        assert!(all(Decision::Allow, &decide(&[], &tiny)));
    }

    #[test]
    fn a_burst_of_unusual_amounts_is_reviewed_then_blocked() {
        let to_a_friend: Vec<_> = (0..22).map(|_| transfer(1, 2, 50_000)).collect();
        let decisions = decide(&[2_000; 6], &to_a_friend);
        assert!(all(Decision::Allow, &decisions[..14]), "{decisions:?}");
        assert!(all(Decision::Review, &decisions[14..]), "{decisions:?}");
        let to_strangers: Vec<_> = (0..22).map(|number| transfer(1, 100 + number, 50_000)).collect();
        let decisions = decide(&[2_000; 6], &to_strangers);
        assert!(all(Decision::Review, &decisions[..14]), "{decisions:?}");
        assert!(all(Decision::Block, &decisions[14..]), "{decisions:?}");
    }

    #[test]
    fn a_first_payment_that_is_very_large_is_reviewed() {
        assert_eq!(decide(&[], &[transfer(1, 2, 1_000_000)]), [Decision::Review]);
        assert_eq!(decide(&[], &[transfer(1, 2, 999_999)]), [Decision::Allow]);
    }

    #[test]
    fn the_order_in_a_batch_counts_for_its_own_account_only() {
        let mut transfers: Vec<_> = (0..20).map(|_| transfer(7, 2, 100)).collect();
        transfers.push(transfer(1, 2, 50_000));
        assert_eq!(decide(&[2_000; 6], &transfers).last(), Some(&Decision::Allow));
        let mut transfers: Vec<_> = (0..14).map(|_| transfer(1, 2, 100)).collect();
        transfers.insert(13, transfer(1, 2, 50_000));
        transfers.push(transfer(1, 2, 50_000));
        let decisions = decide(&[2_000; 6], &transfers);
        assert_eq!(
            (decisions[13], decisions[15]),
            (Decision::Allow, Decision::Review)
        );
    }
}
