//! Above which amounts a second person must approve what leaves an account, whatever its fraud score.

use std::str::FromStr;
use std::sync::Arc;

use shared::money::MAX_AMOUNT;
use shared::{Amount, Currency};

use crate::leg::Legs;

/// `USD=1000000,JPY=1500000`: minor units for each currency; in a currency that is not named nothing needs approval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals(Arc<[(Currency, i64)]>);

#[derive(Debug, thiserror::Error)]
#[error(
    "expected `CURRENCY=amount` pairs with commas between them, amounts in minor units and each currency once"
)]
pub struct InvalidApprovals;

impl FromStr for Approvals {
    type Err = InvalidApprovals;

    fn from_str(text: &str) -> Result<Self, InvalidApprovals> {
        let mut above: Vec<(Currency, i64)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (currency, amount) = pair.split_once('=').ok_or(InvalidApprovals)?;
            let currency = currency.parse().map_err(|_| InvalidApprovals)?;
            let amount: i64 = amount.parse().map_err(|_| InvalidApprovals)?;
            if !(0..=MAX_AMOUNT).contains(&amount) || above.iter().any(|(known, _)| *known == currency) {
                return Err(InvalidApprovals);
            }
            above.push((currency, amount));
        }
        Ok(Self(above.into()))
    }
}

impl Approvals {
    /// Whether these legs debit more of a currency than one person may.
    pub fn are_needed_for(&self, legs: &Legs) -> bool {
        self.0.iter().any(|(currency, above)| {
            let debits = legs.debits().filter(|leg| leg.currency == *currency);
            // 100 legs of 2^53 do not come near an i128's end.
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
        let approvals: Approvals = "USD=1000, JPY=150".parse().unwrap();
        for (amount, currency, needed) in [
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
            assert_eq!(approvals.are_needed_for(&legs), needed, "{amount} {currency}");
        }
        assert_eq!("".parse::<Approvals>().unwrap(), Approvals::default());
        for wrong in ["USD", "USD=", "USD=-1", "USD=1,USD=2", "XXY=1", "USD=1.5"] {
            assert!(wrong.parse::<Approvals>().is_err(), "{wrong}");
        }
    }
}
