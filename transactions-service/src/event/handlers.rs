//! `GET /api/v1/events`: everything that happened to a user's accounts, for whoever keeps a copy of it.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use shared::id::AccountId;
use shared::openapi::{AuthErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Cursor, Principal};
use utoipa::{IntoParams, ToSchema};

use super::queries::{self, Selection};
use super::{Event, EventType};
use crate::state::State;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListEvents {
    /// 1 to 100.
    #[serde(default)]
    #[param(value_type = u8, default = 20, minimum = 1, maximum = 100)]
    limit: Limit,
    /// The `next_cursor` of the answer before, however long ago that was.
    #[param(value_type = Option<String>)]
    after: Option<Cursor<i64>>,
    /// Only those of this type. Of a rare one a page can be short, or empty, and still have more after it.
    #[serde(rename = "type")]
    kind: Option<EventType>,
    /// Only those of this account.
    account_id: Option<AccountId>,
}

/// Events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    data: Vec<Event>,
    /// Keep it, and pass it as `after` to get what comes next, now or later.
    next_cursor: String,
    /// Whether there is more already. Go by this: a page of one type can be short or empty, and still not be the last.
    has_more: bool,
}

/// Read what happened to your accounts, oldest first, in the order in which it was committed.
///
/// Nothing is ever inserted before what you have read: whoever asks again with the `next_cursor` of the last answer gets each
/// event exactly once. The other side's transfers are seen once they are posted. Events are kept for good.
/// Asked for one type, a page looks through a stretch of 2,000 events at most, and its cursor says where to go on.
#[utoipa::path(
    tag = "events",
    params(ListEvents),
    responses((status = 200, description = "Events, oldest first", body = EventPage), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/events")]
pub async fn list_events(
    principal: Principal,
    query: web::Query<ListEvents>,
    state: web::Data<State>,
) -> Result<web::Json<EventPage>, ApiError> {
    let query = query.into_inner();
    let after = query.after.map_or(0, |cursor| cursor.0);
    let selection = Selection {
        kind: query.kind,
        account_id: query.account_id,
    };
    let mut conn = state.db.connection().await?;
    let found = queries::list_of_holder(&mut conn, principal.user_id, &selection, after, query.limit).await?;
    drop(conn);
    let data = found.rows.into_iter().map(|row| row.into_event());
    Ok(web::Json(EventPage {
        data: data.collect::<Result<_, _>>()?,
        next_cursor: Cursor(found.position).to_string(),
        has_more: found.has_more,
    }))
}
