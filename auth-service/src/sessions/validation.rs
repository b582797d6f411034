//! Is this the credential of a session that goes on, and whose? Asked for every request of programs that keep sessions rather
//! than access tokens, so the answer comes from the cache where it can.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use diesel::expression::{AppearsOnTable, ValidGrouping};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use shared::id::UserId;
use shared::{ApiError, Principal};

use super::cache::{Source, Xid};
use super::queries::{self, StoredSession};
use super::{Session, sha256};
use crate::access_tokens::Authentication;
use crate::schema::{sessions, users};
use crate::state::AppState;
use crate::users::{StoredUser, User};

/// How exactly it is known when a session was used last: a write for each use would cost more than the use.
const USE_NOTED_EVERY: Duration = Duration::minutes(5);

/// The SHA-256 of a session's credential that somebody presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedSession([u8; 32]);

impl PresentedSession {
    pub fn of(credential: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(&sha256(credential));
        Self(hash)
    }
}

/// A session that goes on.
pub struct Valid {
    pub session: Arc<Session>,
    pub user: Arc<User>,
    pub source: Source,
}

impl Valid {
    pub fn principal(&self) -> Principal {
        let authentication = Authentication {
            amr: &self.session.amr,
            at: self.session.authenticated_at,
            authorization: None,
        };
        Principal {
            user_id: self.user.id,
            session_id: self.session.id,
            client_id: None,
            roles: self.user.roles.0.clone(),
            scopes: None,
            actor: None,
            expires_at: self.session.idle_expires_at,
            assurance: authentication.assurance(),
            authenticated_at: authentication.at,
            authorization: None,
        }
    }
}

/// The session and its user, unless either has come to its end.
pub async fn validate(state: &AppState, presented: &PresentedSession) -> Result<Option<Valid>, ApiError> {
    let now = state.clock.now();
    let Some((session, of_session)) = session(state, presented, now).await? else {
        count(Source::Database);
        return Ok(None);
    };
    let Some((user, of_user)) = user(state, session.user_id).await? else {
        count(Source::Database);
        return Ok(None);
    };
    let source = of_session.max(of_user);
    count(source);
    Ok((session.idle_expires_at > now).then_some(Valid {
        session,
        user,
        source,
    }))
}

fn count(source: Source) {
    metrics::counter!("auth_session_checks_total", "source" => source.name()).increment(1);
}

async fn session(
    state: &AppState,
    presented: &PresentedSession,
    now: DateTime<Utc>,
) -> Result<Option<(Arc<Session>, Source)>, ApiError> {
    if let Some(known) = state.session_cache.session(&presented.0).await {
        return Ok(Some(known));
    }
    let mut connection = state.db.connection().await?;
    let found: Option<(StoredSession, Xid)> = sessions::table
        .filter(sessions::secret_hash.eq(presented.0.as_slice()))
        .filter(queries::goes_on(now))
        .select((StoredSession::as_select(), OldestRunning))
        .first(&mut connection)
        .await
        .optional()?;
    let Some((session, as_of)) = found else {
        return Ok(None);
    };
    let mut session = session.decrypt(&state.field_keys)?;
    if now - session.last_used_at > USE_NOTED_EVERY {
        queries::note_use(&mut connection, &mut session, now).await?;
    }
    drop(connection);
    let session = Arc::new(session);
    state.session_cache.keep_session(&presented.0, &session, as_of);
    Ok(Some((session, Source::Database)))
}

async fn user(state: &AppState, id: UserId) -> Result<Option<(Arc<User>, Source)>, ApiError> {
    if let Some(known) = state.session_cache.user(id).await {
        return Ok(Some(known));
    }
    let mut connection = state.db.connection().await?;
    let found: Option<(StoredUser, Xid)> = users::table
        .find(id)
        .filter(users::status.eq("active"))
        .select((StoredUser::as_select(), OldestRunning))
        .first(&mut connection)
        .await
        .optional()?;
    drop(connection);
    let Some((user, as_of)) = found else {
        return Ok(None);
    };
    let user = Arc::new(user.decrypt(&state.field_keys)?);
    state.session_cache.keep_user(&user, as_of);
    Ok(Some((user, Source::Database)))
}

/// The oldest transaction that the snapshot may not have seen, as an expression of its own: with `diesel::dsl::sql`, PostgreSQL would
/// parse and plan the statement anew each time, which costs several times what the look-up does.
#[derive(Clone, Copy, Debug, QueryId, ValidGrouping)]
struct OldestRunning;

impl Expression for OldestRunning {
    type SqlType = BigInt;
}

impl<Source> SelectableExpression<Source> for OldestRunning {}
impl<Source> AppearsOnTable<Source> for OldestRunning {}

impl QueryFragment<Pg> for OldestRunning {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("pg_snapshot_xmin(pg_current_snapshot())::text::bigint");
        Ok(())
    }
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Database => "database",
        }
    }
}
