//! Finding transfers, newest first. First their ids, out of the indexes that are in the order of the list; then the rows,
//! a few at a time, until a page is full.

use diesel::dsl::{AsSelect, auto_type, sql};
use diesel::helper_types::{IntoBoxed, Select};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;
use shared::id::{AccountId, TransferId, UserId};
use shared::page::Limit;

use super::{Filter, Scope};
use crate::schema::{transfer_labels, transfer_parties, transfers};
use crate::transfer::TransferStatus;
use crate::transfer::queries::TransferRow;

/// How many transfers of one index a page looks through for those that a filter selects.
const LOOKED_THROUGH: i64 = 2000;
/// How many rows are loaded at once.
const CHUNK: usize = 250;

pub struct Found {
    /// More than the page has, if there is another.
    pub rows: Vec<TransferRow>,
    /// Where the search was given up; `None` when it came to the end.
    pub given_up_at: Option<TransferId>,
}

/// Those of `scope` that pass `filter`, after the one with the id `after`.
pub async fn find(
    conn: &mut AsyncPgConnection,
    scope: Scope,
    filter: &Filter,
    after: Option<TransferId>,
    limit: Limit,
) -> QueryResult<Found> {
    let (most, chunk) = if filter.selects() {
        (LOOKED_THROUGH, CHUNK)
    } else {
        // Of what a user receives only what was posted is shown, so a few more may be needed.
        (
            limit.rows_to_load().saturating_mul(3),
            limit.get().saturating_add(1),
        )
    };
    let ids = Ids {
        range: filter.ids(after),
        most,
    };
    let (ids, given_up_at) = merge(ids.of(conn, scope, filter).await?, most);
    let mut rows: Vec<TransferRow> = Vec::new();
    for ids in ids.chunks(chunk) {
        let mut passing = load(conn, scope, filter, ids).await?;
        passing.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
        rows.append(&mut passing);
        if rows.len() > limit.get() {
            break;
        }
    }
    Ok(Found { rows, given_up_at })
}

/// Out of several indexes: each id once, newest first, as far as every index was walked; and where that is, unless it is the
/// end.
fn merge(walked: Vec<Vec<TransferId>>, most: i64) -> (Vec<TransferId>, Option<TransferId>) {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let ends = walked.iter().filter(|ids| ids.len() >= most);
    let given_up_at = ends.filter_map(|ids| ids.last()).max().copied();
    let mut ids = walked.concat();
    ids.retain(|id| given_up_at.is_none_or(|end| *id >= end));
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids.dedup();
    (ids, given_up_at)
}

/// What is read of each index.
struct Ids {
    /// From the first on, and before the second.
    range: (TransferId, TransferId),
    most: i64,
}

impl Ids {
    async fn of(
        &self,
        conn: &mut AsyncPgConnection,
        scope: Scope,
        filter: &Filter,
    ) -> QueryResult<Vec<Vec<TransferId>>> {
        let Scope::OfHolder(holder) = scope else {
            // As a literal: a partial index serves only what its condition is seen to imply.
            let in_review = self.transfers().filter(sql::<Bool>("status = 'in_review'"));
            return Ok(vec![in_review.load(conn).await?]);
        };
        if let Some(label) = filter.label() {
            return Ok(vec![self.labelled(conn, holder, &label).await?]);
        }
        let (debited, credited) = match filter.account_id {
            Some(account) => (
                self.transfers().filter(transfers::debit_account_id.eq(account)),
                self.transfers().filter(transfers::credit_account_id.eq(account)),
            ),
            None => (
                self.transfers().filter(transfers::debit_holder_id.eq(holder)),
                self.transfers().filter(transfers::credit_holder_id.eq(holder)),
            ),
        };
        let mut walked = vec![
            debited.load(conn).await?,
            credited.load(conn).await?,
            self.among_payees(conn, holder).await?,
        ];
        if filter.account_id.is_some() {
            let of_several = self
                .transfers()
                .filter(transfers::debit_holder_id.eq(holder))
                .filter(transfers::several_legs.is_not_null());
            walked.push(of_several.load(conn).await?);
        }
        Ok(walked)
    }

    fn transfers<'a>(&self) -> IntoBoxed<'a, Select<transfers::table, transfers::id>, Pg> {
        let (since, before) = self.range;
        transfers::table
            .select(transfers::id)
            .into_boxed()
            .filter(transfers::id.ge(since))
            .filter(transfers::id.lt(before))
            .order(transfers::id.desc())
            .limit(self.most)
    }

    async fn labelled(
        &self,
        conn: &mut AsyncPgConnection,
        holder: UserId,
        label: &str,
    ) -> QueryResult<Vec<TransferId>> {
        let (since, before) = self.range;
        transfer_labels::table
            .filter(transfer_labels::holder_id.eq(holder))
            .filter(transfer_labels::label.eq(label))
            .filter(transfer_labels::transfer_id.ge(since))
            .filter(transfer_labels::transfer_id.lt(before))
            .order(transfer_labels::transfer_id.desc())
            .limit(self.most)
            .select(transfer_labels::transfer_id)
            .load(conn)
            .await
    }

    async fn among_payees(
        &self,
        conn: &mut AsyncPgConnection,
        holder: UserId,
    ) -> QueryResult<Vec<TransferId>> {
        let (since, before) = self.range;
        transfer_parties::table
            .filter(transfer_parties::holder_id.eq(holder))
            .filter(transfer_parties::transfer_id.ge(since))
            .filter(transfer_parties::transfer_id.lt(before))
            .order(transfer_parties::transfer_id.desc())
            .limit(self.most)
            .select(transfer_parties::transfer_id)
            .load(conn)
            .await
    }
}

type Rows<'a> = IntoBoxed<'a, Select<transfers::table, AsSelect<TransferRow, Pg>>, Pg>;

/// Those of `ids`, which are newest first, that are in `scope` and pass `filter`; in no order.
async fn load(
    conn: &mut AsyncPgConnection,
    scope: Scope,
    filter: &Filter,
    ids: &[TransferId],
) -> QueryResult<Vec<TransferRow>> {
    let (Some(newest), Some(oldest)) = (ids.first(), ids.last()) else {
        return Ok(Vec::new());
    };
    let rows = transfers::table
        .select(TransferRow::as_select())
        .into_boxed()
        .filter(transfers::id.eq_any(ids))
        // Says nothing new, except to the planner: which months it need not look into.
        .filter(transfers::id.between(*oldest, *newest));
    let rows = by_account(in_scope(rows, scope), scope, filter);
    by_content(rows, filter).load(conn).await
}

fn in_scope(rows: Rows<'_>, scope: Scope) -> Rows<'_> {
    match scope {
        Scope::InReview => rows.filter(transfers::status.eq(TransferStatus::InReview.word())),
        Scope::OfHolder(holder) => rows.filter(
            transfers::debit_holder_id
                .eq(holder)
                .or(transfers::initiated_by.eq(holder))
                .or(transfers::status.eq(TransferStatus::Posted.word())),
        ),
    }
}

fn by_account<'a>(mut rows: Rows<'a>, scope: Scope, filter: &Filter) -> Rows<'a> {
    if let Some(account) = filter.account_id {
        rows = rows.filter(is_side(account).or(has_leg(account)));
    }
    match (filter.counterparty_account_id, scope) {
        (None, _) => rows,
        (Some(account), Scope::InReview) => rows.filter(is_side(account).or(has_leg(account))),
        (Some(account), Scope::OfHolder(holder)) => {
            let paid = transfers::credit_account_id
                .eq(account)
                .and(transfers::debit_holder_id.eq(holder));
            let paying = transfers::debit_account_id
                .eq(account)
                .and(transfers::credit_holder_id.eq(holder));
            rows.filter(paid.or(paying).or(has_leg(account)))
        }
    }
}

fn by_content<'a>(mut rows: Rows<'a>, filter: &'a Filter) -> Rows<'a> {
    if let Some(kind) = filter.kind {
        rows = rows.filter(transfers::kind.eq(kind.word()));
    }
    if let Some(status) = filter.status {
        rows = rows.filter(transfers::status.eq(status.word()));
    }
    if let Some(amount) = filter.min_amount {
        rows = rows.filter(transfers::amount.ge(amount.minor()));
    }
    if let Some(amount) = filter.max_amount {
        rows = rows.filter(transfers::amount.le(amount.minor()));
    }
    if let Some(moment) = filter.created_from {
        rows = rows.filter(transfers::created_at.ge(moment));
    }
    if let Some(moment) = filter.created_before {
        rows = rows.filter(transfers::created_at.lt(moment));
    }
    if let Some(reference) = &filter.reference {
        rows = rows.filter(transfers::reference.eq(reference.as_str()));
    }
    if let Some(metadata) = &filter.metadata {
        rows = rows.filter(transfers::metadata.contains(json!(metadata)));
    }
    rows
}

#[auto_type]
fn is_side(account: AccountId) -> _ {
    transfers::debit_account_id
        .eq(account)
        .or(transfers::credit_account_id.eq(account))
}

/// Of a transfer with several legs.
#[auto_type]
fn has_leg(account: AccountId) -> _ {
    let leg: serde_json::Value = json!([{ "account_id": account }]);
    transfers::several_legs.contains(leg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn ids(numbers: &[u128]) -> Vec<TransferId> {
        let id = |number: &u128| TransferId::from_uuid(Uuid::from_u128(*number));
        numbers.iter().map(id).collect()
    }

    #[test]
    fn a_search_ends_where_the_first_index_was_given_up() {
        let walked = vec![ids(&[9, 7, 5]), ids(&[8, 7, 2]), ids(&[6])];
        assert_eq!(merge(walked, 3), (ids(&[9, 8, 7, 6, 5]), Some(ids(&[5])[0])));
        let walked = vec![ids(&[9, 7]), ids(&[8, 7, 2])];
        assert_eq!(merge(walked, 4), (ids(&[9, 8, 7, 2]), None));
    }
}
