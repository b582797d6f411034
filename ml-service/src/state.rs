//! What handlers work with.

use shared::Db;

use crate::rule::book::RuleBook;

/// What handlers work with.
pub struct State {
    pub db: Db,
    pub rules: RuleBook,
}
