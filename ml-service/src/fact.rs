//! Facts: what became of transfers, as `transactions-service` tells it, each exactly once. They go into the log
//! (`transfer_log`), and those that were paid into the states of their accounts. What decides is the position in the ledger's
//! outbox, which is stored in the same transaction.

pub mod handlers;
pub mod queries;

use std::collections::{BTreeMap, HashMap};

use shared::clients::ml::Fact;
use shared::clients::transactions::TransferStatus;
use shared::id::AccountId;

use crate::account_state::AccountState;

/// Whether it tells something about how the debit account pays.
pub fn is_paid(fact: &Fact) -> bool {
    fact.status == TransferStatus::Posted && fact.kind.is_paid()
}

/// The states after the facts that are paid, in id order.
pub fn learn(known: HashMap<AccountId, AccountState>, facts: &[Fact]) -> Vec<AccountState> {
    let mut states: BTreeMap<AccountId, AccountState> = known.into_iter().collect();
    for fact in facts.iter().filter(|fact| is_paid(fact)) {
        states
            .entry(fact.debit_account_id)
            .and_modify(|state| state.observe(fact))
            .or_insert_with(|| AccountState::first(fact));
    }
    states.into_values().collect()
}
