//! What holders said about their insights. All of it is bounded per holder, under a lock, so that nobody fills the database.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, now};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::{AccountId, CategoryRuleId, InsightId, TransferId, UserId};
use shared::{ApiError, Currency};

use super::Insight;
use super::budget::Budget;
use super::category::{Category, CategoryRule, RuleWords, Subject};
use super::feedback::{Feedback, Rating};
use crate::schema::{budgets, category_rules, insight_feedback};

pub const MAX_RULES: i64 = 500;
pub const MAX_BUDGETS: i64 = 100;
pub const MAX_FEEDBACK: i64 = 5_000;

#[derive(Queryable, Selectable)]
#[diesel(table_name = category_rules, check_for_backend(diesel::pg::Pg))]
struct RuleRow {
    id: CategoryRuleId,
    transfer_id: Option<TransferId>,
    counterparty_account_id: Option<AccountId>,
    words: Option<String>,
    category: String,
}

impl RuleRow {
    /// A category that a later version named is none of ours: such a rule waits until it is known again.
    fn parse(self) -> Option<CategoryRule> {
        let subject = match (self.transfer_id, self.counterparty_account_id, self.words) {
            (Some(id), ..) => Subject::TransferId(id),
            (_, Some(id), _) => Subject::CounterpartyAccountId(id),
            (.., words) => Subject::Words(RuleWords::parse(&words?)?),
        };
        Some(CategoryRule {
            id: self.id,
            subject,
            category: Category::parse(&self.category)?,
        })
    }
}

/// Newest first.
pub async fn rules(conn: &mut AsyncPgConnection, holder: UserId) -> QueryResult<Vec<CategoryRule>> {
    let rows: Vec<RuleRow> = category_rules::table
        .filter(category_rules::holder_id.eq(holder))
        .order(category_rules::id.desc())
        .limit(MAX_RULES)
        .select(RuleRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().filter_map(RuleRow::parse).collect())
}

/// Makes the rule, or changes the category of the one with this subject.
pub async fn put_rule(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    subject: &Subject,
    category: Category,
) -> Result<CategoryRuleId, ApiError> {
    lock_holder(conn, holder).await?;
    let (transfer_id, counterparty_id, words) = match subject {
        Subject::TransferId(id) => (Some(*id), None, None),
        Subject::CounterpartyAccountId(id) => (None, Some(*id), None),
        Subject::Words(words) => (None, None, Some(words.as_str())),
    };
    let same = category_rules::table
        .filter(category_rules::holder_id.eq(holder))
        .filter(category_rules::transfer_id.is_not_distinct_from(transfer_id))
        .filter(category_rules::counterparty_account_id.is_not_distinct_from(counterparty_id))
        .filter(category_rules::words.is_not_distinct_from(words));
    let known: Option<CategoryRuleId> = diesel::update(same)
        .set(category_rules::category.eq(category.name()))
        .returning(category_rules::id)
        .get_result(conn)
        .await
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    let of_holder = category_rules::table.filter(category_rules::holder_id.eq(holder));
    let count: i64 = of_holder.select(count_star()).first(conn).await?;
    if count >= MAX_RULES {
        let detail = format!("You have {MAX_RULES} rules. Delete one first.");
        return Err(ApiError::unprocessable("too_many_category_rules", detail));
    }
    let id = CategoryRuleId::new();
    diesel::insert_into(category_rules::table)
        .values((
            category_rules::id.eq(id),
            category_rules::holder_id.eq(holder),
            category_rules::transfer_id.eq(transfer_id),
            category_rules::counterparty_account_id.eq(counterparty_id),
            category_rules::words.eq(words),
            category_rules::category.eq(category.name()),
        ))
        .execute(conn)
        .await?;
    Ok(id)
}

/// Tells whether there was one.
pub async fn delete_rule(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    id: CategoryRuleId,
) -> QueryResult<bool> {
    let rule = category_rules::table
        .filter(category_rules::id.eq(id))
        .filter(category_rules::holder_id.eq(holder));
    Ok(diesel::delete(rule).execute(conn).await? > 0)
}

pub async fn budgets(conn: &mut AsyncPgConnection, holder: UserId) -> QueryResult<Vec<Budget>> {
    let rows: Vec<(String, Currency, i64)> = budgets::table
        .filter(budgets::holder_id.eq(holder))
        .order((budgets::category, budgets::currency))
        .limit(MAX_BUDGETS)
        .select((budgets::category, budgets::currency, budgets::amount))
        .load(conn)
        .await?;
    let parse = |(category, currency, amount): (String, Currency, i64)| {
        Some(Budget {
            category: Category::parse(&category)?,
            currency,
            amount,
        })
    };
    Ok(rows.into_iter().filter_map(parse).collect())
}

pub async fn put_budget(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    budget: &Budget,
) -> Result<(), ApiError> {
    lock_holder(conn, holder).await?;
    let updated = diesel::update(budget_of(holder, budget.category, budget.currency))
        .set((budgets::amount.eq(budget.amount), budgets::updated_at.eq(now)))
        .execute(conn)
        .await?;
    if updated > 0 {
        return Ok(());
    }
    let of_holder = budgets::table.filter(budgets::holder_id.eq(holder));
    let count: i64 = of_holder.select(count_star()).first(conn).await?;
    if count >= MAX_BUDGETS {
        let detail = format!("You have {MAX_BUDGETS} budgets. Delete one first.");
        return Err(ApiError::unprocessable("too_many_budgets", detail));
    }
    diesel::insert_into(budgets::table)
        .values((
            budgets::holder_id.eq(holder),
            budgets::category.eq(budget.category.name()),
            budgets::currency.eq(budget.currency),
            budgets::amount.eq(budget.amount),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

#[diesel::dsl::auto_type(no_type_alias)]
fn budget_of(holder: UserId, category: Category, currency: Currency) -> _ {
    let name: &'static str = category.name();
    budgets::table
        .filter(budgets::holder_id.eq(holder))
        .filter(budgets::category.eq(name))
        .filter(budgets::currency.eq(currency))
}

/// Tells whether there was one.
pub async fn delete_budget(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    category: Category,
    currency: Currency,
) -> QueryResult<bool> {
    let deleted = diesel::delete(budget_of(holder, category, currency))
        .execute(conn)
        .await?;
    Ok(deleted > 0)
}

/// What the holder said about insights, by their ids.
pub async fn feedback(
    conn: &mut AsyncPgConnection,
    holder: UserId,
) -> QueryResult<HashMap<InsightId, Feedback>> {
    type Row = (InsightId, Option<String>, Option<DateTime<Utc>>);
    let rows: Vec<Row> = insight_feedback::table
        .filter(insight_feedback::holder_id.eq(holder))
        .limit(MAX_FEEDBACK)
        .select((
            insight_feedback::insight_id,
            insight_feedback::rating,
            insight_feedback::dismissed_at,
        ))
        .load(conn)
        .await?;
    let parse = |(id, rating, dismissed_at): Row| {
        let feedback = Feedback {
            rating: rating.as_deref().and_then(Rating::parse),
            is_dismissed: dismissed_at.is_some(),
        };
        (id, feedback)
    };
    Ok(rows.into_iter().map(parse).collect())
}

/// Rates an insight or has it stay away; what is not said stays as it was.
pub async fn say(
    conn: &mut AsyncPgConnection,
    holder: UserId,
    insight: &Insight,
    rating: Option<Rating>,
    dismiss: bool,
) -> Result<(), ApiError> {
    lock_holder(conn, holder).await?;
    sql_query(
        "INSERT INTO insight_feedback (holder_id, insight_id, kind, rating, dismissed_at)
         VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN now() END)
         ON CONFLICT (holder_id, insight_id) DO UPDATE SET
             rating = coalesce(excluded.rating, insight_feedback.rating),
             dismissed_at = coalesce(insight_feedback.dismissed_at, excluded.dismissed_at),
             updated_at = now()",
    )
    .bind::<Uuid, _>(holder)
    .bind::<Uuid, _>(insight.id)
    .bind::<Text, _>(insight.kind.name())
    .bind::<Nullable<Text>, _>(rating.map(Rating::name))
    .bind::<Bool, _>(dismiss)
    .execute(conn)
    .await?;
    // What was said longest ago is about transfers that are not looked at any more.
    sql_query(
        "DELETE FROM insight_feedback WHERE holder_id = $1 AND insight_id IN (
            SELECT insight_id FROM insight_feedback WHERE holder_id = $1 ORDER BY updated_at DESC OFFSET $2)",
    )
    .bind::<Uuid, _>(holder)
    .bind::<BigInt, _>(MAX_FEEDBACK)
    .execute(conn)
    .await?;
    Ok(())
}

/// Until the transaction ends nobody else adds anything for this holder.
async fn lock_holder(conn: &mut AsyncPgConnection, holder: UserId) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock(hashtextextended('insights ' || $1::text, 0))")
        .bind::<Uuid, _>(holder)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets everything that the holder said.
pub async fn erase(conn: &mut AsyncPgConnection, holder: UserId) -> QueryResult<()> {
    diesel::delete(category_rules::table.filter(category_rules::holder_id.eq(holder)))
        .execute(conn)
        .await?;
    diesel::delete(budgets::table.filter(budgets::holder_id.eq(holder)))
        .execute(conn)
        .await?;
    diesel::delete(insight_feedback::table.filter(insight_feedback::holder_id.eq(holder)))
        .execute(conn)
        .await?;
    Ok(())
}
