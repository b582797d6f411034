//! What every handler may use.

use shared::clients::transactions::TransactionsClient;
use shared::{Clock, Db};

pub struct AppState {
    pub db: Db,
    pub clock: Clock,
    pub ledger: TransactionsClient,
}
