//! The payments that models are trained on, as the log has them: a line for each that was made, and for each that somebody
//! refused and labelled, in the columns that `ml-service train` reads.
//!
//! When it was asked for is when it counts, as it did for scoring. Of several labels the newest counts. Deliberately absent:
//! names and descriptions, which no feature is made of.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use shared::clients::transactions::TransferKind;
use shared::error::Problem;
use shared::export::{self, CsvRow, Format, cell};
use shared::id::AccountId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Currency, Cursor, Page, Principal};
use uuid::Uuid;

use crate::analyst::STAFF;
use crate::offline::payments::COLUMNS;
use crate::state::State;

#[derive(Debug, QueryableByName, Serialize)]
struct TrainingPayment {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
    #[diesel(sql_type = SqlUuid)]
    account: AccountId,
    #[diesel(sql_type = SqlUuid)]
    counterparty: AccountId,
    /// Hashed with a key of ours.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    device: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    address: Option<Uuid>,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = Text)]
    currency: Currency,
    #[diesel(sql_type = Nullable<Bool>)]
    fraud: Option<bool>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    known_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Bool)]
    refused: bool,
}

impl CsvRow for TrainingPayment {
    const NAMES: &'static [&'static str] = &COLUMNS;

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.timestamp().to_string(),
            self.account.to_string(),
            self.counterparty.to_string(),
            cell(self.device),
            cell(self.address),
            self.amount.to_string(),
            self.currency.exponent().to_string(),
            cell(self.fraud.map(u8::from)),
            cell(self.known_at.map(|at| at.timestamp())),
            u8::from(self.refused).to_string(),
        ]
    }
}

/// Download the payments that a model can be trained on: `ml-service train --data` reads them. For `compliance` and `admin`.
///
/// A line for each payment that was made, and for each that was refused and labelled. If the file breaks off, the answer ends
/// without its last chunk, which an HTTP client reports as an error; then ask again.
#[utoipa::path(
    tag = "fraud",
    responses(
        (status = 200, description = "The file", content_type = "text/csv", body = String),
        (status = 403, description = "`role_required`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/fraud/training-payments")]
pub async fn export_training_payments(
    principal: Principal,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    principal.require_any(&STAFF)?;
    let page_after = move |cursor: Option<String>| {
        let state = state.clone();
        async move {
            let after = cursor.map(|it| it.parse::<Cursor<i64>>()).transpose();
            let after = after.map_err(ApiError::internal)?.map_or(0, |cursor| cursor.0);
            let mut conn = state.db.connection().await?;
            let rows = after_position(&mut conn, after, Limit::MAX.rows_to_load()).await?;
            Ok(Page::new(rows, Limit::MAX, |row| row.position))
        }
    };
    export::respond("training-payments", Format::Csv, page_after).await
}

/// In the order of the log. What waits for a person gets another place in it, and is told of when that is decided.
async fn after_position(
    conn: &mut AsyncPgConnection,
    position: i64,
    limit: i64,
) -> QueryResult<Vec<TrainingPayment>> {
    let kinds = TransferKind::ALL.into_iter().filter(|kind| kind.is_paid());
    let kinds: Vec<&str> = kinds.map(TransferKind::word).collect();
    sql_query(
        "SELECT transfers.position, coalesce(scores.requested_at, transfers.occurred_at) AS at,
             transfers.debit_account_id AS account, transfers.credit_account_id AS counterparty, transfers.device,
             transfers.address, transfers.amount, transfers.currency, label.fraud, label.known_at,
             transfers.status = 'rejected' AS refused
         FROM transfers
             LEFT JOIN scores ON scores.transfer_id = transfers.transfer_id
             LEFT JOIN LATERAL (
                 SELECT fraud, known_at FROM labels WHERE labels.transfer_id = transfers.transfer_id
                 ORDER BY labels.position DESC LIMIT 1
             ) AS label ON true
         WHERE transfers.position > $1 AND transfers.kind = ANY ($2)
             AND (transfers.status = 'posted' OR transfers.status = 'rejected' AND label.fraud IS NOT NULL)
         ORDER BY transfers.position LIMIT $3",
    )
    .bind::<BigInt, _>(position)
    .bind::<Array<Text>, _>(kinds)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
