//! A login whose first proof was right, and that waits for the second. It has the credential and the id of the session that
//! it may become, and is in a table of its own, so that nothing which looks for sessions finds it: it renews nothing, it
//! gives no access token, and it ends after five minutes.

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::{SessionId, UserId};

use super::{Kind, enforcement, method, remembered_device};
use crate::schema::{pending_logins, users};
use crate::sessions::login::Method;
use crate::sessions::{Client, Secret};
use crate::users::{StoredUser, User};
use crate::{modules, passkeys};

pub const LIFETIME: Duration = Duration::minutes(5);

/// A login that was held back.
pub struct PendingLogin {
    /// Of the session that it may become.
    pub secret: Secret,
    pub user: User,
    /// What the second proof may be.
    pub methods: Vec<Kind>,
    /// The user needs a second factor and has none: the next step is to set one up.
    pub enrolling: bool,
}

/// A pending login as the database has it.
#[derive(Queryable, Selectable)]
#[diesel(table_name = pending_logins, check_for_backend(diesel::pg::Pg))]
pub struct StoredPendingLogin {
    pub id: SessionId,
    amr: Vec<Option<String>>,
    pub enrolling: bool,
    created_at: DateTime<Utc>,
}

impl StoredPendingLogin {
    /// The methods of the session that it becomes by `second`.
    pub fn amr(&self, second: Method) -> Vec<String> {
        let mut amr: Vec<String> = self.amr.iter().flatten().cloned().collect();
        for method in [second, Method::Several] {
            if !amr.iter().any(|known| known == method.name()) {
                amr.push(method.name().to_owned());
            }
        }
        amr
    }

    /// Whether it is a second proof. Who has read one mail can read another.
    pub fn takes(&self, kind: Kind) -> bool {
        let is_by_mail = self
            .amr
            .iter()
            .flatten()
            .any(|method| method == Method::Mail.name());
        !(is_by_mail && kind == Kind::Email)
    }
}

/// The kinds of second proof that a user can give. A recovery code takes the place of any other, and is none by itself.
pub async fn methods_of(connection: &mut AsyncPgConnection, user_id: UserId) -> Result<Vec<Kind>, ApiError> {
    let mut kinds = Vec::new();
    for method in method::list(connection, user_id).await? {
        if method.activated_at.is_some() {
            kinds.push(method.kind()?);
        }
    }
    if passkeys::queries::exist(connection, user_id).await? {
        kinds.push(Kind::Passkey);
    }
    if !kinds.is_empty() {
        kinds.push(Kind::RecoveryCode);
    }
    Ok(kinds)
}

/// What became of a login.
pub enum HeldBack {
    Yes(PendingLogin),
    No(User),
}

/// Holds a login back when it needs a second proof: of a user who has a second factor, or a role that needs one.
pub async fn hold_back(
    connection: &mut AsyncPgConnection,
    user: User,
    client: &Client,
    methods: &[Method],
    now: DateTime<Utc>,
) -> Result<HeldBack, ApiError> {
    if methods.contains(&Method::Several) || !modules::is_enabled(connection, modules::TWO_FACTOR).await? {
        return Ok(HeldBack::No(user));
    }
    let mut available = methods_of(connection, user.id).await?;
    let enrolling = available.is_empty();
    if methods.contains(&Method::Mail) {
        available.retain(|kind| *kind != Kind::Email);
    }
    let passes = match (&client.remembered_device_hash, enrolling) {
        (_, true) => !enforcement::is_required(connection, user.id).await?,
        (Some(token), false) => remembered_device::is_remembered(connection, user.id, token, now).await?,
        (None, false) => false,
    };
    if passes {
        return Ok(HeldBack::No(user));
    }
    let secret = Secret::session()?;
    let amr: Vec<&str> = methods.iter().map(|method| method.name()).collect();
    diesel::insert_into(pending_logins::table)
        .values((
            pending_logins::id.eq(SessionId::new()),
            pending_logins::secret_hash.eq(secret.hash()),
            pending_logins::user_id.eq(user.id),
            pending_logins::amr.eq(amr),
            pending_logins::enrolling.eq(enrolling),
            pending_logins::created_at.eq(now),
            pending_logins::expires_at.eq(now + LIFETIME),
        ))
        .execute(connection)
        .await?;
    Ok(HeldBack::Yes(PendingLogin {
        secret,
        user,
        methods: available,
        enrolling,
    }))
}

/// Whether a login with this credential waits, while the module is on.
pub async fn is_waiting(
    connection: &mut AsyncPgConnection,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    if !modules::is_enabled(connection, modules::TWO_FACTOR).await? {
        return Ok(false);
    }
    let waiting = pending_logins::table
        .filter(pending_logins::secret_hash.eq(secret_hash))
        .filter(pending_logins::expires_at.gt(now))
        .select(pending_logins::id);
    diesel::select(diesel::dsl::exists(waiting))
        .get_result(connection)
        .await
}

/// The pending login with this credential and its user, neither of which changes until the transaction ends. A user who was
/// banned meanwhile, or has another password, has none; nor does who was to set a second factor up and has one now.
pub async fn lock(
    connection: &mut AsyncPgConnection,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<(StoredPendingLogin, StoredUser)>> {
    let live = pending_logins::table
        .filter(pending_logins::secret_hash.eq(secret_hash))
        .filter(pending_logins::expires_at.gt(now));
    let user_id: Option<UserId> = live
        .select(pending_logins::user_id)
        .first(connection)
        .await
        .optional()?;
    let Some(user_id) = user_id else { return Ok(None) };
    // The user's row is locked first, as by everybody.
    let user: Option<(StoredUser, DateTime<Utc>)> = users::table
        .find(user_id)
        .filter(users::status.eq("active"))
        .select((StoredUser::as_select(), users::password_changed_at))
        .for_share()
        .first(connection)
        .await
        .optional()?;
    let pending: Option<StoredPendingLogin> = live
        .select(StoredPendingLogin::as_select())
        .for_update()
        .first(connection)
        .await
        .optional()?;
    Ok(pending
        .zip(user)
        .filter(|(pending, (user, password_changed_at))| {
            pending.created_at >= *password_changed_at && !(pending.enrolling && user.two_factor)
        })
        .map(|(pending, (user, _))| (pending, user)))
}

pub async fn remove(connection: &mut AsyncPgConnection, id: SessionId) -> QueryResult<usize> {
    diesel::delete(pending_logins::table.find(id))
        .execute(connection)
        .await
}

/// 401: log in again.
pub fn login_expired() -> ApiError {
    ApiError::unauthorized(
        "login_expired",
        "There is no such login waiting for a second factor (any more). Log in again.",
    )
}
