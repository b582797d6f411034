//! What a holder says about an insight: how good it was, and that it is to stay away. Rated insights are the measure of our
//! own: generated households tell how often a finder is right, ratings whether anybody wanted to know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    Useful,
    /// True, and not worth saying.
    NotUseful,
    Wrong,
}

impl Rating {
    pub const ALL: [Self; 3] = [Self::Useful, Self::NotUseful, Self::Wrong];

    /// As JSON and the database write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Useful => "useful",
            Self::NotUseful => "not_useful",
            Self::Wrong => "wrong",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rating| rating.name() == name)
    }
}

/// What was said about one insight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    pub rating: Option<Rating>,
    pub is_dismissed: bool,
}
