//! Samples of the ledger, checked as an auditor would: what was committed last, and one earlier stretch, another each time. In a
//! young ledger that is everything.

use diesel::dsl::sql;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use flowlet_verify::Keys;
use flowlet_verify::export::{Problem, Report, Verifier};
use shared::ApiError;

use crate::checkpoint;
use crate::proof::export::Export;

/// Checkpoints in a sample. Each is of a few seconds, so this is minutes of full load, or months of none.
const CHECKPOINTS: i64 = 200;
/// No sample goes on after this many facts; the rest of its checkpoint is still read.
const MAX_FACTS: u64 = 5_000;

/// What does not fit, each naming the record.
pub async fn violations(conn: &mut AsyncPgConnection) -> Result<Vec<String>, ApiError> {
    let Some(last) = checkpoint::queries::last(conn).await? else {
        return Ok(Vec::new());
    };
    let keys = checkpoint::queries::keys(conn).await?;
    let keys = Keys::from_verifiers(keys.iter().map(|key| key.verifier.as_str()));
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => return Ok(vec![format!("the published keys: {error}")]),
    };
    let newest = last.number.saturating_sub(CHECKPOINTS).max(0);
    let mut violations = check(conn, &keys, newest, last.number).await?;
    if newest > 0 {
        let anywhere = sql::<BigInt>("floor(random() * ")
            .bind::<BigInt, _>(newest)
            .sql(")::bigint");
        let after: i64 = diesel::select(anywhere).get_result(conn).await?;
        let upto = after.saturating_add(CHECKPOINTS).min(newest);
        violations.extend(check(conn, &keys, after, upto).await?);
    }
    Ok(violations)
}

/// Checks from the checkpoint after `after` to `upto`, or to where there were enough facts.
async fn check(
    conn: &mut AsyncPgConnection,
    keys: &Keys,
    after: i64,
    upto: i64,
) -> Result<Vec<String>, ApiError> {
    let mut facts = 0;
    let mut problems = Vec::new();
    for number in after.saturating_add(1)..=upto {
        let report = check_one(conn, keys, number).await?;
        problems.extend(report.problems);
        facts += report.facts;
        if facts >= MAX_FACTS {
            break;
        }
    }
    Ok(problems.into_iter().map(|Problem { text, .. }| text).collect())
}

async fn check_one(conn: &mut AsyncPgConnection, keys: &Keys, number: i64) -> Result<Report, ApiError> {
    let mut export = Export::new(number.saturating_sub(1), number);
    let mut verifier = Verifier::new(keys, None);
    while let Some(lines) = export.next(conn).await? {
        lines.into_iter().for_each(|line| verifier.take(line));
    }
    Ok(verifier.finish())
}
