//! What handlers work with.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use shared::id::AccountId;
use shared::{Clock, Currency, Db};

use crate::lane::Lanes;
use crate::step_up::StepUp;
use crate::webhook::delivery::Webhooks;

pub struct State {
    pub db: Db,
    pub lanes: Lanes,
    pub clock: Clock,
    /// Whether money can be made to enter and leave over the sandbox rail.
    pub sandbox_rail: bool,
    pub webhooks: Webhooks,
    pub step_up: StepUp,
    clearing_accounts: RwLock<HashMap<Currency, AccountId>>,
}

impl State {
    pub fn new(
        db: Db,
        lanes: Lanes,
        clock: Clock,
        sandbox_rail: bool,
        webhooks: Webhooks,
        step_up: StepUp,
    ) -> Self {
        Self {
            db,
            lanes,
            clock,
            sandbox_rail,
            webhooks,
            step_up,
            clearing_accounts: RwLock::default(),
        }
    }

    /// A clearing account that was looked up before; it never changes.
    pub fn known_clearing_account(&self, currency: Currency) -> Option<AccountId> {
        self.clearing_accounts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&currency)
            .copied()
    }

    pub fn remember_clearing_account(&self, currency: Currency, id: AccountId) {
        self.clearing_accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(currency, id);
    }
}
