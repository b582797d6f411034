//! The state of the service, which handlers share.

use shared::clients::transactions::TransactionsClient;
use shared::{Clock, Db};

use crate::origin::OriginKey;
use crate::registered_model::book::ModelBook;
use crate::registered_model::shadow::ShadowQueue;
use crate::risk::model::RiskModel;
use crate::rule::book::RuleBook;
use crate::score::latency::RecentLatency;
use crate::slot::Slots;

/// What handlers work with.
pub struct State {
    pub db: Db,
    pub clock: Clock,
    pub rules: RuleBook,
    pub models: ModelBook,
    pub shadows: ShadowQueue,
    pub latency: RecentLatency,
    pub origin_key: OriginKey,
    /// Asked in the name of an analyst.
    pub ledger: TransactionsClient,
    /// Asked for balances in this service's own name.
    pub balances: TransactionsClient,
    /// How many insights may still be computed at a time.
    pub insight_slots: Slots,
    /// The same of what staff has computed: tests of rules, comparisons of models.
    pub staff_slots: Slots,
    pub risk: RiskModel,
}
