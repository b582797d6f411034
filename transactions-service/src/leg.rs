//! The legs of an order: what each account gives or gets. Debits and credits balance in every currency.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use shared::clients::transactions::Direction;
use shared::id::AccountId;
use shared::{Amount, Currency};
use utoipa::ToSchema;

/// One leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Leg)]
pub struct LegOrder {
    pub account_id: AccountId,
    /// `debit` takes money out of the account, `credit` brings it in.
    pub direction: Direction,
    pub amount: Amount,
    /// The account's currency.
    pub currency: Currency,
    /// What must hold of the available balance once the transfer is made, or nothing of it is. A transfer that waits for a person is
    /// looked at when its money is held. Of your own accounts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_balance: Option<Condition>,
}

/// Bounds in minor units, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0)]
    pub gte: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lte: Option<i64>,
}

impl Condition {
    pub fn holds_for(self, balance: i64) -> bool {
        self.gte.is_none_or(|least| balance >= least) && self.lte.is_none_or(|most| balance <= most)
    }
}

/// Legs that balance: at least one debit and one credit, each account once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legs(Vec<LegOrder>);

pub const MAX_LEGS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidLegs {
    /// Not 2 to [`MAX_LEGS`], or all of one direction.
    Count,
    SameAccount,
    Unbalanced(Currency),
}

impl fmt::Display for InvalidLegs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(f, "expected 2 to {MAX_LEGS} legs, with a debit and a credit"),
            Self::SameAccount => f.write_str("each account can be in one leg only"),
            Self::Unbalanced(currency) => {
                write!(f, "debits and credits in {} are not equal", currency.code())
            }
        }
    }
}

impl Legs {
    /// A debit and a credit of the same amount.
    pub fn pair(debit: AccountId, credit: AccountId, amount: Amount, currency: Currency) -> Self {
        let leg = |account_id, direction| LegOrder {
            account_id,
            direction,
            amount,
            currency,
            available_balance: None,
        };
        Self(vec![leg(debit, Direction::Debit), leg(credit, Direction::Credit)])
    }

    pub fn parse(legs: Vec<LegOrder>) -> Result<Self, InvalidLegs> {
        let has = |direction| legs.iter().any(|leg| leg.direction == direction);
        if legs.len() > MAX_LEGS || !has(Direction::Debit) || !has(Direction::Credit) {
            return Err(InvalidLegs::Count);
        }
        let accounts: BTreeSet<AccountId> = legs.iter().map(|leg| leg.account_id).collect();
        if accounts.len() != legs.len() {
            return Err(InvalidLegs::SameAccount);
        }
        let mut sums: BTreeMap<&str, (Currency, i128)> = BTreeMap::new();
        for leg in &legs {
            let signed = match leg.direction {
                Direction::Debit => -i128::from(leg.amount.minor()),
                Direction::Credit => i128::from(leg.amount.minor()),
            };
            // 100 legs of 2^53 do not come near an i128's end.
            sums.entry(leg.currency.code()).or_insert((leg.currency, 0)).1 += signed;
        }
        match sums.values().find(|(_, sum)| *sum != 0) {
            Some((currency, _)) => Err(InvalidLegs::Unbalanced(*currency)),
            None => Ok(Self(legs)),
        }
    }

    /// The other way round, without conditions.
    pub fn reversed(&self) -> Self {
        let reversed = self.0.iter().rev().map(|leg| LegOrder {
            direction: match leg.direction {
                Direction::Debit => Direction::Credit,
                Direction::Credit => Direction::Debit,
            },
            available_balance: None,
            ..leg.clone()
        });
        Self(reversed.collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &LegOrder> {
        self.0.iter()
    }

    pub fn debits(&self) -> impl Iterator<Item = &LegOrder> {
        self.iter().filter(|leg| leg.direction == Direction::Debit)
    }

    pub fn credits(&self) -> impl Iterator<Item = &LegOrder> {
        self.iter().filter(|leg| leg.direction == Direction::Credit)
    }

    pub fn largest_debit(&self) -> Option<&LegOrder> {
        self.debits().max_by_key(|leg| leg.amount)
    }

    pub fn largest_credit(&self) -> Option<&LegOrder> {
        self.credits().max_by_key(|leg| leg.amount)
    }

    /// The debit and the credit, when these are all.
    pub fn as_pair(&self) -> Option<(&LegOrder, &LegOrder)> {
        match self.0.as_slice() {
            [debit, credit] if debit.direction == Direction::Debit => Some((debit, credit)),
            [credit, debit] => Some((debit, credit)),
            _ => None,
        }
    }

    /// All that is debited in the currency of the largest debit, in minor units.
    pub fn total(&self) -> i64 {
        let currency = self.largest_debit().map(|leg| leg.currency);
        let debits = self.debits().filter(|leg| Some(leg.currency) == currency);
        debits.fold(0, |sum: i64, leg| sum.saturating_add(leg.amount.minor()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(account: u128, direction: Direction, amount: i64, currency: &str) -> LegOrder {
        LegOrder {
            account_id: AccountId::from_uuid(uuid::Uuid::from_u128(account)),
            direction,
            amount: Amount::try_from(amount).unwrap(),
            currency: currency.parse().unwrap(),
            available_balance: None,
        }
    }

    #[test]
    fn legs_balance_in_every_currency() {
        use Direction::{Credit, Debit};
        let usd = "USD".parse().unwrap();
        let cases = [
            (vec![leg(1, Debit, 5, "USD"), leg(2, Credit, 5, "USD")], None),
            (
                vec![leg(1, Debit, 5, "USD"), leg(2, Credit, 4, "USD")],
                Some(InvalidLegs::Unbalanced(usd)),
            ),
            (
                vec![leg(1, Debit, 5, "USD"), leg(2, Credit, 5, "EUR")],
                Some(InvalidLegs::Unbalanced("EUR".parse().unwrap())),
            ),
            (
                vec![leg(1, Debit, 5, "USD"), leg(1, Credit, 5, "USD")],
                Some(InvalidLegs::SameAccount),
            ),
            (
                vec![leg(1, Debit, 5, "USD"), leg(2, Debit, 5, "USD")],
                Some(InvalidLegs::Count),
            ),
            (vec![], Some(InvalidLegs::Count)),
            (
                vec![
                    leg(1, Debit, 5, "USD"),
                    leg(2, Credit, 3, "USD"),
                    leg(3, Credit, 2, "USD"),
                    leg(4, Debit, 7, "EUR"),
                    leg(5, Credit, 7, "EUR"),
                ],
                None,
            ),
        ];
        for (legs, expected) in cases {
            assert_eq!(Legs::parse(legs.clone()).err(), expected, "{legs:?}");
        }
    }

    #[test]
    fn reversed_twice_is_the_same() {
        let legs = Legs::parse(vec![
            leg(1, Direction::Debit, 5, "USD"),
            leg(2, Direction::Credit, 3, "USD"),
            leg(3, Direction::Credit, 2, "USD"),
        ])
        .unwrap();
        assert_eq!(legs.reversed().reversed(), legs);
        assert_eq!(legs.reversed().debits().count(), 2);
    }

    #[test]
    fn a_condition_has_inclusive_bounds() {
        let condition = Condition {
            gte: Some(0),
            lte: Some(10),
        };
        for (balance, holds) in [(-1, false), (0, true), (10, true), (11, false)] {
            assert_eq!(condition.holds_for(balance), holds, "{balance}");
        }
    }
}
