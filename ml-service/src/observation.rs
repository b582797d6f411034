//! Learning: facts that `transactions-service` posted are folded into the states of their accounts, each exactly once. What
//! decides is the position in its outbox, which is stored in the same transaction as the states.

pub mod handlers;
pub mod queries;

use std::collections::{BTreeMap, HashMap};

use shared::clients::ml::Observation;
use shared::id::AccountId;

use crate::account_state::AccountState;

/// The states after `observations`, in id order.
pub fn learn(known: HashMap<AccountId, AccountState>, observations: &[Observation]) -> Vec<AccountState> {
    let mut states: BTreeMap<AccountId, AccountState> = known.into_iter().collect();
    for observation in observations {
        states
            .entry(observation.debit_account_id)
            .and_modify(|state| state.observe(observation))
            .or_insert_with(|| AccountState::first(observation));
    }
    states.into_values().collect()
}
