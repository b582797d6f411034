//! The payments of both sides: generated people's, the last of which are scored.

use std::sync::Arc;

use ml_service::feature::{Event, States, Vector, features};
use ml_service::generator::{Size, generate};
use ml_service::replay::{LabelledEvent, replay};

const SIZE: Size = Size {
    accounts: 400,
    days: 60,
};
/// How many of the last are scored again and again.
const SCORED: usize = 4_096;

#[derive(Clone)]
pub struct Payments(Arc<Inner>);

struct Inner {
    events: Vec<LabelledEvent>,
    /// What each looked like when it was made, and whether it was fraud.
    rows: Vec<(Vector, bool)>,
    /// After all of them.
    states: States,
}

impl Payments {
    pub fn generate() -> Self {
        let events = generate(1, SIZE);
        let mut rows = Vec::with_capacity(events.len());
        let states = replay(&events, |labelled, vector| {
            rows.push((vector, labelled.label.is_some_and(|label| label.is_fraud)));
        });
        Self(Arc::new(Inner { events, rows, states }))
    }

    pub fn all(&self) -> impl Iterator<Item = &Event> {
        self.0.events.iter().map(|labelled| &labelled.event)
    }

    pub fn rows(&self) -> &[(Vector, bool)] {
        &self.0.rows
    }

    pub fn states(&self) -> &States {
        &self.0.states
    }

    /// The next of those that are scored, round and round; `number` is whose turn.
    pub fn turn(&self, number: usize) -> &Event {
        let events = &self.0.events;
        &events[events.len() - 1 - number % SCORED.min(events.len())].event
    }

    /// What a server is sent that has no states: the features of that one now.
    pub fn vector(&self, number: usize) -> Vector {
        features(self.turn(number), &self.0.states)
    }
}
