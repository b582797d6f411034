//! The habits of an account as a sender: how often it pays, how much, and whom. Learnt from posted transfers only, so
//! that attempts which failed cannot build a history.

pub mod queries;

use std::fmt;

use chrono::{DateTime, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::{Array, Int4, Nullable, Uuid};
use shared::clients::ml::Fact;
use shared::id::AccountId;

use crate::schema::account_states;

const BUCKETS: usize = 12;
const BUCKET_S: i64 = 300;
const MAX_COUNTERPARTIES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(check_for_backend(Pg))]
pub struct AccountState {
    pub account_id: AccountId,
    pub transfer_count: i64,
    pub amount_sum: i64,
    pub amount_max: i64,
    pub last_at: DateTime<Utc>,
    /// The newest five minutes in `velocity_counts`.
    pub velocity_bucket: i64,
    pub velocity_counts: VelocityCounts,
    pub counterparty_ids: CounterpartyIds,
}

/// Transfers in each of the twelve five-minute buckets of an hour, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromSqlRow)]
pub struct VelocityCounts([i32; BUCKETS]);

/// The accounts that were paid most recently, newest first, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromSqlRow)]
pub struct CounterpartyIds(Vec<AccountId>);

fn bucket_of(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(BUCKET_S)
}

impl AccountState {
    /// The state after the account's first transfer.
    pub fn first(fact: &Fact) -> Self {
        let mut velocity_counts = VelocityCounts::default();
        velocity_counts.add(0);
        Self {
            account_id: fact.debit_account_id,
            transfer_count: 1,
            amount_sum: fact.amount,
            amount_max: fact.amount,
            last_at: fact.at,
            velocity_bucket: bucket_of(fact.at),
            velocity_counts,
            counterparty_ids: CounterpartyIds(vec![fact.credit_account_id]),
        }
    }

    /// The state after one more transfer.
    pub fn observe(&mut self, fact: &Fact) {
        if self.amount_sum.checked_add(fact.amount).is_none() {
            // Halving both keeps the mean, which is all that rules ask of them.
            self.amount_sum /= 2;
            self.transfer_count = (self.transfer_count / 2).max(1);
        }
        self.amount_sum = self.amount_sum.saturating_add(fact.amount);
        self.transfer_count = self.transfer_count.saturating_add(1);
        self.amount_max = self.amount_max.max(fact.amount);
        self.last_at = self.last_at.max(fact.at);
        self.count_in_bucket(bucket_of(fact.at));
        self.counterparty_ids.remember(fact.credit_account_id);
    }

    fn count_in_bucket(&mut self, bucket: i64) {
        if let Ok(newer_by @ 1..) = usize::try_from(bucket - self.velocity_bucket) {
            self.velocity_counts.advance(newer_by);
            self.velocity_bucket = bucket;
        }
        if let Ok(age) = usize::try_from(self.velocity_bucket - bucket) {
            self.velocity_counts.add(age);
        }
    }

    /// Transfers that were posted in the hour before `at`, to within five minutes.
    pub fn count_in_hour_before(&self, at: DateTime<Utc>) -> i64 {
        let newer_by = usize::try_from(bucket_of(at) - self.velocity_bucket).unwrap_or(0);
        self.velocity_counts.newest(BUCKETS.saturating_sub(newer_by))
    }

    pub fn has_paid(&self, counterparty: AccountId) -> bool {
        self.counterparty_ids.0.contains(&counterparty)
    }
}

impl VelocityCounts {
    fn advance(&mut self, by: usize) {
        let by = by.min(BUCKETS);
        self.0.rotate_right(by);
        self.0.iter_mut().take(by).for_each(|count| *count = 0);
    }

    /// What is older than the hour is not counted.
    fn add(&mut self, age: usize) {
        if let Some(count) = self.0.get_mut(age) {
            *count = count.saturating_add(1);
        }
    }

    fn newest(&self, buckets: usize) -> i64 {
        self.0.iter().take(buckets).map(|&count| i64::from(count)).sum()
    }
}

impl CounterpartyIds {
    fn remember(&mut self, id: AccountId) {
        self.0.retain(|known| *known != id);
        self.0.truncate(MAX_COUNTERPARTIES - 1);
        self.0.insert(0, id);
    }
}

/// As PostgreSQL writes arrays.
fn write_array(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    f.write_str("{")?;
    for (index, item) in items.enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { "," })?;
    }
    f.write_str("}")
}

impl fmt::Display for VelocityCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_array(f, self.0.iter())
    }
}

impl fmt::Display for CounterpartyIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_array(f, self.0.iter().map(|id| id.uuid()))
    }
}

impl FromSql<Array<Nullable<Int4>>, Pg> for VelocityCounts {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let counts = <Vec<Option<i32>> as FromSql<Array<Nullable<Int4>>, Pg>>::from_sql(value)?;
        let counts: Vec<i32> = counts.into_iter().flatten().collect();
        let counts = counts
            .try_into()
            .map_err(|_| format!("velocity_counts has not {BUCKETS} numbers"))?;
        Ok(Self(counts))
    }
}

impl FromSql<Array<Nullable<Uuid>>, Pg> for CounterpartyIds {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let ids = <Vec<Option<AccountId>> as FromSql<Array<Nullable<Uuid>>, Pg>>::from_sql(value)?;
        Ok(Self(ids.into_iter().flatten().collect()))
    }
}

/// A payment from account 1.
#[cfg(test)]
pub fn payment(amount: i64, credit_account_id: AccountId, at: DateTime<Utc>) -> Fact {
    use shared::clients::transactions::{TransferKind, TransferStatus};
    Fact {
        transfer_id: shared::id::TransferId::new(),
        status: TransferStatus::Posted,
        kind: TransferKind::Transfer,
        original_transfer_id: None,
        debit_account_id: AccountId::from_uuid(uuid::Uuid::from_u128(1)),
        credit_account_id,
        debit_holder_id: None,
        credit_holder_id: None,
        amount,
        currency: "USD".parse().unwrap(),
        description: None,
        code: None,
        decided_by: None,
        at,
    }
}

/// The state after transfers of these amounts, all to one account.
#[cfg(test)]
pub fn state_of(amounts: &[i64], credit_account_id: AccountId) -> Option<AccountState> {
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let fact = |amount: &i64| payment(*amount, credit_account_id, at);
    let (first, rest) = amounts.split_first()?;
    let mut state = AccountState::first(&fact(first));
    rest.iter().for_each(|amount| state.observe(&fact(amount)));
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(amount: i64, credit_account_id: AccountId, minute: i64) -> Fact {
        payment(amount, credit_account_id, at(minute))
    }

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + minute * 60, 0).unwrap()
    }

    /// The state after one transfer at each of these minutes.
    fn state(minutes: &[i64]) -> AccountState {
        let payee = AccountId::new();
        let (first, rest) = minutes.split_first().unwrap();
        let mut state = AccountState::first(&fact(100, payee, *first));
        rest.iter()
            .for_each(|minute| state.observe(&fact(100, payee, *minute)));
        state
    }

    #[test]
    fn the_last_hour_slides() {
        let state = state(&[0, 1, 30, 58, 59]);
        for (minute, count) in [
            (59, 5),
            (60, 3),
            (89, 3),
            (90, 2),
            (114, 2),
            (115, 0),
            (10_000, 0),
        ] {
            assert_eq!(state.count_in_hour_before(at(minute)), count, "{minute}");
        }
        assert_eq!(
            state.count_in_hour_before(at(0)),
            5,
            "a clock that lags sees all of them"
        );
    }

    #[test]
    fn a_late_fact_counts_in_its_own_time_and_one_too_old_does_not() {
        assert_eq!(state(&[59, 0]).count_in_hour_before(at(59)), 2);
        assert_eq!(state(&[59, 0]).count_in_hour_before(at(60)), 1);
        let late = state(&[120, 0]);
        assert_eq!((late.count_in_hour_before(at(120)), late.transfer_count), (1, 2));
        assert_eq!(late.last_at, at(120));
    }

    #[test]
    fn the_counterparties_paid_most_recently_are_known() {
        let payees: Vec<AccountId> = (0..=64).map(|_| AccountId::new()).collect();
        let mut state = AccountState::first(&fact(1, payees[0], 0));
        payees[1..64]
            .iter()
            .for_each(|payee| state.observe(&fact(1, *payee, 0)));
        assert!(payees[..64].iter().all(|payee| state.has_paid(*payee)));
        state.observe(&fact(1, payees[0], 0));
        state.observe(&fact(1, payees[64], 0));
        assert!(state.has_paid(payees[0]) && state.has_paid(payees[64]));
        assert!(!state.has_paid(payees[1]));
    }

    #[test]
    fn a_sum_that_would_overflow_keeps_its_mean() {
        let payee = AccountId::new();
        let mut state = AccountState::first(&fact(shared::money::MAX_AMOUNT, payee, 0));
        (0..5_000).for_each(|_| state.observe(&fact(shared::money::MAX_AMOUNT, payee, 0)));
        let mean = state.amount_sum / state.transfer_count;
        let off_by = (mean - shared::money::MAX_AMOUNT).abs();
        assert!(off_by < shared::money::MAX_AMOUNT / 100, "{mean}");
    }
}
