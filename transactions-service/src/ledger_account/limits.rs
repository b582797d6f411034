//! An account's limits, as `accounts-service` reads and changes them. The lane counts against them, on the locked row.

use actix_web::{get, put, web};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;
use shared::clients::transactions::{LimitUse, Limits, SetLimits};
use shared::id::AccountId;
use shared::{ApiError, Json, ServiceCaller};

use super::handlers::CALLERS;
use super::{Spent, queries};
use crate::audit;
use crate::schema::ledger_accounts;
use crate::state::State;

#[get("/internal/ledger-accounts/{account_id}/limits")]
pub async fn get_limits(
    caller: ServiceCaller,
    account_id: web::Path<AccountId>,
    state: web::Data<State>,
) -> Result<web::Json<LimitUse>, ApiError> {
    caller.require(&CALLERS)?;
    let mut conn = state.db.connection().await?;
    Ok(web::Json(find(&mut conn, *account_id).await?))
}

#[put("/internal/ledger-accounts/{account_id}/limits")]
pub async fn set_limits(
    caller: ServiceCaller,
    account_id: web::Path<AccountId>,
    request: Json<SetLimits>,
    state: web::Data<State>,
) -> Result<web::Json<LimitUse>, ApiError> {
    caller.require(&CALLERS)?;
    let (id, request) = (*account_id, request.into_inner());
    let limits = request.limits;
    let changed = state
        .db
        .transaction("set_limits", async |conn| {
            queries::lock(conn, id).await?;
            let before = find(conn, id).await?;
            diesel::update(ledger_accounts::table.find(id))
                .set((
                    ledger_accounts::transfer_limit.eq(limits.per_transfer),
                    ledger_accounts::daily_limit.eq(limits.daily),
                    ledger_accounts::monthly_limit.eq(limits.monthly),
                ))
                .execute(conn)
                .await?;
            if before.limits != limits {
                let entry = audit::Entry::by(
                    request.actor.user_id,
                    &request.actor.roles,
                    "account.limits_changed",
                    id,
                )
                .change(
                    &json!({ "limits": before.limits }),
                    &json!({ "limits": limits, "reason": request.reason }),
                )?;
                audit::append(conn, &entry).await?;
            }
            Ok::<_, ApiError>(LimitUse { limits, ..before })
        })
        .await?;
    Ok(web::Json(changed))
}

type Row = (
    Option<i64>,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
    i64,
    Option<DateTime<Utc>>,
    DateTime<Utc>,
);

async fn find(conn: &mut AsyncPgConnection, id: AccountId) -> QueryResult<LimitUse> {
    let (per_transfer, daily, monthly, held, today, this_month, last_changed_at, now): Row =
        ledger_accounts::table
            .find(id)
            .select((
                ledger_accounts::transfer_limit,
                ledger_accounts::daily_limit,
                ledger_accounts::monthly_limit,
                ledger_accounts::held,
                ledger_accounts::spent_today,
                ledger_accounts::spent_this_month,
                ledger_accounts::last_changed_at,
                diesel::dsl::now.into_sql::<Timestamptz>(),
            ))
            .first(conn)
            .await?;
    let spent = Spent { today, this_month }.on(now, last_changed_at);
    Ok(LimitUse {
        limits: Limits {
            per_transfer,
            daily,
            monthly,
        },
        spent_today: spent.today,
        spent_this_month: spent.this_month,
        held,
    })
}
