//! ISO 4217 currencies that an account can be kept in.

use std::fmt;
use std::str::FromStr;

use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{Output, ToSql};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A currency with minor units: not a fund, not a metal, not a test code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = diesel::sql_types::Text)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal digits its minor unit stands for: JPY 0, USD 2, BHD 3.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an ISO 4217 currency code in capitals, such as `USD`")]
pub struct InvalidCurrency;

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        let currency = iso_currency::Currency::from_code(text).ok_or(InvalidCurrency)?;
        let can_be_held = currency.exponent().is_some()
            && !currency.is_special()
            && !currency.is_fund()
            && currency.is_superseded().is_none();
        can_be_held.then_some(Self(currency)).ok_or(InvalidCurrency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Currency {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("ISO 4217 currency code"))
            .pattern(Some("^[A-Z]{3}$"))
            .examples(["USD"])
            .build()
            .into()
    }
}
impl utoipa::ToSchema for Currency {}

impl ToSql<diesel::sql_types::Text, Pg> for Currency {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        ToSql::<diesel::sql_types::Text, Pg>::to_sql(self.code(), out)
    }
}

impl FromSql<diesel::sql_types::Text, Pg> for Currency {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        let text = <String as FromSql<diesel::sql_types::Text, Pg>>::from_sql(value)?;
        Ok(text.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_follow_the_standard() {
        for (code, exponent) in [("JPY", 0), ("USD", 2), ("BHD", 3)] {
            assert_eq!(
                code.parse::<Currency>().map(Currency::exponent),
                Ok(exponent),
                "{code}"
            );
        }
    }

    #[test]
    fn what_cannot_be_held_is_refused() {
        for code in ["usd", "US", "XXX", "XAU", "XTS", "ABC", ""] {
            assert_eq!(code.parse::<Currency>(), Err(InvalidCurrency), "{code}");
        }
    }
}
