//! An account's limits, as `accounts-service` reads and changes them. The lane counts against them, on the locked row.

use actix_web::{get, put, web};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;
use shared::clients::transactions::{LimitUse, Limits, SetLimits};
use shared::id::AccountId;
use shared::{ApiError, Json, ServiceCaller};

use super::handlers::CALLERS;
use super::queries;
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
                let entry =
                    audit::Entry::by(request.changed_by, &request.roles, "account.limits_changed", id)
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

type Row = (Option<i64>, Option<i64>, Option<i64>, i64, i64, i64);

async fn find(conn: &mut AsyncPgConnection, id: AccountId) -> QueryResult<LimitUse> {
    let (per_transfer, daily, monthly, held, spent_today, spent_this_month): Row = ledger_accounts::table
        .find(id)
        .select((
            ledger_accounts::transfer_limit,
            ledger_accounts::daily_limit,
            ledger_accounts::monthly_limit,
            ledger_accounts::held,
            sql::<BigInt>(
                "CASE WHEN spent_on >= (now() AT TIME ZONE 'UTC')::date THEN spent_today ELSE 0 END",
            ),
            sql::<BigInt>(
                "CASE WHEN spent_on >= date_trunc('month', now() AT TIME ZONE 'UTC')::date \
                 THEN spent_this_month ELSE 0 END",
            ),
        ))
        .first(conn)
        .await?;
    Ok(LimitUse {
        limits: Limits {
            per_transfer,
            daily,
            monthly,
        },
        spent_today,
        spent_this_month,
        held,
    })
}
