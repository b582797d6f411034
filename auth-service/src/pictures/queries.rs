//! Pictures in the database.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::{PictureId, UserId};

use super::Picture;
use crate::schema::pictures;

/// Gives a user a picture, in place of the one there was.
pub async fn set(
    connection: &mut AsyncPgConnection,
    user: UserId,
    id: PictureId,
    picture: &Picture,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    let values = (
        pictures::id.eq(id),
        pictures::media_type.eq(picture.media_type),
        pictures::content.eq(&picture.content),
        pictures::created_at.eq(now),
    );
    diesel::insert_into(pictures::table)
        .values((pictures::user_id.eq(user), values))
        .on_conflict(pictures::user_id)
        .do_update()
        .set(values)
        .execute(connection)
        .await
}

pub async fn remove(connection: &mut AsyncPgConnection, user: UserId) -> QueryResult<usize> {
    let of_user = pictures::table.filter(pictures::user_id.eq(user));
    diesel::delete(of_user).execute(connection).await
}

/// The media type and the content.
pub async fn find(
    connection: &mut AsyncPgConnection,
    id: PictureId,
) -> QueryResult<Option<(String, Vec<u8>)>> {
    pictures::table
        .find(id)
        .select((pictures::media_type, pictures::content))
        .first(connection)
        .await
        .optional()
}
