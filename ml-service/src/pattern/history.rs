//! What the patterns are looked for in: the movements of some accounts, in memory. The job fills it from the log for the accounts
//! that moved; a benchmark fills it with everything there is.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Movement;

#[derive(Debug, Default)]
pub struct History {
    of_account: HashMap<Uuid, Vec<Arc<Movement>>>,
}

impl History {
    /// In any order, and each any number of times.
    pub fn of(movements: impl IntoIterator<Item = Movement>) -> Self {
        let mut history = Self::default();
        for movement in movements {
            history.push(movement);
        }
        for movements in history.of_account.values_mut() {
            movements.sort_by_key(|it| (it.at, it.transfer_id));
            movements.dedup_by_key(|it| it.transfer_id);
        }
        history
    }

    /// One that is not older than what is there.
    pub fn push(&mut self, movement: Movement) {
        let movement = Arc::new(movement);
        for account in [movement.from, movement.to] {
            self.of_account.entry(account).or_default().push(movement.clone());
        }
    }

    /// What concerned `account` from `since` to `until`, oldest first.
    pub fn between(
        &self,
        account: Uuid,
        since: i64,
        until: i64,
    ) -> impl DoubleEndedIterator<Item = &Movement> {
        let all = self.of_account.get(&account).map_or(&[][..], Vec::as_slice);
        let start = all.partition_point(|it| it.at < since);
        let end = all.partition_point(|it| it.at <= until);
        all.get(start..end).unwrap_or_default().iter().map(Arc::as_ref)
    }
}
