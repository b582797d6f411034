//! Who most tests are about: somebody who pays, somebody who is paid, and an account of each.

use platform::{Customer, Platform};

/// Each with an account in dollars, and `amount` cents in the payer's.
pub async fn payer_and_payee(platform: &Platform, amount: i64) -> (Customer, String, Customer, String) {
    let (payer, payee) = (platform.register("payer").await, platform.register("payee").await);
    let from = payer.open_funded_account(amount, "USD").await;
    let to = payee.open_account("USD").await;
    (payer, from, payee, to)
}
