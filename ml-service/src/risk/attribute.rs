//! What whoever asks tells about the customer: numbers with names and bounds. What must not count in a decision on credit is
//! refused, with the reason, and so is what is not known.

use serde_json::{Map, Value};
use shared::ApiError;
use shared::money::MAX_AMOUNT;

/// What may be told. Amounts are minor units of the currency of the assessment.
const ATTRIBUTES: [(&str, i64, i64); 8] = [
    ("monthly_income", 1, MAX_AMOUNT),
    ("monthly_debt_payments", 0, MAX_AMOUNT),
    ("requested_amount", 1, MAX_AMOUNT),
    ("term_months", 1, 480),
    ("employment_months", 0, 600),
    ("delinquencies_24_months", 0, 50),
    ("credit_inquiries_6_months", 0, 50),
    ("credit_utilisation_basis_points", 0, 20_000),
];

/// Words that name what a decision on credit must not be based on (the US Equal Credit Opportunity Act, Regulation B; the EU
/// Charter, article 21; the EU Consumer Credit Directive 2023/2225, article 6), or that stand in for it.
const PROTECTED: [&str; 40] = [
    "age",
    "ancestry",
    "belief",
    "birth",
    "birthday",
    "birthdate",
    "birthplace",
    "child",
    "children",
    "citizenship",
    "color",
    "colour",
    "dependants",
    "dependents",
    "disability",
    "ethnic",
    "ethnicity",
    "family",
    "gender",
    "genetic",
    "health",
    "language",
    "marital",
    "married",
    "medical",
    "nationality",
    "origin",
    "political",
    "politics",
    "pregnancy",
    "pregnant",
    "race",
    "religion",
    "sex",
    "sexual",
    "spouse",
    "union",
    "welfare",
    "zip",
    "postcode",
];

/// What was told, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(&'static str, i64)>);

impl Attributes {
    pub fn parse(told: &Map<String, Value>) -> Result<Self, ApiError> {
        told.iter()
            .map(|(name, value)| attribute(name, value))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn get(&self, name: &str) -> Option<i64> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

fn attribute(name: &str, value: &Value) -> Result<(&'static str, i64), ApiError> {
    let pointer = format!("/attributes/{}", name.replace('~', "~0").replace('/', "~1"));
    let Some((known, least, most)) = ATTRIBUTES.into_iter().find(|(known, ..)| *known == name) else {
        if is_protected(name) {
            let detail = "This is a protected characteristic, or stands in for one: it must not count in a decision on \
                          credit, so it is not taken.";
            return Err(ApiError::invalid("protected_attribute", pointer, detail));
        }
        let names: Vec<&str> = ATTRIBUTES.iter().map(|(name, ..)| *name).collect();
        let detail = format!("There is no such attribute. There are: {}.", names.join(", "));
        return Err(ApiError::invalid("unknown_attribute", pointer, detail));
    };
    let number = value.as_i64().filter(|number| (least..=most).contains(number));
    number.map(|number| (known, number)).ok_or_else(|| {
        let detail = format!("expected a whole number from {least} to {most}");
        ApiError::invalid("invalid_attribute", pointer, detail)
    })
}

fn is_protected(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut words = lower.split(|letter: char| !letter.is_alphabetic());
    words.any(|word| PROTECTED.contains(&word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(told: &Value) -> Result<Attributes, (String, String)> {
        Attributes::parse(told.as_object().unwrap()).map_err(|error| {
            let problem = error.problem();
            (problem.code, problem.errors[0].pointer.clone())
        })
    }

    #[test]
    fn whole_numbers_within_bounds_are_taken() {
        let told = parse(&json!({ "monthly_income": 300_000, "term_months": 24 })).unwrap();
        assert_eq!(
            (told.get("monthly_income"), told.get("employment_months")),
            (Some(300_000), None)
        );
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("1"),
            json!(null),
            json!(MAX_AMOUNT + 1),
            json!(1e300),
        ] {
            let refused = parse(&json!({ "monthly_income": value }));
            assert_eq!(
                refused,
                Err((
                    "invalid_attribute".to_owned(),
                    "/attributes/monthly_income".to_owned()
                ))
            );
        }
    }

    #[test]
    fn what_must_not_count_is_refused_by_name() {
        for name in [
            "gender",
            "Age",
            "date_of_birth",
            "marital-status",
            "number_of_children",
            "zip_code",
            "country_of_birth",
        ] {
            let (code, _) = parse(&json!({ name: 1 })).unwrap_err();
            assert_eq!(code, "protected_attribute", "{name}");
        }
        let (code, pointer) = parse(&json!({ "shoe/size": 44 })).unwrap_err();
        assert_eq!(
            (code.as_str(), pointer.as_str()),
            ("unknown_attribute", "/attributes/shoe~1size")
        );
    }
}
