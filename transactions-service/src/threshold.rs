//! Amounts above which more is asked of whoever lets money leave an account: a second person (`APPROVAL_ABOVE`), or a second
//! proof of who they are (`STEP_UP_ABOVE`).

use std::str::FromStr;
use std::sync::Arc;

use shared::money::MAX_AMOUNT;
use shared::{Amount, Currency};

use crate::leg::Legs;

/// `USD=1000000,JPY=1500000`: minor units for each currency; in a currency that is not named nothing is above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thresholds(Arc<[(Currency, i64)]>);

#[derive(Debug, thiserror::Error)]
#[error(
    "expected `CURRENCY=amount` pairs with commas between them, amounts in minor units and each currency once"
)]
pub struct InvalidThresholds;

impl FromStr for Thresholds {
    type Err = InvalidThresholds;

    fn from_str(text: &str) -> Result<Self, InvalidThresholds> {
        let mut above: Vec<(Currency, i64)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (currency, amount) = pair.split_once('=').ok_or(InvalidThresholds)?;
            let currency = currency.parse().map_err(|_| InvalidThresholds)?;
            let amount: i64 = amount.parse().map_err(|_| InvalidThresholds)?;
            if !(0..=MAX_AMOUNT).contains(&amount) || above.iter().any(|(known, _)| *known == currency) {
                return Err(InvalidThresholds);
            }
            above.push((currency, amount));
        }
        Ok(Self(above.into()))
    }
}

impl Thresholds {
    /// Whether all these together debit more of a currency.
    pub fn are_exceeded_by<'l>(&self, orders: impl IntoIterator<Item = &'l Legs> + Clone) -> bool {
        self.0.iter().any(|(currency, above)| {
            let debits = orders.clone().into_iter().flat_map(Legs::debits);
            let debits = debits.filter(|leg| leg.currency == *currency);
            // A thousand times 100 legs of 2^53 do not come near an i128's end.
            let debited: i128 = debits.map(|leg| i128::from(Amount::minor(leg.amount))).sum();
            debited > i128::from(*above)
        })
    }
}

#[cfg(test)]
mod tests {
    use shared::id::AccountId;

    use super::*;

    #[test]
    fn each_currency_has_its_own_amount() {
        let thresholds: Thresholds = "USD=1000, JPY=150".parse().unwrap();
        for (amount, currency, above) in [
            (1000, "USD", false),
            (1001, "USD", true),
            (151, "JPY", true),
            (5000, "EUR", false),
        ] {
            let legs = Legs::pair(
                AccountId::new(),
                AccountId::new(),
                Amount::try_from(amount).unwrap(),
                currency.parse().unwrap(),
            );
            assert_eq!(thresholds.are_exceeded_by([&legs]), above, "{amount} {currency}");
            let twice = thresholds.are_exceeded_by([&legs, &legs]);
            assert_eq!(twice, currency != "EUR", "twice {amount} {currency}");
        }
        assert_eq!("".parse::<Thresholds>().unwrap(), Thresholds::default());
        for wrong in ["USD", "USD=", "USD=-1", "USD=1,USD=2", "XXY=1", "USD=1.5"] {
            assert!(wrong.parse::<Thresholds>().is_err(), "{wrong}");
        }
    }
}
