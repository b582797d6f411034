//! Erasure of a person: what names them here goes, what others need of it stays. Only `auth-service`
//! may ask for it, which knows whether there is a legal hold. Here an open case is one more reason to wait: what is being
//! investigated is kept until somebody has decided.
//!
//! Transfers stay in the log, since models learn from them and the other party has them too, but without the holder, the origin and
//! the description. Account ids stay: without the holder they lead to nobody. The audit log has ids only, and stays.

use actix_web::{HttpResponse, post, web};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::ErasePerson;
use shared::id::UserId;
use shared::{ApiError, ServiceCaller};

use crate::insight;
use crate::schema::cases;
use crate::state::State;

/// Anonymises what is kept about a user. Doing so again changes nothing. 409 `open_case`: wait until it is closed, and ask again.
#[post("/internal/erasures")]
pub async fn erase_person(
    caller: ServiceCaller,
    state: web::Data<State>,
    request: web::Json<ErasePerson>,
) -> Result<HttpResponse, ApiError> {
    caller.require(&[shared::clients::auth::SERVICE])?;
    let user = request.user_id;
    state
        .db
        .transaction("erase_person", async |conn| erase(conn, user).await)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

pub async fn erase(conn: &mut AsyncPgConnection, user: UserId) -> Result<(), ApiError> {
    let open = cases::table
        .filter(cases::subject.eq(user.uuid()))
        .filter(cases::closed_at.is_null());
    if diesel::select(diesel::dsl::exists(open)).get_result(conn).await? {
        let detail = "There is an open case about this user, whose alerts have to be decided first.";
        return Err(ApiError::conflict("open_case", detail));
    }
    // A function of the owner's: the service itself may not change any of this.
    sql_query("SELECT erase_person($1)")
        .bind::<SqlUuid, _>(user)
        .execute(conn)
        .await?;
    insight::queries::erase(conn, user).await?;
    Ok(())
}
