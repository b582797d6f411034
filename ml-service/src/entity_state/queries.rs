//! Reading and writing the states of many entities in one statement each.

use std::collections::BTreeSet;

use anyhow::Context;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;

use super::{Snapshot, from_bytes, to_bytes};
use crate::feature::{Entity, Event, State, States};

/// What is remembered of whatever the events concern, and the position that this belongs to. One statement sees one snapshot
/// of the database, so a batch that is taken in meanwhile is in all of it or in nothing.
pub async fn load(conn: &mut AsyncPgConnection, events: &[Event]) -> Result<Snapshot, ApiError> {
    let entities: BTreeSet<Entity> = events.iter().flat_map(Event::entities).collect();
    let load = Load {
        entities: entities.iter().map(to_bytes).collect(),
    };
    type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>);
    let rows: Vec<Row> = load.load(conn).await?;
    let mut snapshot = Snapshot::default();
    for (applied, entity, state) in rows {
        snapshot.applied = applied;
        let (Some(entity), Some(bytes)) = (entity, state) else {
            continue;
        };
        let entity = from_bytes(&entity)
            .context("an entity that is none")
            .map_err(ApiError::internal)?;
        let state = State::from_bytes(&bytes).map_err(ApiError::internal)?;
        snapshot.states.0.insert(entity, state);
    }
    Ok(snapshot)
}

/// One statement whatever the number of entities, so that it is prepared once. Without entities there is still the position.
#[derive(QueryId)]
struct Load {
    entities: Vec<Vec<u8>>,
}

impl QueryFragment<Pg> for Load {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT applied, entity, state FROM observation_position \
             LEFT JOIN entity_states ON entity_states.entity = ANY (",
        );
        out.push_bind_param::<Array<Binary>, _>(&self.entities)?;
        out.push_sql(")");
        Ok(())
    }
}

impl Query for Load {
    type SqlType = (BigInt, Nullable<Binary>, Nullable<Binary>);
}

/// Inserts or replaces the states.
pub async fn save(conn: &mut AsyncPgConnection, states: &States) -> QueryResult<usize> {
    if states.0.is_empty() {
        return Ok(0);
    }
    let rows = states.0.iter();
    let (entities, states) = rows
        .map(|(entity, state)| (to_bytes(entity), state.to_bytes()))
        .unzip();
    Save { entities, states }.execute(conn).await
}

/// One statement whatever the number of rows, so that it is prepared once.
#[derive(QueryId)]
struct Save {
    entities: Vec<Vec<u8>>,
    states: Vec<Vec<u8>>,
}

impl QueryFragment<Pg> for Save {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO entity_states (entity, state) SELECT entity, state FROM unnest(");
        out.push_bind_param::<Array<Binary>, _>(&self.entities)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.states)?;
        out.push_sql(
            ") AS new (entity, state) ORDER BY entity \
             ON CONFLICT (entity) DO UPDATE SET state = excluded.state",
        );
        Ok(())
    }
}
