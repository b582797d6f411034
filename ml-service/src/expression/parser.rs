//! From a text to a checked expression: words first, then a tree by precedence, each node with its type. `or` binds least,
//! then `and`, `not`, comparisons, `+ -`, `* /`.

use std::collections::BTreeSet;

use super::{Comparison, Expression, ExpressionError, Fraction, MAX_LENGTH, Node, Operation, Type, Variable};

/// How deep parentheses and `not` may nest, so that neither parsing nor evaluating can exhaust the stack.
const MAX_DEPTH: usize = 32;
/// How many operators and operands there may be, for the same reason: a row of operators of one precedence nests too.
const MAX_WORDS: usize = 200;
const MAX_TEXTS: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// A name, or a word of the language.
    Name(String),
    Number(Fraction, Type),
    Text(String),
    Symbol(&'static str),
}

struct Placed {
    word: Word,
    column: usize,
}

/// The longer of two that begin alike comes first.
const SYMBOLS: [&str; 15] = [
    ">=", "<=", "==", "!=", ">", "<", "+", "-", "*", "/", "(", ")", "{", "}", ",",
];

fn error<T>(column: usize, message: impl Into<String>) -> Result<T, ExpressionError> {
    Err(ExpressionError {
        column,
        message: message.into(),
    })
}

pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
    if text.len() > MAX_LENGTH {
        return error(1, format!("an expression has at most {MAX_LENGTH} bytes"));
    }
    let words = words_of(text)?;
    if let Some(first) = words.get(MAX_WORDS) {
        return error(
            first.column,
            format!("an expression has at most {MAX_WORDS} words and symbols"),
        );
    }
    let mut parser = Parser {
        words,
        next: 0,
        end: text.chars().count().saturating_add(1),
        depth: 0,
    };
    let expression = parser.disjunction()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => error(parser.column(), "`and`, `or` or the end was expected here"),
    }
}

fn words_of(text: &str) -> Result<Vec<Placed>, ExpressionError> {
    let mut words = Vec::new();
    let mut rest = text;
    let mut column = 1;
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            _ if first.is_whitespace() => (None, first.len_utf8()),
            'a'..='z' => {
                let length = length_of(rest, |it| matches!(it, 'a'..='z' | '0'..='9' | '_' | '.'));
                (Some(Word::Name(taken(rest, length).to_owned())), length)
            }
            '0'..='9' => {
                let length = length_of(rest, |it| matches!(it, '0'..='9' | '.' | '_'));
                (Some(number(taken(rest, length), column)?), length)
            }
            '"' => {
                let inside = taken(rest, rest.len()).get(1..).unwrap_or_default();
                let Some((inside, _)) = inside.split_once('"') else {
                    return error(column, "a text ends with `\"`");
                };
                (
                    Some(Word::Text(inside.to_owned())),
                    inside.len().saturating_add(2),
                )
            }
            _ => match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                Some(symbol) => (Some(Word::Symbol(symbol)), symbol.len()),
                None => return error(column, format!("`{first}` has no meaning here")),
            },
        };
        words.extend(word.map(|word| Placed { word, column }));
        column = column.saturating_add(taken(rest, length).chars().count());
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(words)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|character| !belongs(character)).unwrap_or(text.len())
}

fn taken(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or_default()
}

/// `12`, `10_000` or `2.5`.
fn number(text: &str, column: usize) -> Result<Word, ExpressionError> {
    let digits = text.replace('_', "");
    let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
    let is_decimal = text.contains('.');
    let scale = u32::try_from(decimals.len()).map(|it| 10_i64.checked_pow(it));
    let fraction = match (format!("{whole}{decimals}").parse::<i64>(), scale) {
        (Ok(number), Ok(Some(scale))) if !decimals.contains('.') && is_decimal != decimals.is_empty() => {
            Fraction::of(number, scale)
        }
        _ => None,
    };
    let kind = if is_decimal { Type::Ratio } else { Type::Integer };
    match fraction {
        Some(fraction) => Ok(Word::Number(fraction, kind)),
        None => error(column, format!("`{text}` is no number, or is too long")),
    }
}

struct Parser {
    words: Vec<Placed>,
    next: usize,
    /// The column after the last.
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.next).map(|placed| &placed.word)
    }

    fn column(&self) -> usize {
        self.words.get(self.next).map_or(self.end, |placed| placed.column)
    }

    fn take(&mut self) -> Option<Word> {
        let word = self.peek().cloned();
        self.next = self.next.saturating_add(1);
        word
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Name(it)) if it == name);
        self.next = self.next.saturating_add(usize::from(found));
        found
    }

    fn take_symbol(&mut self, symbols: &[&'static str]) -> Option<&'static str> {
        let found = match self.peek() {
            Some(Word::Symbol(symbol)) if symbols.contains(symbol) => *symbol,
            _ => return None,
        };
        self.next = self.next.saturating_add(1);
        Some(found)
    }

    fn require_symbol(&mut self, symbol: &'static str) -> Result<(), ExpressionError> {
        match self.take_symbol(&[symbol]) {
            Some(_) => Ok(()),
            None => error(self.column(), format!("`{symbol}` was expected here")),
        }
    }

    fn disjunction(&mut self) -> Result<Expression, ExpressionError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return error(
                self.column(),
                format!("an expression nests at most {MAX_DEPTH} deep"),
            );
        }
        let mut left = self.conjunction()?;
        loop {
            let column = self.column();
            if !self.take_name("or") {
                break;
            }
            let right = self.conjunction()?;
            left = logical(Node::Or, column, left, right)?;
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression, ExpressionError> {
        let mut left = self.negation()?;
        loop {
            let column = self.column();
            if !self.take_name("and") {
                return Ok(left);
            }
            let right = self.negation()?;
            left = logical(Node::And, column, left, right)?;
        }
    }

    fn negation(&mut self) -> Result<Expression, ExpressionError> {
        let column = self.column();
        let mut negations = 0_usize;
        while self.take_name("not") {
            negations = negations.saturating_add(1);
        }
        let operand = self.comparison()?;
        if negations == 0 {
            return Ok(operand);
        }
        if operand.kind != Type::Bool {
            return error(
                column,
                format!("`not` needs true or false, and this is {}", operand.kind),
            );
        }
        let node = if negations % 2 == 1 {
            Node::Not(Box::new(operand.node))
        } else {
            operand.node
        };
        Ok(Expression {
            node,
            kind: Type::Bool,
        })
    }

    fn comparison(&mut self) -> Result<Expression, ExpressionError> {
        let left = self.sum()?;
        let column = self.column();
        if self.take_name("in") {
            return self.is_one_of(left, column);
        }
        let Some(symbol) = self.take_symbol(&[">=", "<=", "==", "!=", ">", "<"]) else {
            return Ok(left);
        };
        let right = self.sum()?;
        let comparison = match symbol {
            ">=" => Comparison::AtLeast,
            "<=" => Comparison::AtMost,
            "==" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            ">" => Comparison::More,
            _ => Comparison::Less,
        };
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let comparable = is_number(left.kind) && is_number(right.kind) || left.kind == right.kind;
        if !comparable || ordered && matches!(left.kind, Type::Bool | Type::Text) {
            let (left, right) = (left.kind, right.kind);
            return error(column, format!("`{symbol}` cannot compare {left} with {right}"));
        }
        Ok(Expression {
            node: Node::Compare(comparison, Box::new(left.node), Box::new(right.node)),
            kind: Type::Bool,
        })
    }

    /// After `in`: `{"USD", "EUR"}`.
    fn is_one_of(&mut self, left: Expression, column: usize) -> Result<Expression, ExpressionError> {
        if left.kind != Type::Text {
            return error(
                column,
                format!("`in` looks for a text, and this is {}", left.kind),
            );
        }
        self.require_symbol("{")?;
        let mut texts = BTreeSet::new();
        loop {
            let column = self.column();
            match self.take() {
                Some(Word::Text(text)) => texts.insert(text),
                _ => return error(column, "a text in `\"` was expected here"),
            };
            if texts.len() > MAX_TEXTS {
                return error(column, format!("at most {MAX_TEXTS} texts are compared with"));
            }
            if self.take_symbol(&[","]).is_none() {
                break;
            }
        }
        self.require_symbol("}")?;
        Ok(Expression {
            node: Node::IsOneOf(Box::new(left.node), texts),
            kind: Type::Bool,
        })
    }

    fn sum(&mut self) -> Result<Expression, ExpressionError> {
        let mut left = self.product()?;
        loop {
            let column = self.column();
            let operation = match self.take_symbol(&["+", "-"]) {
                Some("+") => Operation::Add,
                Some(_) => Operation::Subtract,
                None => return Ok(left),
            };
            let right = self.product()?;
            left = computed(operation, column, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Expression, ExpressionError> {
        let mut left = self.operand()?;
        loop {
            let column = self.column();
            let operation = match self.take_symbol(&["*", "/"]) {
                Some("*") => Operation::Multiply,
                Some(_) => Operation::Divide,
                None => return Ok(left),
            };
            let right = self.operand()?;
            left = computed(operation, column, left, right)?;
        }
    }

    fn operand(&mut self) -> Result<Expression, ExpressionError> {
        let column = self.column();
        let (node, kind) = match self.take() {
            Some(Word::Symbol("(")) => {
                let inside = self.disjunction()?;
                self.require_symbol(")")?;
                return Ok(inside);
            }
            Some(Word::Number(number, kind)) if !self.take_name("major") => (Node::Number(number), kind),
            Some(Word::Number(number, _)) => (Node::Major(number), Type::Money),
            Some(Word::Text(text)) => (Node::Text(text), Type::Text),
            Some(Word::Name(name)) => match name.as_str() {
                "true" => (Node::Bool(true), Type::Bool),
                "false" => (Node::Bool(false), Type::Bool),
                _ => match Variable::of_name(&name) {
                    Some((variable, kind)) => (Node::Variable(variable), kind),
                    None => return error(column, unknown(&name)),
                },
            },
            _ => return error(column, "a name, a number or a text was expected here"),
        };
        Ok(Expression { node, kind })
    }
}

fn unknown(name: &str) -> String {
    let names = Variable::ALL.map(|(_, name, ..)| name).join(", ");
    format!("there is no `{name}`; there are {names}")
}

fn is_number(kind: Type) -> bool {
    matches!(kind, Type::Integer | Type::Ratio)
}

fn logical(
    node: fn(Box<Node>, Box<Node>) -> Node,
    column: usize,
    left: Expression,
    right: Expression,
) -> Result<Expression, ExpressionError> {
    if let Some(other) = [left.kind, right.kind]
        .into_iter()
        .find(|kind| *kind != Type::Bool)
    {
        return error(
            column,
            format!("`and` and `or` need true or false, and one side is {other}"),
        );
    }
    Ok(Expression {
        node: node(Box::new(left.node), Box::new(right.node)),
        kind: Type::Bool,
    })
}

fn computed(
    operation: Operation,
    column: usize,
    left: Expression,
    right: Expression,
) -> Result<Expression, ExpressionError> {
    use Operation::{Add, Divide, Multiply, Subtract};
    use Type::{Integer, Money, Ratio};
    let kind = match (operation, left.kind, right.kind) {
        (Add | Subtract, Money, Money) => Money,
        (Multiply, Money, other) | (Multiply, other, Money) | (Divide, Money, other) if is_number(other) => {
            Money
        }
        (Divide, Money, Money) => Ratio,
        (Add | Subtract | Multiply, Integer, Integer) => Integer,
        (_, left, right) if is_number(left) && is_number(right) => Ratio,
        (_, left, right) => {
            return error(column, format!("this cannot be computed from {left} and {right}"));
        }
    };
    Ok(Expression {
        node: Node::Compute(operation, Box::new(left.node), Box::new(right.node)),
        kind,
    })
}
