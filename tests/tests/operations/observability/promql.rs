//! What a PromQL expression asks for: the metrics, the labels they are selected by, and the labels that `by` keeps. Whether
//! it is valid PromQL is promtool's business; what we never write (`without`, `on`, a selector without a name) is refused
//! here rather than passed over.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// `metric{label="value"}`
#[derive(Debug, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub operator: String,
    pub value: String,
}

/// `by (labels) (…)`, with the metrics inside the second parentheses.
#[derive(Debug, PartialEq, Eq)]
pub struct Grouping {
    pub labels: Vec<String>,
    pub metrics: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub selectors: Vec<Selector>,
    pub groupings: Vec<Grouping>,
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\"{}\"", self.label, self.operator, self.value)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A metric, a label, a function or a keyword.
    Name(String),
    /// A number or a duration.
    Number,
    Text(String),
    Symbol(char),
}

use Token::{Name, Symbol, Text};

const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "by"];
const REFUSED: [&str; 5] = ["without", "on", "ignoring", "group_left", "group_right"];

pub fn read(expression: &str) -> Query {
    let tokens = tokens(expression);
    let mut query = Query::default();
    // Where each metric and each operand of a `by` is.
    let (mut places, mut operands) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let next = tokens.get(at + 1);
        match &tokens[at] {
            Name(word) if word == "by" => {
                let end = closing(&tokens, at + 1);
                let labels = names(&tokens[at + 2..end]);
                assert_eq!(
                    tokens.get(end + 1),
                    Some(&Symbol('(')),
                    "write `sum by (…) (…)`: {expression}"
                );
                operands.push((labels, end + 1..closing(&tokens, end + 1)));
                at = end;
            }
            Name(word) if REFUSED.contains(&word.as_str()) => {
                panic!("`{word}` is not understood: {expression}")
            }
            Name(word) if OPERATORS.contains(&word.as_str()) => {}
            // A function, or an aggregation.
            Name(_) if next == Some(&Symbol('(')) || next == Some(&Name("by".to_owned())) => {}
            Name(metric) => {
                places.push((at, metric.clone()));
                let mut matchers = Vec::new();
                if next == Some(&Symbol('{')) {
                    let end = closing(&tokens, at + 1);
                    matchers = read_matchers(&tokens[at + 2..end]);
                    at = end;
                }
                let metric = metric.clone();
                query.selectors.push(Selector { metric, matchers });
            }
            Symbol('{') => panic!("a selector without a metric is not understood: {expression}"),
            _ => {}
        }
        at += 1;
    }
    for (labels, operand) in operands {
        let inside = places.iter().filter(|(place, _)| operand.contains(place));
        let metrics = inside.map(|(_, metric)| metric.clone()).collect();
        query.groupings.push(Grouping { labels, metrics });
    }
    query
}

fn names(tokens: &[Token]) -> Vec<String> {
    let names = tokens.iter().filter_map(|token| match token {
        Name(name) => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

/// `label`, `=~`, `"value"`, `,` and so on.
fn read_matchers(tokens: &[Token]) -> Vec<Matcher> {
    let matchers = tokens.split(|token| *token == Symbol(',')).map(|matcher| {
        let (Some(Name(label)), Some(Text(value))) = (matcher.first(), matcher.last()) else {
            panic!("no matcher: {matcher:?}");
        };
        let operator = matcher.iter().filter_map(|token| match token {
            Symbol(symbol) => Some(*symbol),
            _ => None,
        });
        Matcher {
            label: label.clone(),
            operator: operator.collect(),
            value: value.clone(),
        }
    });
    matchers.collect()
}

/// Where the bracket that opens at `open` closes.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Symbol('(' | '{') => depth += 1,
            Symbol(')' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("nothing closes {:?}", tokens.get(open));
}

fn tokens(expression: &str) -> Vec<Token> {
    let is_name = |next: &char| next.is_ascii_alphanumeric() || "_:".contains(*next);
    let mut tokens = Vec::new();
    let mut characters = expression.chars().peekable();
    while let Some(first) = characters.next() {
        match first {
            '"' | '\'' => tokens.push(Text(read_text(&mut characters, first))),
            _ if first.is_whitespace() => {}
            _ if first.is_ascii_digit() => {
                while characters.next_if(|next| is_name(next) || *next == '.').is_some() {}
                tokens.push(Token::Number);
            }
            _ if is_name(&first) => {
                let mut name = first.to_string();
                name.extend(std::iter::from_fn(|| characters.next_if(is_name)));
                tokens.push(Name(name));
            }
            symbol => tokens.push(Symbol(symbol)),
        }
    }
    tokens
}

fn read_text(characters: &mut Peekable<Chars<'_>>, quote: char) -> String {
    let mut text = String::new();
    while let Some(next) = characters.next() {
        match next {
            _ if next == quote => return text,
            '\\' => text.extend(characters.next()),
            _ => text.push(next),
        }
    }
    panic!("a text without an end: {text}");
}

#[test]
fn metrics_matchers_and_groupings_are_found() {
    let query = read(
        r#"histogram_quantile(0.99, sum by (job, le) (rate(a_bucket{job="x",route=~"/b\\.|{c}"}[5m]))) > 1e3
           unless max by (d) (e:f:1m) or vector(0)"#,
    );
    let matcher = |label: &str, operator: &str, value: &str| Matcher {
        label: label.to_owned(),
        operator: operator.to_owned(),
        value: value.to_owned(),
    };
    let selected: Vec<&str> = query.selectors.iter().map(|it| it.metric.as_str()).collect();
    assert_eq!(selected, ["a_bucket", "e:f:1m"]);
    let matchers = [matcher("job", "=", "x"), matcher("route", "=~", r"/b\.|{c}")];
    assert_eq!(query.selectors[0].matchers, matchers);
    let grouped: Vec<_> = query
        .groupings
        .iter()
        .map(|it| (it.labels.join(","), it.metrics.join(",")))
        .collect();
    assert_eq!(
        grouped,
        [
            ("job,le".to_owned(), "a_bucket".to_owned()),
            ("d".to_owned(), "e:f:1m".to_owned())
        ]
    );
}

#[test]
#[should_panic(expected = "not understood")]
fn what_is_not_understood_is_refused() {
    read("a * on (b) c");
}
