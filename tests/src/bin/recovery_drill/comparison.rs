//! What a restored database has, compared with what clients were promised.
//!
//! Why this is exact: a transfer's commit time lies between when it was sent and when it was acknowledged, and a recovery to
//! a moment stops before the first commit with a later time. So whatever was acknowledged by then is there, whatever was
//! sent later is not, and only what was under way may be either.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::load::Acknowledged;

pub enum Target {
    /// Everything that was archived before the machine was lost.
    Latest,
    Moment(DateTime<Utc>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Moment(moment) => write!(f, "{}", moment.format("%Y-%m-%d %H:%M:%S%.6f+00")),
        }
    }
}

#[derive(Debug)]
pub struct Comparison {
    /// Acknowledged transfers that are there.
    pub there: usize,
    /// Acknowledged transfers that are not, though they are from before the target.
    pub lost: usize,
    /// Between the last acknowledged transfer that is there, and the last that should be.
    pub loss: TimeDelta,
    /// Acknowledged after the moment, and therefore not there.
    pub undone: usize,
    /// Sent before the moment and acknowledged after it: any of them may be there.
    pub under_way: usize,
    pub problems: Vec<String>,
}

/// `sent` is when each request was sent, and `books` the answer to each transfer that is there, both by its key.
pub fn compare(
    target: &Target,
    acknowledged: &[Acknowledged],
    sent: &HashMap<String, DateTime<Utc>>,
    books: &BTreeMap<String, String>,
) -> Comparison {
    let moment = match target {
        Target::Latest => DateTime::<Utc>::MAX_UTC,
        Target::Moment(moment) => *moment,
    };
    let (due, later): (Vec<_>, Vec<_>) = acknowledged.iter().partition(|transfer| transfer.at <= moment);
    let is_there = |transfer: &&&Acknowledged| books.contains_key(&transfer.key);
    let lost: Vec<_> = due.iter().filter(|transfer| !is_there(transfer)).collect();

    let mut problems = Vec::new();
    for transfer in acknowledged {
        if books
            .get(&transfer.key)
            .is_some_and(|body| *body != transfer.body)
        {
            problems.push(format!(
                "{} has another answer than {}",
                transfer.key, transfer.body
            ));
        }
    }
    let end =
        match target {
            // The log is lost from a place on, and nothing from after that place can be there.
            Target::Latest => lost.iter().map(|transfer| transfer.at).min().unwrap_or(moment),
            Target::Moment(_) => {
                let lost = lost.iter();
                problems.extend(lost.map(|transfer| {
                    format!("{} was acknowledged at {} and is lost", transfer.key, transfer.at)
                }));
                moment
            }
        };
    for key in books.keys() {
        match sent.get(key) {
            Some(sent) if *sent <= end => {}
            Some(sent) => problems.push(format!(
                "{key} is there, though it was sent at {sent}, after {end}"
            )),
            None => problems.push(format!("{key} is there, though nobody sent it")),
        }
    }
    let last_due = due.iter().map(|transfer| transfer.at).max();
    let last_there = due.iter().filter(is_there).map(|transfer| transfer.at).max();
    let loss = match (last_due, last_there) {
        (Some(due), Some(there)) => due - there,
        (None, _) => TimeDelta::zero(),
        (Some(_), None) => TimeDelta::MAX,
    };
    Comparison {
        there: acknowledged.iter().filter(|transfer| is_there(&transfer)).count(),
        lost: lost.len(),
        loss,
        undone: later.iter().filter(|transfer| !is_there(transfer)).count(),
        under_way: later.iter().filter(|transfer| transfer.sent <= moment).count(),
        problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// Transfers `0`, `1`, … sent at seconds 0, 10, 20, … and acknowledged five seconds later, and what is there of them.
    fn compare_ten(target: &Target, there: &[usize]) -> Comparison {
        let seconds = (0..10).map(|number| (number.to_string(), number * 10));
        let acknowledged: Vec<Acknowledged> = seconds
            .map(|(key, second)| Acknowledged {
                body: format!("answer {key}"),
                key,
                sent: at(second),
                at: at(second + 5),
            })
            .collect();
        let sent = acknowledged
            .iter()
            .map(|transfer| (transfer.key.clone(), transfer.sent));
        let books = there
            .iter()
            .map(|number| (number.to_string(), format!("answer {number}")));
        compare(target, &acknowledged, &sent.collect(), &books.collect())
    }

    #[test]
    fn a_recovery_to_a_moment_has_all_that_was_acknowledged_and_may_have_what_was_under_way() {
        // The fourth is sent at 30 and acknowledged at 35.
        for there in [[0, 1, 2].as_slice(), &[0, 1, 2, 3]] {
            let comparison = compare_ten(&Target::Moment(at(32)), there);
            assert!(comparison.problems.is_empty(), "{comparison:?}");
            assert_eq!((comparison.lost, comparison.under_way), (0, 1));
            assert_eq!(comparison.there + comparison.undone, 10);
            assert_eq!(comparison.loss, TimeDelta::zero());
        }
    }

    #[test]
    fn a_recovery_to_a_moment_without_one_of_them_or_with_a_later_one_is_wrong() {
        let without = compare_ten(&Target::Moment(at(32)), &[0, 1]);
        assert!(
            without.problems.concat().contains("2 was acknowledged"),
            "{without:?}"
        );
        assert_eq!((without.lost, without.loss), (1, TimeDelta::seconds(10)));
        let hole = compare_ten(&Target::Moment(at(32)), &[0, 2, 3]);
        assert!(hole.problems.concat().contains("1 was acknowledged"), "{hole:?}");
        let later = compare_ten(&Target::Moment(at(32)), &[0, 1, 2, 3, 4]);
        assert!(later.problems.concat().contains("4 is there"), "{later:?}");
    }

    #[test]
    fn a_recovery_to_the_latest_may_lose_the_end_and_nothing_else() {
        let whole = compare_ten(&Target::Latest, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(whole.problems.is_empty() && whole.lost == 0, "{whole:?}");
        let end = compare_ten(&Target::Latest, &[0, 1, 2, 3, 4, 5, 6]);
        assert!(end.problems.is_empty(), "{end:?}");
        assert_eq!((end.lost, end.loss), (3, TimeDelta::seconds(30)));
        let hole = compare_ten(&Target::Latest, &[0, 1, 2, 3, 4, 5, 6, 8]);
        assert!(hole.problems.concat().contains("8 is there"), "{hole:?}");
        assert_eq!(compare_ten(&Target::Latest, &[]).loss, TimeDelta::MAX);
    }

    #[test]
    fn another_answer_and_a_transfer_of_nobody_are_wrong() {
        let transfer = Acknowledged {
            key: "key".to_owned(),
            sent: at(0),
            at: at(5),
            body: "given".to_owned(),
        };
        let books = [("key", "another"), ("stranger", "")];
        let books = books.map(|(key, body)| (key.to_owned(), body.to_owned()));
        let sent = [("key".to_owned(), at(0))];
        let found = compare(&Target::Latest, &[transfer], &sent.into(), &books.into());
        let problems = found.problems.concat();
        assert!(
            problems.contains("key has another answer") && problems.contains("nobody sent"),
            "{found:?}"
        );
    }
}
