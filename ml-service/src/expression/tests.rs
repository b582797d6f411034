//! What is an expression, what is not and why, and what it says about a transfer.

use proptest::prelude::*;

use super::*;

/// A transfer of 250.00 USD by an account with a mean of 20.00.
struct Example {
    history: bool,
}

impl Facts for Example {
    fn value(&self, variable: Variable) -> Option<Value<'_>> {
        match variable {
            Variable::Amount => Some(Value::integer(25_000)),
            Variable::Currency => Some(Value::Text("USD")),
            Variable::Kind => Some(Value::Text("transfer")),
            Variable::Hour => Some(Value::integer(3)),
            Variable::Weekday => Some(Value::integer(7)),
            Variable::OriginKnown | Variable::CounterpartyKnown => Some(Value::Bool(false)),
            Variable::AccountCount => Some(Value::integer(if self.history { 6 } else { 0 })),
            Variable::AccountCount1h => Some(Value::integer(2)),
            Variable::AccountMean => self.history.then(|| Fraction::of(12_000, 6).map(Value::Number))?,
            Variable::AccountMax => self.history.then(|| Value::integer(4_000)),
        }
    }

    fn major(&self) -> i64 {
        100
    }

    fn exponent(&self) -> u32 {
        2
    }
}

fn holds(text: &str, history: bool) -> bool {
    let expression = Expression::condition(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.holds(&Example { history })
}

#[test]
fn an_expression_says_whether_it_holds() {
    for text in [
        "amount >= 200 major and account.count >= 5 and amount / account.mean >= 10 and not counterparty.known",
        "amount == 250 major",
        "amount == 25_000 major / 100",
        "amount / account.mean == 12.5",
        "amount > account.max * 6 and amount < account.max * 6.5",
        "amount - account.mean * 2 > 200.99 major",
        "currency in {\"EUR\", \"USD\"} and kind != \"deposit\"",
        "hour < 6 or hour >= 22",
        "not (weekday < 6) and account.count_1h / account.count > 0.3",
        "2 + 3 * 4 == 14 and (2 + 3) * 4 == 20 and 7 - 2 - 1 == 4",
        "true or amount > 1 major and false",
        "not not true",
        "counterparty.known == false",
    ] {
        assert!(holds(text, true), "{text}");
    }
    for text in [
        "amount < 250 major",
        "not true",
        "currency in {\"usd\"}",
        "1 / 3 == 0.333",
    ] {
        assert!(!holds(text, true), "{text}");
    }
}

#[test]
fn what_is_unknown_neither_holds_nor_does_not() {
    for text in [
        "amount > account.mean",
        "not (amount > account.mean)",
        "amount > account.mean and true",
        "amount / (amount - amount) > 1",
        "not (amount / (amount - amount) > 1)",
    ] {
        assert!(!holds(text, false), "{text}");
    }
    assert!(holds("amount > account.mean or amount > 1 major", false));
    assert!(holds("not (amount > account.mean and amount < 1 major)", false));
}

#[test]
fn a_refusal_says_where_and_why() {
    let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let long = format!("true{}", " or true".repeat(120));
    for (text, expected) in [
        ("", "column 1: a name, a number or a text was expected here"),
        (
            "amount",
            "column 1: a rule is true or false of a transfer, and this is an amount",
        ),
        (
            "amount > 5",
            "column 8: `>` cannot compare an amount with a number",
        ),
        (
            "amount > account.count",
            "column 8: `>` cannot compare an amount with a number",
        ),
        (
            "account.count + amount > 3",
            "column 15: this cannot be computed from a number and an amount",
        ),
        (
            "amount * amount > 3 major",
            "column 8: this cannot be computed from an amount and an amount",
        ),
        (
            "true and amount",
            "column 6: `and` and `or` need true or false, and one side is an amount",
        ),
        (
            "not amount",
            "column 1: `not` needs true or false, and this is an amount",
        ),
        (
            "currency > \"A\"",
            "column 10: `>` cannot compare a text with a text",
        ),
        (
            "amount in {\"USD\"}",
            "column 8: `in` looks for a text, and this is an amount",
        ),
        ("currency in {5}", "column 14: a text in `\"` was expected here"),
        ("currency == \"USD", "column 13: a text ends with `\"`"),
        ("true true", "column 6: `and`, `or` or the end was expected here"),
        ("(true", "column 6: `)` was expected here"),
        ("é == 1", "column 1: `é` has no meaning here"),
        ("1.2.3 == 1", "column 1: `1.2.3` is no number, or is too long"),
        ("1. == 1", "column 1: `1.` is no number, or is too long"),
        (
            "99999999999999999999 == 1",
            "column 1: `99999999999999999999` is no number, or is too long",
        ),
        ("1 < 2 < 3", "column 7: `and`, `or` or the end was expected here"),
        (&deep, "column 33: an expression nests at most 32 deep"),
        (
            &long,
            "column 801: an expression has at most 200 words and symbols",
        ),
    ] {
        let refusal = Expression::condition(text).unwrap_err().to_string();
        assert_eq!(refusal, expected, "{text}");
    }
    let unknown = Expression::condition("sender.mood > 3").unwrap_err().to_string();
    assert!(
        unknown.starts_with("column 1: there is no `sender.mood`; there are amount, "),
        "{unknown}"
    );
    assert!(Expression::condition(&" ".repeat(MAX_LENGTH + 1)).is_err());
}

#[test]
fn a_value_is_shown_as_a_person_writes_it() {
    for (text, expected) in [
        ("amount", "250.00"),
        ("amount / account.mean", "12.5"),
        ("account.count", "6"),
        ("counterparty.known", "no"),
        ("currency", "USD"),
    ] {
        let shown = Expression::value_of(text)
            .unwrap()
            .show(&Example { history: true });
        assert_eq!(shown, expected, "{text}");
    }
    let without = Expression::value_of("amount / account.mean").unwrap();
    assert_eq!(without.show(&Example { history: false }), "unknown");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_the_parser_or_the_evaluation_panic(
        words in proptest::collection::vec(
            prop_oneof![
                Just("amount"), Just("account.mean"), Just("currency"), Just("not"), Just("and"), Just("or"), Just("("), Just(")"),
                Just("in"), Just("{"), Just("}"), Just(","), Just("\"USD\""), Just(">="), Just("=="), Just("/"), Just("*"),
                Just("-"), Just("0"), Just("9223372036854775807"), Just("9007199254740991 major"), Just("0.5"), Just("é"),
            ],
            0..40,
        ),
        history in any::<bool>(),
    ) {
        if let Ok(expression) = Expression::value_of(&words.join(" ")) {
            expression.holds(&Example { history });
            expression.show(&Example { history });
        }
    }
}
