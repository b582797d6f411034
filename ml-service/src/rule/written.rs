//! A rule that a person wrote: an expression that says when it applies, and a sentence that says why, with values in braces:
//! `{amount / account.mean} times this account's usual amount`.

use serde::{Deserialize, Serialize};
use shared::clients::ml::Decision;

use crate::expression::{Expression, ExpressionError, Facts};

/// Of a sentence, in bytes.
pub const MAX_SENTENCE: usize = 300;

/// As it is stored, and as it is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRule {
    pub expression: String,
    pub sentence: String,
    /// What it demands by itself, whatever the points add up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Decision>,
}

/// The same, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenRule")]
pub struct ParsedRule {
    expression: Expression,
    sentence: Sentence,
    pub action: Option<Decision>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrittenRuleError {
    #[error("expression, {0}")]
    Expression(ExpressionError),
    #[error("sentence, {0}")]
    Sentence(ExpressionError),
}

impl TryFrom<WrittenRule> for ParsedRule {
    type Error = WrittenRuleError;

    fn try_from(rule: WrittenRule) -> Result<Self, WrittenRuleError> {
        Ok(Self {
            expression: Expression::condition(&rule.expression).map_err(WrittenRuleError::Expression)?,
            sentence: Sentence::parse(&rule.sentence).map_err(WrittenRuleError::Sentence)?,
            action: rule.action,
        })
    }
}

impl ParsedRule {
    /// Why it applies, in words, if it does.
    pub fn finding(&self, facts: &dyn Facts) -> Option<String> {
        self.holds(facts).then(|| self.sentence.fill(facts))
    }

    pub fn holds(&self, facts: &dyn Facts) -> bool {
        self.expression.holds(facts)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sentence(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(String),
    Value(Expression),
}

impl Sentence {
    fn parse(text: &str) -> Result<Self, ExpressionError> {
        let error = |column: usize, message: &str| ExpressionError {
            column,
            message: message.to_owned(),
        };
        if text.trim().is_empty() || text.len() > MAX_SENTENCE || text.contains(char::is_control) {
            let message = format!("a sentence has 1 to {MAX_SENTENCE} bytes, and no control characters");
            return Err(error(1, &message));
        }
        let is_word = |part: &Part| matches!(part, Part::Words(words) if !words.trim().is_empty());
        let mut parts = Vec::new();
        let (mut rest, mut column) = (text, 1_usize);
        while let Some((words, after)) = rest.split_once('{') {
            let start = column.saturating_add(words.chars().count());
            let Some((value, after)) = after.split_once('}') else {
                return Err(error(start, "`{` has no `}`"));
            };
            let expression = Expression::value_of(value).map_err(|inner| ExpressionError {
                column: start.saturating_add(inner.column),
                ..inner
            })?;
            parts.push(Part::Words(words.to_owned()));
            parts.push(Part::Value(expression));
            column = start.saturating_add(value.chars().count()).saturating_add(2);
            rest = after;
        }
        parts.push(Part::Words(rest.to_owned()));
        // A value can be an empty text, and a reason that shows nothing is none.
        if !parts.iter().any(is_word) {
            return Err(error(1, "a sentence has words beside its values"));
        }
        Ok(Self(parts))
    }

    fn fill(&self, facts: &dyn Facts) -> String {
        let show = |part: &Part| match part {
            Part::Words(words) => words.clone(),
            Part::Value(expression) => expression.show(facts),
        };
        self.0.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::{Value, Variable};

    struct Amount(i64);

    impl Facts for Amount {
        fn value(&self, variable: Variable) -> Option<Value<'_>> {
            (variable == Variable::Amount).then(|| Value::integer(self.0))
        }

        fn major(&self) -> i64 {
            100
        }

        fn exponent(&self) -> u32 {
            2
        }
    }

    fn parse(sentence: &str) -> Result<ParsedRule, WrittenRuleError> {
        let rule = WrittenRule {
            expression: "amount >= 100 major".to_owned(),
            sentence: sentence.to_owned(),
            action: Some(Decision::Review),
        };
        rule.try_into()
    }

    #[test]
    fn the_sentence_tells_the_values() {
        let rule = parse("{amount}: {amount / 100 major} times a hundred, mean {account.mean}").unwrap();
        let finding = rule.finding(&Amount(25_000));
        assert_eq!(
            finding.as_deref(),
            Some("250.00: 2.5 times a hundred, mean unknown")
        );
        assert_eq!(rule.finding(&Amount(9_999)), None);
    }

    #[test]
    fn what_is_wrong_with_a_sentence_is_told_with_its_column() {
        for (sentence, expected) in [
            ("so {amount", "sentence, column 4: `{` has no `}`"),
            (
                "so {amount +}",
                "sentence, column 13: a name, a number or a text was expected here",
            ),
            (
                "{amount}",
                "sentence, column 1: a sentence has words beside its values",
            ),
            (
                " ",
                "sentence, column 1: a sentence has 1 to 300 bytes, and no control characters",
            ),
            (
                "a\nb",
                "sentence, column 1: a sentence has 1 to 300 bytes, and no control characters",
            ),
        ] {
            assert_eq!(parse(sentence).unwrap_err().to_string(), expected);
        }
    }
}
