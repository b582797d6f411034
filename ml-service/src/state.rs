//! What handlers work with.

use shared::{Clock, Db};

use crate::origin::OriginKey;
use crate::rule::book::RuleBook;

/// What handlers work with.
pub struct State {
    pub db: Db,
    pub clock: Clock,
    pub rules: RuleBook,
    pub origin_key: OriginKey,
}
