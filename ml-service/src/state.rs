//! What handlers work with.

use shared::clients::transactions::TransactionsClient;
use shared::{Clock, Db};

use crate::origin::OriginKey;
use crate::registered_model::book::ModelBook;
use crate::registered_model::shadow::ShadowQueue;
use crate::rule::book::RuleBook;

/// What handlers work with.
pub struct State {
    pub db: Db,
    pub clock: Clock,
    pub rules: RuleBook,
    pub models: ModelBook,
    pub shadows: ShadowQueue,
    pub origin_key: OriginKey,
    pub ledger: TransactionsClient,
}
