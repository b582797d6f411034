//! What a user has agreed to with a proof of who they are: the `authorization_details` of access tokens (RFC 9396).
//!
//! A token with such a detail was made for one transfer, and is refused for any other, and for every other change
//! (`scope::require_order`): whoever steals it, or alters the request on its way, moves nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::AccountId;
use crate::{Amount, Currency};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum AuthorizationDetail {
    Transfer(AuthorizedTransfer),
}

/// The one transfer that a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorizedTransfer {
    /// The `Idempotency-Key` that it will have.
    #[schema(max_length = 255)]
    pub idempotency_key: String,
    pub amount: Amount,
    pub currency: Currency,
    /// Who is paid.
    pub credit_account_id: AccountId,
}
