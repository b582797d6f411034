//! Looking for transfers: what a request filters by, and where in the history that can be.
//!
//! One filter chooses the index that is walked; the others are applied to what it finds. How far one page looks is bounded,
//! so a page can be shorter than its limit, or empty, and still have a `next_cursor`. Deliberately absent: totals.

pub mod handlers;
pub mod queries;

use std::collections::BTreeMap;

use actix_web::web::Query;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::id::{AccountId, TransferId, UserId};
use shared::{Amount, ApiError};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Metadata, Reference, TransferKind, TransferStatus};

/// How far apart the moment in an id, which the service's clock tells, and `created_at`, which the database's does, can be.
const CLOCKS_DIFFER_BY: TimeDelta = TimeDelta::minutes(10);

/// Whose transfers are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What a user pays, and what was posted to the user.
    OfHolder(UserId),
    /// Everybody's that wait for a decision.
    InReview,
}

/// What transfers are to have in common; all of it together.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only those that debit or credit this account, one of yours.
    pub account_id: Option<AccountId>,
    /// Only those in which this account is on the other side.
    pub counterparty_account_id: Option<AccountId>,
    pub kind: Option<TransferKind>,
    /// Only those with this status. `compliance` sees everybody's with `status=in_review`.
    pub status: Option<TransferStatus>,
    /// Only those of at least this amount, in minor units. One with several legs has no amount of its own, and is left out.
    pub min_amount: Option<Amount>,
    /// Only those of at most this amount.
    pub max_amount: Option<Amount>,
    /// Only those made at this moment (RFC 3339) or later.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    pub created_from: Option<DateTime<Utc>>,
    /// Only those made before this moment.
    #[serde(default, deserialize_with = "shared::clock::moment")]
    pub created_before: Option<DateTime<Utc>>,
    /// Only those with this reference.
    pub reference: Option<Reference>,
    /// `metadata[order]=A-1001`: only those with these pairs. Not a field of the query, so not read with the others.
    #[serde(skip)]
    pub metadata: Option<Metadata>,
}

impl Filter {
    /// Reads a query. Of its parameters, those called `beside` are read as `P`, and all others filter.
    pub fn parse<P: DeserializeOwned>(query: &str, beside: &[&str]) -> Result<(P, Self), ApiError> {
        let (mut own, mut pairs, mut filters) = (Vec::new(), Vec::new(), Vec::new());
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            if beside.contains(&name) {
                own.push(parameter);
            } else if is_of_metadata(name) {
                pairs.push(parameter);
            } else {
                filters.push(parameter);
            }
        }
        let filter = Self {
            metadata: parse_metadata(&pairs.join("&"))?,
            ..parse(&filters.join("&"))?
        };
        filter.require_sense()?;
        Ok((parse(&own.join("&"))?, filter))
    }

    fn require_sense(&self) -> Result<(), ApiError> {
        let upside_down = |what: &str| Err(invalid(&format!("{what}: nothing can be between them")));
        if let (Some(least), Some(most)) = (self.min_amount, self.max_amount)
            && least > most
        {
            return upside_down("min_amount, max_amount");
        }
        if let (Some(from), Some(before)) = (self.created_from, self.created_before)
            && from >= before
        {
            return upside_down("created_from, created_before");
        }
        if self.account_id.is_some() && self.account_id == self.counterparty_account_id {
            return Err(invalid(
                "counterparty_account_id: expected another account than account_id",
            ));
        }
        Ok(())
    }

    /// Whether some of what an index finds may have to be left out.
    fn selects(&self) -> bool {
        self.account_id.is_some()
            || self.counterparty_account_id.is_some()
            || self.kind.is_some()
            || self.status.is_some()
            || self.min_amount.is_some()
            || self.max_amount.is_some()
            || self.created_before.is_some()
            || self.label().is_some()
    }

    /// By which transfers are found that were given names; see the migration that keeps them.
    fn label(&self) -> Option<String> {
        let of_pair = |(key, value): (&String, &String)| format!("metadata.{key}={value}");
        let of_metadata = || self.metadata.as_ref()?.0.iter().next().map(of_pair);
        match &self.reference {
            Some(reference) => Some(format!("reference={}", reference.as_str())),
            None => of_metadata(),
        }
    }

    /// The ids that can be meant: from the first on, and before the second.
    fn ids(&self, after: Option<TransferId>) -> (TransferId, TransferId) {
        let first = self
            .created_from
            .and_then(|it| it.checked_sub_signed(CLOCKS_DIFFER_BY));
        let last = self
            .created_before
            .and_then(|it| it.checked_add_signed(CLOCKS_DIFFER_BY));
        let end = TransferId::from_uuid(Uuid::max());
        let before = last.map_or(end, first_id_at);
        (
            first.map_or(TransferId::from_uuid(Uuid::nil()), first_id_at),
            after.map_or(before, |after| before.min(after)),
        )
    }
}

/// The least UUIDv7 of a moment.
fn first_id_at(moment: DateTime<Utc>) -> TransferId {
    let milliseconds = u128::try_from(moment.timestamp_millis()).unwrap_or(0);
    TransferId::from_uuid(Uuid::from_u128(milliseconds << 80))
}

fn is_of_metadata(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace("%5b", "[");
    name.starts_with("metadata[")
}

fn parse_metadata(query: &str) -> Result<Option<Metadata>, ApiError> {
    let parameters: Vec<(String, String)> = parse(query)?;
    let mut pairs = BTreeMap::new();
    for (name, value) in parameters {
        let key = name
            .strip_prefix("metadata[")
            .and_then(|rest| rest.strip_suffix(']'));
        let key = key.ok_or_else(|| invalid("metadata: expected metadata[key]=value"))?;
        if pairs.insert(key.to_owned(), value).is_some() {
            return Err(invalid(&format!("metadata[{key}] is there twice")));
        }
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let metadata = Metadata::try_from(pairs);
    metadata
        .map(Some)
        .map_err(|error| invalid(&format!("metadata: {error}")))
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let parsed = Query::<T>::from_query(query).map_err(|error| shared::server::invalid_query(&error))?;
    Ok(parsed.into_inner())
}

fn invalid(detail: &str) -> ApiError {
    ApiError::bad_request("invalid_query", detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Filter, ApiError> {
        #[derive(Deserialize)]
        struct Nothing {}
        Filter::parse::<Nothing>(query, &[]).map(|(_, filter)| filter)
    }

    #[test]
    fn metadata_is_asked_for_by_key() {
        for query in [
            "metadata[order]=A+1&kind=refund",
            "kind=refund&metadata%5Border%5D=A%201",
        ] {
            let filter = filter(query).unwrap();
            assert_eq!(filter.label().as_deref(), Some("metadata.order=A 1"), "{query}");
            assert_eq!(filter.kind, Some(TransferKind::Refund));
        }
        let filter = filter("reference=R-1&metadata[order]=A").unwrap();
        assert_eq!(filter.label().as_deref(), Some("reference=R-1"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [
            "colour=red",
            "metadata=x",
            "metadata[]=x",
            "metadata[a=x",
            "metadata[a]=x&metadata[a]=y",
            "metadata[a%20b]=x",
            "kind=transfer&kind=refund",
            "min_amount=0",
            "min_amount=1.5",
            "min_amount=2&max_amount=1",
            "created_from=yesterday",
            "created_from=%2B10000-01-01T00:00:00Z",
            "created_before=-0001-01-01T00:00:00Z",
            "created_from=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z",
            "reference=",
            "account_id=acct_1",
            "account_id=acct_01h455vb4pex5vsknk084sn02q&counterparty_account_id=acct_01h455vb4pex5vsknk084sn02q",
        ] {
            let error = filter(query).unwrap_err();
            assert_eq!(
                (error.status().as_u16(), error.code()),
                (400, "invalid_query"),
                "{query}"
            );
        }
    }

    #[test]
    fn moments_bound_the_ids_with_room_for_clocks_that_differ() {
        let moment = "2026-11-22T12:00:00Z";
        let made_at = |minutes: i64| {
            let moment: DateTime<Utc> = moment.parse().unwrap();
            first_id_at(moment + TimeDelta::minutes(minutes))
        };
        let (since, _) = filter(&format!("created_from={moment}")).unwrap().ids(None);
        assert!(made_at(-9) > since && made_at(-11) < since);
        let (_, before) = filter(&format!("created_before={moment}")).unwrap().ids(None);
        assert!(made_at(9) < before && made_at(11) > before);
        assert_eq!(filter("").unwrap().ids(Some(made_at(0))).1, made_at(0));
    }
}
