//! The place in the outbox up to which facts have been taken in.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::clients::ml::Position;

use crate::schema::observation_position;

pub async fn position(conn: &mut AsyncPgConnection) -> QueryResult<Position> {
    let (xid, sequence) = observation_position::table
        .select((observation_position::xid, observation_position::sequence))
        .first(conn)
        .await?;
    Ok(Position { xid, sequence })
}

/// Locks it until the transaction ends, so that one sender at a time advances it.
pub async fn lock_position(conn: &mut AsyncPgConnection) -> QueryResult<Position> {
    let (xid, sequence) = observation_position::table
        .select((observation_position::xid, observation_position::sequence))
        .for_update()
        .first(conn)
        .await?;
    Ok(Position { xid, sequence })
}

/// `applied` is the newest position in the log that the feature engine has learnt, if it has learnt something.
pub async fn set_position(
    conn: &mut AsyncPgConnection,
    position: Position,
    applied: Option<i64>,
) -> QueryResult<()> {
    diesel::update(observation_position::table)
        .set((
            observation_position::xid.eq(position.xid),
            observation_position::sequence.eq(position.sequence),
            applied.map(|applied| observation_position::applied.eq(applied)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}
