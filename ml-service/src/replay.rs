//! The past, as the feature engine would have met it: every payment with what was known before it, every label only once it
//! was known.

use crate::feature::{self, Event, States, Vector};
use crate::progress::Progress;

/// A payment and what became known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledEvent {
    pub event: Event,
    pub label: Option<Label>,
    /// It never happened: somebody stopped it. It is learnt from, and is in nobody's history.
    pub refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    pub is_fraud: bool,
    /// Unix seconds.
    pub known_at: i64,
}

/// Gives `visit` the vector of each of `events`, which are in the order of time, and answers the states after them.
pub fn replay(events: &[LabelledEvent], mut visit: impl FnMut(&LabelledEvent, Vector)) -> States {
    let mut labels: Vec<(Label, &Event)> = events
        .iter()
        .filter_map(|event| Some((event.label?, &event.event)))
        .collect();
    // Stable: labels of one moment count in the order of their payments.
    labels.sort_by_key(|(label, _)| label.known_at);
    let mut labels = labels.into_iter().peekable();
    let mut states = States::default();
    let mut progress = Progress::start("features", Some(crate::evaluation::len(events)));
    for labelled in events {
        let event = &labelled.event;
        while let Some((label, known)) = labels.next_if(|(label, _)| label.known_at <= event.at) {
            feature::label(known, label.is_fraud, &mut states);
        }
        visit(labelled, feature::features(event, &states));
        if !labelled.refused {
            feature::observe(event, &mut states);
        }
        progress.advance(1);
    }
    progress.finish();
    states
}
