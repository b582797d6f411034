//! The language that rules are written in, such as `amount >= 200 major and amount / account.mean >= 10`. It is parsed into
//! a checked tree before it is stored, so a rule in force is one that can be evaluated: every name is known, every operator
//! has operands that it makes sense of, and an amount is never compared with a number of transfers. Numbers are exact
//! fractions of integers, so no float is near money.
//!
//! What is not known, such as the mean of an account without a history, makes what is computed from it unknown, as in SQL.
//! Deliberately absent: functions, assignments, loops, regular expressions. Evaluating takes as many steps as the tree has
//! nodes, and that number is bounded.

pub mod fraction;
mod parser;

use std::collections::BTreeSet;
use std::fmt;

pub use fraction::Fraction;

/// Of the text of an expression, in bytes.
pub const MAX_LENGTH: usize = 1000;

/// What is known of a transfer when it is scored. A name that a rule may use is a line of [`Variable::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    Amount,
    Currency,
    Kind,
    Hour,
    Weekday,
    OriginKnown,
    AccountCount,
    AccountCount1h,
    AccountMean,
    AccountMax,
    CounterpartyKnown,
}

impl Variable {
    /// Each with its name in expressions, its type, and what it means.
    pub const ALL: [(Self, &'static str, Type, &'static str); 11] = [
        (Self::Amount, "amount", Type::Money, "What the transfer moves"),
        (
            Self::Currency,
            "currency",
            Type::Text,
            "Its currency, such as \"USD\"",
        ),
        (
            Self::Kind,
            "kind",
            Type::Text,
            "What it is, such as \"transfer\" or \"withdrawal\"",
        ),
        (
            Self::Hour,
            "hour",
            Type::Integer,
            "The hour (UTC) in which it was asked for, 0 to 23",
        ),
        (
            Self::Weekday,
            "weekday",
            Type::Integer,
            "The day (UTC): 1 is Monday, 7 is Sunday",
        ),
        (
            Self::OriginKnown,
            "origin.known",
            Type::Bool,
            "Whether the device or the address that asked is known",
        ),
        (
            Self::AccountCount,
            "account.count",
            Type::Integer,
            "Transfers that the account has made",
        ),
        (
            Self::AccountCount1h,
            "account.count_1h",
            Type::Integer,
            "Those in the hour before, with those that are asked for at the same moment",
        ),
        (
            Self::AccountMean,
            "account.mean",
            Type::Money,
            "What the account moves on average; unknown before its first transfer",
        ),
        (
            Self::AccountMax,
            "account.max",
            Type::Money,
            "The most that it has moved at once; unknown before its first transfer",
        ),
        (
            Self::CounterpartyKnown,
            "counterparty.known",
            Type::Bool,
            "Whether the account has paid this counterparty among the last 64 that it paid",
        ),
    ];

    fn of_name(name: &str) -> Option<(Self, Type)> {
        let known = Self::ALL.iter().find(|(_, its_name, ..)| *its_name == name)?;
        Some((known.0, known.2))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    /// A whole number of something that is not money.
    Integer,
    /// Any other number, such as what an amount divided by an amount is.
    Ratio,
    /// Minor units of the transfer's currency.
    Money,
    Text,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "true or false",
            Self::Integer | Self::Ratio => "a number",
            Self::Money => "an amount",
            Self::Text => "a text",
        })
    }
}

/// What a variable, or an expression, is for one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Bool(bool),
    Number(Fraction),
    Text(&'a str),
}

impl Value<'_> {
    pub fn integer(number: i64) -> Self {
        Self::Number(Fraction::whole(number))
    }
}

/// Where the values come from. `None` is unknown.
pub trait Facts {
    fn value(&self, variable: Variable) -> Option<Value<'_>>;
    /// How many minor units `1 major` is.
    fn major(&self) -> i64;
    /// How many decimal digits an amount is written with.
    fn exponent(&self) -> u32;
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct ExpressionError {
    /// Of the character where it goes wrong, from 1.
    pub column: usize,
    pub message: String,
}

/// A checked expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    node: Node,
    kind: Type,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Bool(bool),
    Number(Fraction),
    /// A number of major units.
    Major(Fraction),
    Text(String),
    Variable(Variable),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Compute(Operation, Box<Node>, Box<Node>),
    IsOneOf(Box<Node>, BTreeSet<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Expression {
    /// A text that is true or false of a transfer.
    pub fn condition(text: &str) -> Result<Self, ExpressionError> {
        let expression = parser::parse(text)?;
        if expression.kind == Type::Bool {
            return Ok(expression);
        }
        Err(ExpressionError {
            column: 1,
            message: format!(
                "a rule is true or false of a transfer, and this is {}",
                expression.kind
            ),
        })
    }

    /// A text that has a value of any type.
    pub fn value_of(text: &str) -> Result<Self, ExpressionError> {
        parser::parse(text)
    }

    /// Whether it is true; what is unknown is not.
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        matches!(self.node.evaluate(facts), Some(Value::Bool(true)))
    }

    /// As a sentence shows it: `unknown`, a number with at most one decimal, an amount in major units.
    pub fn show(&self, facts: &dyn Facts) -> String {
        match self.node.evaluate(facts) {
            None => "unknown".to_owned(),
            Some(Value::Bool(true)) => "yes".to_owned(),
            Some(Value::Bool(false)) => "no".to_owned(),
            Some(Value::Text(text)) => text.to_owned(),
            Some(Value::Number(number)) => match self.kind {
                Type::Money => number.over(Fraction::power_of_ten(facts.exponent())).map_or_else(
                    || "unknown".to_owned(),
                    |major| major.with_decimals(facts.exponent()),
                ),
                Type::Integer => number.with_decimals(0),
                _ => number.with_decimals(1),
            },
        }
    }
}

impl Node {
    fn evaluate<'a>(&'a self, facts: &'a dyn Facts) -> Option<Value<'a>> {
        let truth = |node: &'a Self| match node.evaluate(facts) {
            Some(Value::Bool(truth)) => Some(truth),
            _ => None,
        };
        let number = |node: &'a Self| match node.evaluate(facts) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        match self {
            Self::Bool(truth) => Some(Value::Bool(*truth)),
            Self::Number(number) => Some(Value::Number(*number)),
            Self::Major(number) => number.times(Fraction::whole(facts.major())).map(Value::Number),
            Self::Text(text) => Some(Value::Text(text)),
            Self::Variable(variable) => facts.value(*variable),
            Self::Not(node) => truth(node).map(|truth| Value::Bool(!truth)),
            // One side can decide alone, whether or not the other is known.
            Self::And(left, right) => match (truth(left), truth(right)) {
                (Some(false), _) | (_, Some(false)) => Some(Value::Bool(false)),
                (Some(true), Some(true)) => Some(Value::Bool(true)),
                _ => None,
            },
            Self::Or(left, right) => match (truth(left), truth(right)) {
                (Some(true), _) | (_, Some(true)) => Some(Value::Bool(true)),
                (Some(false), Some(false)) => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Compare(comparison, left, right) => {
                let (left, right) = (left.evaluate(facts)?, right.evaluate(facts)?);
                comparison.holds(left, right).map(Value::Bool)
            }
            Self::Compute(operation, left, right) => {
                let (left, right) = (number(left)?, number(right)?);
                operation.compute(left, right).map(Value::Number)
            }
            Self::IsOneOf(node, texts) => match node.evaluate(facts)? {
                Value::Text(text) => Some(Value::Bool(texts.contains(text))),
                _ => None,
            },
        }
    }
}

impl Comparison {
    fn holds(self, left: Value<'_>, right: Value<'_>) -> Option<bool> {
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.compare(right)?,
            (Value::Text(left), Value::Text(right)) => left.cmp(right),
            (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
            _ => return None,
        };
        Some(match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::AtLeast => order.is_ge(),
            Self::More => order.is_gt(),
        })
    }
}

impl Operation {
    fn compute(self, left: Fraction, right: Fraction) -> Option<Fraction> {
        match self {
            Self::Add => left.plus(right),
            Self::Subtract => left.minus(right),
            Self::Multiply => left.times(right),
            Self::Divide => left.over(right),
        }
    }
}

#[cfg(test)]
mod tests;
