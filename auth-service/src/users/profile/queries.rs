//! Changing a user's row, of which the personal columns are encrypted.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::id::UserId;
use shared::{ApiError, FieldKeys};

use super::Change;
use crate::field_keys::{EMAIL, NAME, PROFILE, Protection, USER_NAME};
use crate::messages::{self, Channel, Content};
use crate::schema::users;
use crate::users::{StoredUser, User, email_indexes, email_taken};

/// The user, whom nobody else changes until the transaction ends.
pub async fn lock(connection: &mut AsyncPgConnection, id: UserId) -> QueryResult<Option<StoredUser>> {
    users::table
        .find(id)
        .filter(users::status.eq("active"))
        .select(StoredUser::as_select())
        .for_no_key_update()
        .first(connection)
        .await
        .optional()
}

/// Changes a locked user, and tells both e-mails when it becomes another one.
pub async fn apply_and_tell(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    keys: &FieldKeys,
    before: User,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<User, ApiError> {
    let old_email = before.email.clone();
    let user = apply(connection, protection, keys, before, change, now).await?;
    if user.email != old_email {
        for (recipient, content) in [
            (&old_email, Content::EmailChanged),
            (&user.email, Content::EmailVerification),
        ] {
            messages::queries::queue(connection, protection, Channel::Email, recipient, &content, now)
                .await?;
        }
    }
    Ok(user)
}

/// Changes a locked user. Whoever changes the e-mail has yet to prove that it is theirs.
pub async fn apply(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    keys: &FieldKeys,
    user: User,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<User, ApiError> {
    let (row, mut user) = (user.id.uuid(), user);
    user.profile = user.profile.merged(&change.profile)?;
    if let Some(name) = &change.name {
        name.as_str().clone_into(&mut user.name);
    }
    if let Some(email) = change.email.as_ref().filter(|email| email.as_str() != user.email) {
        email_indexes::replace(
            connection,
            protection,
            keys,
            row,
            EMAIL,
            Some(&user.email),
            Some(email.as_str()),
        )
        .await?
        .then_some(())
        .ok_or_else(email_taken)?;
        email.as_str().clone_into(&mut user.email);
        user.email_verified = false;
        diesel::update(users::table.find(user.id))
            .set(users::email_verified_at.eq(None::<DateTime<Utc>>))
            .execute(connection)
            .await?;
    }
    if let Some(user_name) = &change.user_name {
        let (old, new) = (
            user.user_name.as_deref(),
            user_name.as_ref().map(|name| name.as_str()),
        );
        if old != new {
            email_indexes::replace(connection, protection, keys, row, USER_NAME, old, new)
                .await?
                .then_some(())
                .ok_or_else(user_name_taken)?;
            user.user_name = new.map(str::to_owned);
        }
    }
    let profile = user.profile.to_text()?;
    let user_name = user.user_name.as_ref();
    let user_name = user_name.map(|name| protection.encrypt(USER_NAME, row, name));
    user.updated_at = diesel::update(users::table.find(user.id))
        .set((
            users::email.eq(protection.plaintext(&user.email)),
            users::name.eq(protection.plaintext(&user.name)),
            users::email_encrypted.eq(protection.encrypt(EMAIL, row, &user.email)?),
            users::name_encrypted.eq(protection.encrypt(NAME, row, &user.name)?),
            users::user_name_encrypted.eq(user_name.transpose()?),
            users::profile_encrypted.eq(protection.encrypt(PROFILE, row, &profile)?),
            users::updated_at.eq(now),
        ))
        // As the database keeps it: to the microsecond.
        .returning(users::updated_at)
        .get_result(connection)
        .await?;
    Ok(user)
}

/// 409: somebody has the user name.
pub fn user_name_taken() -> ApiError {
    ApiError::conflict(
        "user_name_taken",
        "Somebody has this user name. Choose another one.",
    )
}
