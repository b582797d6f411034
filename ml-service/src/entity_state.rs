//! The states of the feature engine (`feature`) made durable: a batch of facts loads those of its entities, computes, and
//! writes them back in the transaction that takes the facts in. Together they stand at one position of the log, which is
//! read with them, so that a replay of the log up to there has the same states.
//!
//! Deliberately absent: a cache. Replicas would have to agree on it, and one statement by key reads what a batch needs.

pub mod queries;
pub mod replay;

use shared::Currency;
use shared::clients::ml::ScoreRequest;
use shared::id::AccountId;
use uuid::Uuid;

use crate::feature::{Entity, Event, Key, States, observe};
use crate::origin::HashedOrigin;
use crate::transfer_log::LoggedTransfer;

/// States as they were when the log stood at `applied`.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub states: States,
    pub applied: i64,
}

fn event(
    at: i64,
    [account, counterparty]: [AccountId; 2],
    origin: HashedOrigin,
    (amount, currency): (i64, Currency),
) -> Event {
    let key = |id: Uuid| Key(id.as_u128());
    Event {
        at,
        account: key(account.uuid()),
        counterparty: key(counterparty.uuid()),
        device: origin.device.map(key),
        address: origin.address.map(key),
        amount,
        // No currency has more than four.
        exponent: u8::try_from(currency.exponent()).unwrap_or(u8::MAX),
    }
}

/// A transfer that wants to be posted, as the engine sees it.
pub fn event_of_request(request: &ScoreRequest, origin: HashedOrigin) -> Event {
    event(
        request.requested_at.timestamp(),
        [request.debit_account_id, request.credit_account_id],
        origin,
        (request.amount, request.currency),
    )
}

/// A transfer of the log, as the engine sees it.
pub fn event_of_transfer(transfer: &LoggedTransfer) -> Event {
    let origin = HashedOrigin {
        device: transfer.device,
        address: transfer.address,
    };
    event(
        transfer.occurred_at.timestamp(),
        [transfer.debit_account_id, transfer.credit_account_id],
        origin,
        (transfer.amount, transfer.currency),
    )
}

/// Counts in the transfers that tell how somebody pays; `transfers` are in the order of their positions.
pub fn learn<'a>(transfers: impl IntoIterator<Item = &'a LoggedTransfer>, states: &mut States) {
    for transfer in transfers {
        if transfer.is_paid() {
            observe(&event_of_transfer(transfer), states);
        }
    }
}

/// How an entity is named in the database.
fn to_bytes(entity: &Entity) -> Vec<u8> {
    let (letter, keys) = match entity {
        Entity::Account(key) => (b'a', [Some(key), None]),
        Entity::Counterparty(key) => (b'c', [Some(key), None]),
        Entity::Pair(from, to) => (b'p', [Some(from), Some(to)]),
        Entity::Device(key) => (b'd', [Some(key), None]),
        Entity::Address(key) => (b'n', [Some(key), None]),
    };
    let keys = keys.into_iter().flatten().flat_map(|key| key.0.to_be_bytes());
    std::iter::once(letter).chain(keys).collect()
}

fn from_bytes(bytes: &[u8]) -> Option<Entity> {
    let key = |bytes: &[u8]| Some(Key(u128::from_be_bytes(bytes.try_into().ok()?)));
    let (letter, rest) = bytes.split_first()?;
    Some(match letter {
        b'a' => Entity::Account(key(rest)?),
        b'c' => Entity::Counterparty(key(rest)?),
        b'd' => Entity::Device(key(rest)?),
        b'n' => Entity::Address(key(rest)?),
        b'p' => {
            let (from, to) = rest.split_at_checked(16)?;
            Entity::Pair(key(from)?, key(to)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_entity_is_read_again() {
        let (one, other) = (Key(1), Key(u128::MAX));
        for entity in [
            Entity::Account(one),
            Entity::Counterparty(one),
            Entity::Pair(one, other),
            Entity::Pair(other, one),
            Entity::Device(other),
            Entity::Address(other),
        ] {
            assert_eq!(from_bytes(&to_bytes(&entity)), Some(entity));
        }
        for nonsense in [
            &b""[..],
            b"a",
            b"x0123456789abcdef",
            b"p0123456789abcdef",
            b"a0123456789abcdefg",
        ] {
            assert_eq!(from_bytes(nonsense), None, "{nonsense:?}");
        }
    }
}
