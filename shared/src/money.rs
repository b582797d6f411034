//! Amounts of money: integer minor units, never a float.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The most that one amount can be: 2^53 − 1, the largest integer that every JSON reader keeps exact.
pub const MAX_AMOUNT: i64 = 9_007_199_254_740_991;

/// A positive amount in minor units (cents of USD, whole yen), 1 to 2^53 − 1. Its currency stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Amount(i64);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a positive whole number of minor units, at most {MAX_AMOUNT}")]
pub struct InvalidAmount;

impl Amount {
    pub const fn minor(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = InvalidAmount;

    fn try_from(minor: i64) -> Result<Self, InvalidAmount> {
        (1..=MAX_AMOUNT)
            .contains(&minor)
            .then_some(Self(minor))
            .ok_or(InvalidAmount)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(AmountVisitor)
    }
}

struct AmountVisitor;

impl serde::de::Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a positive whole number of minor units, at most {MAX_AMOUNT}")
    }

    fn visit_i64<E: serde::de::Error>(self, minor: i64) -> Result<Amount, E> {
        Amount::try_from(minor).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, minor: u64) -> Result<Amount, E> {
        i64::try_from(minor)
            .map_err(|_| InvalidAmount)
            .and_then(Amount::try_from)
            .map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Amount, E> {
        Err(E::custom(InvalidAmount))
    }
}

impl utoipa::PartialSchema for Amount {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Integer)
            .format(Some(utoipa::openapi::schema::SchemaFormat::KnownFormat(
                utoipa::openapi::schema::KnownFormat::Int64,
            )))
            .description(Some("Minor units of the currency: 1050 with USD is $10.50"))
            .minimum(Some(1))
            .maximum(Some(MAX_AMOUNT))
            .examples([1050])
            .build()
            .into()
    }
}
impl utoipa::ToSchema for Amount {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_whole_numbers_within_bounds_are_amounts() {
        for text in ["1", "1050", "9007199254740991"] {
            assert!(serde_json::from_str::<Amount>(text).is_ok(), "{text}");
        }
        for text in [
            "0",
            "-1",
            "1.5",
            "1.0",
            "1e3",
            "\"1\"",
            "null",
            "9007199254740992",
            "1e400",
            "18446744073709551616",
        ] {
            assert!(serde_json::from_str::<Amount>(text).is_err(), "{text}");
        }
    }
}
