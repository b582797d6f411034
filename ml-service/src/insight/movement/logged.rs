//! A holder's movements in the log of facts. Between the holder's own accounts nothing is earned or spent, so such transfers
//! are none; what was refunded or reversed was not spent, so it is taken off.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use shared::TimeZone;
use shared::clients::transactions::{Direction, TransferStatus};
use shared::id::{TransferId, UserId};

use super::{History, Movement};
use crate::insight::category::{Categories, Category, CategorySource, label};
use crate::transfer_log::LoggedTransfer;

/// What a holder's transfers are to the holder, by currency.
pub fn histories(
    holder: UserId,
    zone: TimeZone,
    now: DateTime<Utc>,
    transfers: &[LoggedTransfer],
    categories: &Categories,
) -> Vec<History> {
    let given_back = given_back(transfers);
    let mut by_currency: BTreeMap<&'static str, History> = BTreeMap::new();
    for transfer in transfers {
        let history = by_currency
            .entry(transfer.currency.code())
            .or_insert_with(|| History::empty(holder, transfer.currency, zone.day_of(now)));
        let sides = [
            (transfer.debit_holder_id, transfer.debit_account_id),
            (transfer.credit_holder_id, transfer.credit_account_id),
        ];
        let own = sides.iter().filter(|(of, _)| *of == Some(holder));
        history.accounts.extend(own.map(|(_, account)| account));
        history
            .movements
            .extend(movement(holder, zone, transfer, &given_back, categories));
    }
    let mut histories: Vec<History> = by_currency.into_values().collect();
    for history in &mut histories {
        history
            .movements
            .sort_by_key(|movement| (movement.on, movement.transfer_id));
    }
    histories
}

/// How much of each transfer was refunded or reversed.
fn given_back(transfers: &[LoggedTransfer]) -> HashMap<TransferId, i64> {
    let mut given_back = HashMap::new();
    let known: HashSet<TransferId> = transfers.iter().map(|transfer| transfer.transfer_id).collect();
    for transfer in transfers.iter().filter(|it| it.status == TransferStatus::Posted) {
        if let Some(original) = transfer.original_transfer_id.filter(|id| known.contains(id)) {
            let sum: &mut i64 = given_back.entry(original).or_default();
            *sum = sum.saturating_add(transfer.amount);
        }
    }
    given_back
}

fn movement(
    holder: UserId,
    zone: TimeZone,
    transfer: &LoggedTransfer,
    given_back: &HashMap<TransferId, i64>,
    categories: &Categories,
) -> Option<Movement> {
    let (pays, gets) = (
        transfer.debit_holder_id == Some(holder),
        transfer.credit_holder_id == Some(holder),
    );
    let is_own = pays && gets;
    let original = transfer.original_transfer_id;
    let is_taken_off = original.is_some_and(|id| given_back.contains_key(&id));
    if transfer.status != TransferStatus::Posted || is_own || is_taken_off {
        return None;
    }
    let (direction, account_id, counterparty_id) = if pays {
        (
            Direction::Debit,
            transfer.debit_account_id,
            transfer.credit_account_id,
        )
    } else {
        (
            Direction::Credit,
            transfer.credit_account_id,
            transfer.debit_account_id,
        )
    };
    let off = given_back.get(&transfer.transfer_id).copied().unwrap_or(0);
    let amount = transfer.amount.saturating_sub(off);
    if amount <= 0 {
        return None;
    }
    let description = transfer.description.clone().unwrap_or_default();
    let (mut category, mut source) =
        categories.of(transfer.transfer_id, counterparty_id, direction, &description);
    // The payment that it gives back is older than what is looked at.
    if original.is_some() && direction == Direction::Credit && source == CategorySource::Nobody {
        (category, source) = (Category::Refund, CategorySource::Description);
    }
    Some(Movement {
        transfer_id: transfer.transfer_id,
        account_id,
        counterparty_id,
        direction,
        amount,
        on: zone.day_of(transfer.occurred_at),
        label: label(&description),
        description,
        category,
        source,
    })
}

#[cfg(test)]
mod tests {
    use shared::clients::transactions::TransferKind;
    use shared::id::AccountId;

    use super::*;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(uuid::Uuid::from_u128(number))
    }

    /// Of 10.00 dollars from one holder to another, at half past eleven in the evening (UTC).
    fn logged(from: Option<u128>, to: Option<u128>) -> LoggedTransfer {
        LoggedTransfer {
            position: 1,
            transfer_id: TransferId::new(),
            kind: TransferKind::Transfer,
            status: TransferStatus::Posted,
            original_transfer_id: None,
            debit_account_id: AccountId::new(),
            credit_account_id: AccountId::new(),
            debit_holder_id: from.map(user),
            credit_holder_id: to.map(user),
            amount: 1_000,
            currency: "USD".parse().unwrap(),
            description: Some("Netflix 12".to_owned()),
            code: None,
            decided_by: None,
            device: None,
            address: None,
            occurred_at: DateTime::from_timestamp(1_800_055_800, 0).unwrap(),
        }
    }

    fn amounts(transfers: &[LoggedTransfer]) -> Vec<i64> {
        let now = DateTime::from_timestamp(1_800_100_000, 0).unwrap();
        let zone = "Europe/Berlin".parse().unwrap();
        let histories = histories(user(1), zone, now, transfers, &Categories::default());
        histories
            .iter()
            .flat_map(|it| it.movements.iter().map(Movement::net))
            .collect()
    }

    #[test]
    fn only_what_comes_in_or_goes_out_moves() {
        assert_eq!(
            amounts(&[
                logged(Some(1), Some(2)),
                logged(Some(2), Some(1)),
                logged(None, Some(1))
            ])
            .len(),
            3
        );
        assert_eq!(amounts(&[logged(Some(1), Some(2))]), [-1_000]);
        assert_eq!(
            amounts(&[logged(Some(1), Some(1))]),
            [0; 0],
            "between own accounts"
        );
        for status in [TransferStatus::InReview, TransferStatus::Rejected] {
            assert_eq!(
                amounts(&[LoggedTransfer {
                    status,
                    ..logged(Some(1), None)
                }]),
                [0; 0]
            );
        }
    }

    #[test]
    fn what_was_given_back_was_not_spent() {
        let paid = logged(Some(1), Some(2));
        let back = |amount| LoggedTransfer {
            kind: TransferKind::Refund,
            original_transfer_id: Some(paid.transfer_id),
            amount,
            description: None,
            ..logged(Some(2), Some(1))
        };
        assert_eq!(amounts(&[paid.clone(), back(300)]), [-700]);
        assert_eq!(amounts(&[paid.clone(), back(300), back(700)]), [0; 0]);
        assert_eq!(
            amounts(&[back(300)]),
            [300],
            "of a payment that is not known any more"
        );
    }

    #[test]
    fn a_day_is_that_of_the_holder_and_currencies_are_apart() {
        let now = DateTime::from_timestamp(1_800_100_000, 0).unwrap();
        let mut transfers = vec![logged(Some(1), None), logged(Some(1), None)];
        transfers[1].currency = "EUR".parse().unwrap();
        let zone = "Europe/Berlin".parse().unwrap();
        let found = histories(user(1), zone, now, &transfers, &Categories::default());
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].movements[0].on.to_string(),
            "2027-01-16",
            "in UTC it is the 15th"
        );
    }
}
