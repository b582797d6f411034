//! What a user who lets much money leave an account has proved just before: who they are, with two factors.
//!
//! Asked for in the handler, before the request is given to a lane, because it is about who asks and not about the books. A
//! token that was made for one transfer is good for no other, whatever the amount.

use chrono::Duration;
use shared::authorization::{AuthorizationDetail, AuthorizedTransfer};
use shared::idempotency::IdempotencyKey;
use shared::{ApiError, Assurance, Clock, Denial, Outcome, Principal};

use crate::leg::Legs;
use crate::threshold::Thresholds;

/// What the operator has chosen.
#[derive(Clone, Debug)]
pub struct StepUp {
    pub above: Thresholds,
    /// How long ago the proof may be.
    pub max_age: Duration,
    /// Whether it must have been given for this very transfer.
    pub per_transfer: bool,
    /// The time that access tokens go by, which is the system's even where the sandbox has moved its own.
    pub clock: Clock,
}

/// One order of a request, with the key that it has.
pub type Order<'o> = (&'o IdempotencyKey, &'o Legs);

impl StepUp {
    /// Refuses a request whose orders need more of whoever asks than the token shows.
    pub fn check(&self, principal: &Principal, orders: &[Order<'_>]) -> Result<(), ApiError> {
        if let Some(AuthorizationDetail::Transfer(agreed)) = &principal.authorization
            && !matches!(orders, [order] if is_agreed(agreed, *order))
        {
            let detail = "The token was made for another transfer: amount, currency, payee and Idempotency-Key must be the same.";
            return Err(refused("transfer_not_authorized", detail));
        }
        if !self.above.are_exceeded_by(orders.iter().map(|(_, legs)| *legs)) {
            return Ok(());
        }
        principal
            .require_authentication(Assurance::Aal2, self.max_age, self.clock.now())
            .map_err(|error| error.outcome(Outcome::None))?;
        if self.per_transfer && principal.authorization.is_none() {
            let detail =
                "Name the transfer when you prove who you are: `transfer` of POST /api/v1/auth/step-up.";
            return Err(refused("transfer_authorization_required", detail));
        }
        Ok(())
    }
}

fn is_agreed(agreed: &AuthorizedTransfer, (key, legs): Order<'_>) -> bool {
    legs.as_pair().is_some_and(|(debit, credit)| {
        agreed.idempotency_key == key.as_str()
            && agreed.amount == debit.amount
            && agreed.currency == debit.currency
            && agreed.credit_account_id == credit.account_id
    })
}

fn refused(code: &'static str, detail: &'static str) -> ApiError {
    ApiError::forbidden(code, detail)
        .denied(Denial::InsufficientAuthentication)
        .outcome(Outcome::None)
}

#[cfg(test)]
mod tests {
    use shared::id::{AccountId, SessionId, UserId};
    use shared::{Amount, Role};

    use super::*;

    fn legs(payee: AccountId, amount: i64) -> Legs {
        let amount = Amount::try_from(amount).unwrap();
        Legs::pair(AccountId::new(), payee, amount, "USD".parse().unwrap())
    }

    fn principal(assurance: Assurance, age: Duration, agreed: Option<AuthorizedTransfer>) -> Principal {
        let now = Clock::system().now();
        Principal {
            user_id: UserId::new(),
            session_id: SessionId::new(),
            client_id: None,
            roles: vec![Role::Customer],
            scopes: None,
            actor: None,
            expires_at: now + Duration::minutes(5),
            assurance,
            authenticated_at: now - age,
            authorization: agreed.map(AuthorizationDetail::Transfer),
        }
    }

    #[test]
    fn above_the_amount_two_factors_are_needed_and_not_long_ago() {
        let step_up = StepUp {
            above: "USD=100".parse().unwrap(),
            max_age: Duration::minutes(5),
            per_transfer: false,
            clock: Clock::system(),
        };
        let key = IdempotencyKey::parse("k").unwrap();
        let check = |principal: &Principal, amounts: &[i64]| {
            let legs: Vec<_> = amounts
                .iter()
                .map(|amount| legs(AccountId::new(), *amount))
                .collect();
            let orders: Vec<_> = legs.iter().map(|legs| (&key, legs)).collect();
            step_up
                .check(principal, &orders)
                .map_err(|error| error.code().to_owned())
        };
        let (fresh, old) = (Duration::minutes(4), Duration::minutes(6));
        let insufficient = Err("insufficient_user_authentication".to_owned());
        let weak = principal(Assurance::Aal1, Duration::zero(), None);
        assert_eq!(check(&weak, &[100]), Ok(()));
        assert_eq!(check(&weak, &[101]), insufficient);
        assert_eq!(check(&weak, &[60, 60]), insufficient, "in two parts");
        assert_eq!(check(&principal(Assurance::Aal2, fresh, None), &[101]), Ok(()));
        assert_eq!(
            check(&principal(Assurance::Aal2, old, None), &[101]),
            insufficient
        );
    }

    #[test]
    fn a_token_for_one_transfer_is_good_for_no_other() {
        let payee = AccountId::new();
        let agreed = AuthorizedTransfer {
            idempotency_key: "rent".to_owned(),
            amount: Amount::try_from(500).unwrap(),
            currency: "USD".parse().unwrap(),
            credit_account_id: payee,
        };
        let bound = principal(Assurance::Aal2, Duration::zero(), Some(agreed));
        let step_up = StepUp {
            above: "USD=100".parse().unwrap(),
            max_age: Duration::minutes(5),
            per_transfer: true,
            clock: Clock::system(),
        };
        let code = |principal: &Principal, key: &str, legs: &Legs| {
            let key = IdempotencyKey::parse(key).unwrap();
            let checked = step_up.check(principal, &[(&key, legs)]);
            checked.err().map(|error| error.code().to_owned())
        };
        assert_eq!(code(&bound, "rent", &legs(payee, 500)), None);
        let refused = Some("transfer_not_authorized".to_owned());
        assert_eq!(code(&bound, "renu", &legs(payee, 500)), refused);
        assert_eq!(code(&bound, "rent", &legs(payee, 501)), refused);
        assert_eq!(code(&bound, "rent", &legs(AccountId::new(), 500)), refused);
        assert_eq!(
            code(&bound, "rent", &legs(AccountId::new(), 1)),
            refused,
            "a small one"
        );
        let unbound = principal(Assurance::Aal2, Duration::zero(), None);
        let required = Some("transfer_authorization_required".to_owned());
        assert_eq!(code(&unbound, "rent", &legs(payee, 500)), required);
        assert_eq!(code(&unbound, "rent", &legs(payee, 100)), None);
    }
}
