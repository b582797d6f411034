//! Insights: what a holder's own transfers tell, each with its evidence. Pure functions over a bounded part of the log of
//! facts ([`movement`]): what payments are for ([`category`]), which of them come again ([`recurring`], [`subscription`]),
//! what is unlike the rest ([`anomaly`]), what is left of the income ([`saving`]) and of a budget ([`budget`]), and how the
//! balance may go on ([`cash_flow`]). They are computed when they are asked for and stored nowhere; what is stored is what
//! the holder said: corrections, budgets, ratings and dismissals.
//!
//! How often each kind is right is measured on generated households ([`benchmark`]); `ml-service/insights.md` has the figures.
//! Deliberately absent: advice, and anything about somebody else's money.

pub mod anomaly;
pub mod benchmark;
pub mod budget;
pub mod cash_flow;
pub mod category;
pub mod feedback;
pub mod handlers;
pub mod household;
pub mod movement;
pub mod queries;
pub mod reading;
pub mod recurring;
pub mod saving;
pub mod statistics;
pub mod subscription;
pub mod wording;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use shared::Currency;
use shared::id::{InsightId, TransferId};
use utoipa::ToSchema;
use uuid::Uuid;

use budget::Budget;
use cash_flow::Forecast;
use category::Category;
use movement::{History, Movement};

/// How long what has happened is news.
pub const NEWS_DAYS: i64 = 60;
/// An insight names at most so many transfers: the newest.
const MAX_EVIDENCE: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InsightKind {
    /// The balance may go below zero.
    OverdraftRisk,
    /// Something was paid twice.
    DuplicatePayment,
    /// What comes regularly has not come.
    MissedPayment,
    /// More was spent than budgeted.
    BudgetExceeded,
    /// At this pace more will be.
    BudgetPace,
    /// What comes regularly costs more than before.
    PriceRise,
    /// A payment far above those of its category.
    UnusualPayment,
    /// A month with far more spending in a category than those before.
    CategorySpike,
    /// More or less was left of the income than usually.
    SavingsRateChange,
    /// Something began to be paid regularly.
    NewSubscription,
}

impl InsightKind {
    /// The most pressing first.
    pub const ALL: [Self; 10] = [
        Self::OverdraftRisk,
        Self::DuplicatePayment,
        Self::MissedPayment,
        Self::BudgetExceeded,
        Self::BudgetPace,
        Self::PriceRise,
        Self::UnusualPayment,
        Self::CategorySpike,
        Self::SavingsRateChange,
        Self::NewSubscription,
    ];

    /// As JSON and the database write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OverdraftRisk => "overdraft_risk",
            Self::DuplicatePayment => "duplicate_payment",
            Self::MissedPayment => "missed_payment",
            Self::BudgetExceeded => "budget_exceeded",
            Self::BudgetPace => "budget_pace",
            Self::PriceRise => "price_rise",
            Self::UnusualPayment => "unusual_payment",
            Self::CategorySpike => "category_spike",
            Self::SavingsRateChange => "savings_rate_change",
            Self::NewSubscription => "new_subscription",
        }
    }
}

/// From the first to the last day, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Period {
    pub from: NaiveDate,
    pub to: NaiveDate,
}

/// Something that the holder's transfers tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Insight {
    /// The same for the same finding, whenever it is asked for.
    pub id: InsightId,
    pub kind: InsightKind,
    pub currency: Currency,
    #[schema(example = "“Netflix” costs more")]
    pub title: String,
    /// For the holder.
    #[schema(example = "“Netflix” rose from 12.99 USD to 15.99 USD a month on 3 November 2026, by 23.0 %.")]
    pub sentence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// What it is about, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The transfers that it was found in, oldest first: the newest of them, at most 24.
    pub evidence: Vec<TransferId>,
    pub period: Period,
    /// How sure it is, in per cent, as measured by `ml-service insights-benchmark`.
    #[schema(minimum = 1, maximum = 99)]
    pub confidence: u8,
}

/// Everything about an insight that its finder knows.
struct Finding<'a> {
    kind: InsightKind,
    /// What makes it this finding and no other, beside its kind: never a day that moves with today.
    subject: String,
    title: String,
    sentence: String,
    category: Option<Category>,
    amount: Option<i64>,
    evidence: Vec<&'a Movement>,
    period: Period,
    confidence: u8,
}

impl Finding<'_> {
    fn into_insight(self, history: &History) -> Option<Insight> {
        let name = (history.holder, self.kind, history.currency, &self.subject);
        let digest = shared::idempotency::fingerprint("insight", &name).ok()?;
        let id = uuid::Builder::from_custom_bytes(*digest.first_chunk()?).into_uuid();
        let mut evidence = self.evidence;
        evidence.sort_by_key(|movement| (movement.on, movement.transfer_id));
        let first = evidence.len().saturating_sub(MAX_EVIDENCE);
        Some(Insight {
            id: InsightId::from_uuid(id),
            kind: self.kind,
            currency: history.currency,
            title: self.title,
            sentence: self.sentence,
            category: self.category,
            amount: self.amount,
            evidence: evidence
                .iter()
                .skip(first)
                .map(|movement| movement.transfer_id)
                .collect(),
            period: self.period,
            confidence: self.confidence.clamp(1, 99),
        })
    }
}

/// Everything that a history tells, the most pressing first. Without a forecast nothing is said about overdrafts.
pub fn find(history: &History, budgets: &[Budget], forecast: Option<&Forecast>) -> Vec<Insight> {
    let series = recurring::series(history);
    let mut findings = recurring::findings(history, &series);
    findings.extend(subscription::findings(history, &series));
    findings.extend(anomaly::findings(history, &series));
    findings.extend(saving::findings(history));
    findings.extend(budget::findings(history, budgets, &series));
    findings.extend(forecast.and_then(|forecast| cash_flow::finding(history, forecast)));
    let mut insights: Vec<Insight> = findings
        .into_iter()
        .filter_map(|finding| finding.into_insight(history))
        .collect();
    insights.sort_by_key(|insight| (insight.kind, std::cmp::Reverse(insight.period.to), insight.id));
    insights
}

/// The first day of its month.
fn month_of(on: NaiveDate) -> NaiveDate {
    use chrono::Datelike;
    on.with_day(1).unwrap_or(on)
}

/// The first day of the month that is so many before.
fn months_before(month: NaiveDate, count: u32) -> NaiveDate {
    month
        .checked_sub_months(chrono::Months::new(count))
        .unwrap_or(month)
}

fn last_day_of(month: NaiveDate) -> NaiveDate {
    let next = month.checked_add_months(chrono::Months::new(1));
    next.and_then(|next| next.pred_opt()).unwrap_or(month)
}

/// The name of a thing that is found again by what it is about.
fn key_of(parts: &impl Serialize) -> Uuid {
    let digest = shared::idempotency::fingerprint("insight", parts).unwrap_or_default();
    digest.first_chunk().map_or(Uuid::nil(), |bytes| {
        uuid::Builder::from_custom_bytes(*bytes).into_uuid()
    })
}
