//! Monitoring of the model: whether what it sees and says has moved, and, as labels arrive, how good it was.
//!
//! The population stability index (PSI) tells when amounts or scores are distributed otherwise than before. It does not see
//! frauds that change, because they are few; so the share of scores in what used to be the upper hundredth is watched beside
//! it, and the average precision on what was labelled.

#![expect(clippy::float_arithmetic, reason = "statistics are floats")]

pub mod handlers;
pub mod queries;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use shared::id::{AccountId, ModelId};
use shared::{ApiError, Clock, Db};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::evaluation;
use crate::registered_model;

const EVERY: Duration = Duration::from_secs(60);
/// What is compared: these days, with as many weeks before them.
const RECENT: TimeDelta = TimeDelta::days(7);
const BASE: TimeDelta = TimeDelta::days(28);
/// What is looked through of either, the newest first.
pub const MAX_SCORES: i64 = 20_000;
const BINS: usize = 10;
/// Of the accounts that look most suspicious on a day.
const CARDS: usize = 100;
/// A bin that nothing fell into has this share, or the index would be infinite.
const LEAST_SHARE: f64 = 0.0001;

/// A score of the champion, as it was given.
pub struct Scored {
    pub at: DateTime<Utc>,
    pub account: AccountId,
    pub probability: f64,
    /// Whole major units.
    pub amount: f64,
    pub stopped: bool,
    /// By the newest label, if there is one.
    pub fraud: Option<bool>,
}

/// How the model does. What cannot be told from what there is, is `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Monitoring {
    pub at: DateTime<Utc>,
    /// The SHA-256 of the model that decides.
    pub model: String,
    /// Scores of the last 7 days, and of the 28 before; at most 20,000 of either are looked at.
    pub recent_scores: u64,
    pub base_scores: u64,
    /// Above 0.2 amounts are distributed otherwise than before.
    #[schema(required)]
    pub amount_psi: Option<f64>,
    #[schema(required)]
    pub score_psi: Option<f64>,
    /// The share of recent scores above what 99 % of those before were under: 0.01 if nothing moved.
    #[schema(required)]
    pub tail_share: Option<f64>,
    /// The share of transfers that were reviewed or blocked.
    #[schema(required)]
    pub alert_rate: Option<f64>,
    /// The share of transfers that were decided without a score.
    #[schema(required)]
    pub missing_rate: Option<f64>,
    /// On the 28 days up to the newest label; what nobody labelled counts as genuine.
    pub labelled: LabelledScores,
    pub shadows: Vec<ShadowComparison>,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct LabelledScores {
    pub labels: u64,
    pub frauds: u64,
    /// The mean of the precision over the steps of the recall.
    #[schema(required)]
    pub average_precision: Option<f64>,
    /// How many of a day's 100 most suspicious accounts paid a fraud that day, on average.
    #[schema(required)]
    pub account_precision_at_100: Option<f64>,
}

/// A model that watches, on the transfers that it and the champion have both scored.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShadowComparison {
    pub model_id: ModelId,
    pub scores: u64,
    /// How far its probabilities are from the champion's, on average.
    #[schema(required)]
    pub mean_difference: Option<f64>,
    #[schema(required)]
    pub average_precision: Option<f64>,
    #[schema(required)]
    pub champion_average_precision: Option<f64>,
}

/// The thresholds that split `sorted` into parts of one size.
fn quantiles(sorted: &[f64]) -> Vec<f64> {
    let at = |part: usize| sorted.get(sorted.len().saturating_mul(part) / BINS).copied();
    let mut edges: Vec<f64> = (1..BINS).filter_map(at).collect();
    edges.dedup();
    edges
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn share(part: usize, whole: usize) -> f64 {
    #[expect(clippy::as_conversions, reason = "counts of some thousands")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}

/// The population stability index of `recent` against the tenths of `base`.
pub fn psi(base: &[f64], recent: &[f64]) -> Option<f64> {
    if base.len() < BINS || recent.is_empty() {
        return None;
    }
    let edges = quantiles(base);
    let shares = |values: &[f64]| {
        let mut counts = vec![0_usize; edges.len() + 1];
        for value in values {
            let bin = edges.partition_point(|edge| edge <= value);
            if let Some(count) = counts.get_mut(bin) {
                *count = count.saturating_add(1);
            }
        }
        let whole = values.len();
        counts
            .into_iter()
            .map(move |count| share(count, whole).max(LEAST_SHARE))
    };
    let terms = shares(base)
        .zip(shares(recent))
        .map(|(before, now)| (now - before) * (now / before).ln());
    Some(terms.sum())
}

/// The share of `recent` above what 99 % of `base` are under.
pub fn tail_share(base: &[f64], recent: &[f64]) -> Option<f64> {
    let edge = base.get(base.len().saturating_mul(99) / 100)?;
    let above = recent.iter().filter(|value| *value > edge).count();
    (base.len() >= 100 && !recent.is_empty()).then(|| share(above, recent.len()))
}

/// What was scored, as far as labels can tell how well.
fn labelled(scores: &[Scored]) -> LabelledScores {
    let count = |wanted: fn(&Scored) -> bool| {
        u64::try_from(scores.iter().filter(|it| wanted(it)).count()).unwrap_or(u64::MAX)
    };
    let pairs: Vec<evaluation::Scored> = scores
        .iter()
        .map(|it| (it.probability, it.fraud == Some(true)))
        .collect();
    let frauds = count(|it| it.fraud == Some(true));
    LabelledScores {
        labels: count(|it| it.fraud.is_some()),
        frauds,
        average_precision: (frauds > 0).then(|| evaluation::average_precision(&pairs)),
        account_precision_at_100: (frauds > 0).then(|| account_precision(scores)),
    }
}

fn account_precision(scores: &[Scored]) -> f64 {
    let mut days: BTreeMap<NaiveDate, Vec<&Scored>> = BTreeMap::new();
    for it in scores {
        days.entry(it.at.date_naive()).or_default().push(it);
    }
    let whole = days.len();
    let of_day = |mut scores: Vec<&Scored>| {
        let frauds: HashSet<AccountId> = scores
            .iter()
            .filter(|it| it.fraud == Some(true))
            .map(|it| it.account)
            .collect();
        scores.sort_by(|left, right| right.probability.total_cmp(&left.probability));
        let mut seen = HashSet::new();
        let top: Vec<AccountId> = scores
            .iter()
            .map(|it| it.account)
            .filter(|account| seen.insert(*account))
            .take(CARDS)
            .collect();
        share(
            top.iter().filter(|account| frauds.contains(account)).count(),
            CARDS,
        )
    };
    days.into_values().map(of_day).sum::<f64>() / share(whole, 1).max(1.0)
}

/// Looks at all of it.
pub async fn look(
    conn: &mut AsyncPgConnection,
    model: &str,
    shadows: impl Iterator<Item = ModelId>,
    now: DateTime<Utc>,
) -> Result<Monitoring, ApiError> {
    let recent = queries::scored_between(conn, now - RECENT, now).await?;
    let base = queries::scored_between(conn, now - RECENT - BASE, now - RECENT).await?;
    let column = |scores: &[Scored], value: fn(&Scored) -> f64| sorted(scores.iter().map(value));
    let amounts = [&base, &recent].map(|scores| column(scores, |it| it.amount));
    let scores = [&base, &recent].map(|scores| column(scores, |it| it.probability));
    let stopped = recent.iter().filter(|it| it.stopped).count();
    let of_labelled = match registered_model::queries::newest_labelled(conn).await? {
        Some(until) => labelled(&queries::scored_between(conn, until - BASE, until).await?),
        None => LabelledScores::default(),
    };
    let mut watching = Vec::new();
    for id in shadows {
        watching.push(compare(
            id,
            &queries::shadowed_since(conn, id, now - RECENT).await?,
        ));
    }
    Ok(Monitoring {
        at: now,
        model: model.to_owned(),
        recent_scores: evaluation::len(&recent),
        base_scores: evaluation::len(&base),
        amount_psi: psi(&amounts[0], &amounts[1]),
        score_psi: psi(&scores[0], &scores[1]),
        tail_share: tail_share(&scores[0], &scores[1]),
        alert_rate: (!recent.is_empty()).then(|| share(stopped, recent.len())),
        missing_rate: queries::missing_rate(conn, now - RECENT).await?,
        labelled: of_labelled,
        shadows: watching,
    })
}

/// Each of the champion's and the shadow's probability, and whether it was a fraud.
fn compare(model_id: ModelId, both: &[(f64, f64, bool)]) -> ShadowComparison {
    let differences = both.iter().map(|(champion, shadow, _)| (champion - shadow).abs());
    let of_champion: Vec<evaluation::Scored> = both.iter().map(|(it, _, fraud)| (*it, *fraud)).collect();
    let of_shadow: Vec<evaluation::Scored> = both.iter().map(|(_, it, fraud)| (*it, *fraud)).collect();
    let known = both.iter().any(|(.., fraud)| *fraud);
    let whole = share(both.len(), 1);
    ShadowComparison {
        model_id,
        scores: evaluation::len(both),
        mean_difference: (!both.is_empty()).then(|| differences.sum::<f64>() / whole),
        average_precision: known.then(|| evaluation::average_precision(&of_shadow)),
        champion_average_precision: known.then(|| evaluation::average_precision(&of_champion)),
    }
}

/// Looks every minute and shows it in the metrics, until `shutdown`.
pub async fn watch(
    db: Db,
    models: registered_model::book::ModelBook,
    clock: Clock,
    shutdown: CancellationToken,
) {
    loop {
        if let Err(error) = look_once(&db, &models, &clock).await {
            tracing::debug!(error = %error, "the model is looked at later");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn look_once(
    db: &Db,
    models: &registered_model::book::ModelBook,
    clock: &Clock,
) -> Result<(), ApiError> {
    let in_use = models.in_use();
    let mut conn = db.connection().await?;
    let seen = look(
        &mut conn,
        in_use.champion.hash(),
        in_use.shadows.iter().map(|(id, _)| *id),
        clock.now(),
    )
    .await?;
    for (name, value) in [
        ("fraud_amount_psi", seen.amount_psi),
        ("fraud_score_psi", seen.score_psi),
        ("fraud_tail_share", seen.tail_share),
        ("fraud_alert_rate", seen.alert_rate),
        ("fraud_missing_rate", seen.missing_rate),
        ("fraud_average_precision", seen.labelled.average_precision),
    ] {
        // What cannot be told is no number, and no alert.
        metrics::gauge!(name).set(value.unwrap_or(f64::NAN));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evenly(from: i32, to: i32) -> Vec<f64> {
        (from..to).map(f64::from).collect()
    }

    #[test]
    fn what_has_not_moved_has_no_index_and_what_has_does() {
        let base = evenly(0, 1000);
        assert!(psi(&base, &base).unwrap() < 1e-9);
        assert!(psi(&base, &evenly(0, 500)).unwrap() > 0.5);
        assert!(psi(&base, &evenly(900, 1100)).unwrap() > 0.5);
        assert_eq!(psi(&base, &[]), None);
        assert_eq!(psi(&[1.0], &base), None);
        // All the same: one bin.
        assert!(psi(&[5.0; 100], &[5.0; 10]).unwrap() < 1e-9);
    }

    #[test]
    fn a_tail_that_grows_is_seen_where_the_index_is_blind() {
        let base = evenly(0, 1000);
        assert_eq!(tail_share(&base, &base), Some(0.009));
        let mut moved = evenly(0, 1000);
        moved.extend([1_000_000.0; 20]);
        assert!(psi(&base, &moved).unwrap() < 0.01);
        assert!(tail_share(&base, &moved).unwrap() > 0.028);
        assert_eq!(tail_share(&evenly(0, 99), &base), None);
    }

    #[test]
    fn a_days_most_suspicious_accounts_are_counted_once() {
        let accounts = [AccountId::new(), AccountId::new()];
        let scored = |account: usize, probability, fraud| Scored {
            at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            account: accounts[account],
            probability,
            amount: 1.0,
            stopped: false,
            fraud,
        };
        let seen = labelled(&[
            scored(0, 0.9, Some(true)),
            scored(0, 0.8, Some(true)),
            scored(1, 0.7, Some(false)),
            scored(1, 0.1, None),
        ]);
        assert_eq!((seen.labels, seen.frauds), (3, 2));
        assert_eq!(seen.average_precision, Some(1.0));
        assert_eq!(seen.account_precision_at_100, Some(0.01));
        assert_eq!(labelled(&[]).average_precision, None);
    }
}
