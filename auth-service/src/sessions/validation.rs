//! Is this the credential of a session that goes on, and whose? Asked for every request of programs that keep sessions rather
//! than access tokens, so the answer comes from the cache where it can.

use chrono::{DateTime, Duration, Utc};
use diesel::expression::{AppearsOnTable, ValidGrouping};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
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
    pub session: Session,
    pub user: User,
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
    if let Some((session, one)) = state.session_cache.session(&presented.0).await
        && let Some((user, other)) = state.session_cache.user(session.user_id).await
    {
        let source = one.max(other);
        metrics::counter!("auth_session_checks_total", "source" => source.name()).increment(1);
        return Ok((session.idle_expires_at > now).then_some(Valid {
            session,
            user,
            source,
        }));
    }
    metrics::counter!("auth_session_checks_total", "source" => Source::Database.name()).increment(1);
    let Some((session, user, as_of)) = look_up(state, presented, now).await? else {
        return Ok(None);
    };
    state
        .session_cache
        .keep(&presented.0, &session, &user, as_of)
        .await;
    Ok(Some(Valid {
        session,
        user,
        source: Source::Database,
    }))
}

async fn look_up(
    state: &AppState,
    presented: &PresentedSession,
    now: DateTime<Utc>,
) -> Result<Option<(Session, User, Xid)>, ApiError> {
    let mut connection = state.db.connection().await?;
    let found: Option<(StoredSession, StoredUser, Xid)> = sessions::table
        .inner_join(users::table)
        .filter(sessions::secret_hash.eq(presented.0.as_slice()))
        .filter(sessions::revoked_at.is_null())
        .filter(sessions::idle_expires_at.gt(now))
        .filter(users::status.eq("active"))
        .select((StoredSession::as_select(), StoredUser::as_select(), OldestRunning))
        .first(&mut connection)
        .await
        .optional()?;
    let Some((session, user, as_of)) = found else {
        return Ok(None);
    };
    let mut session = session.decrypt(&state.field_keys)?;
    if now - session.last_used_at > USE_NOTED_EVERY {
        queries::note_use(&mut connection, &mut session, now).await?;
    }
    Ok(Some((session, user.decrypt(&state.field_keys)?, as_of)))
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
