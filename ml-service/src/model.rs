//! A trained model as a file: JSON that says what it was trained on, how well it did, and which features it takes, with the
//! SHA-256 of all that. One that is cut short, changed, or trained on other features is refused.

pub mod ensemble;
pub mod reason;

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::evaluation;
use crate::feature;
use crate::training::Parameters;
use ensemble::{Ensemble, InvalidEnsemble};
pub use reason::Reason;

const FORMAT: &str = "flowlet-model-1";
/// A model has a few hundred kilobytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    hash: String,
    content: Content,
}

/// What a model was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// For people: where the data came from.
    pub data: String,
    /// [`feature::schema_hash`], or that of another subject's features.
    pub schema: String,
    pub features: Vec<String>,
    pub rows: u64,
    pub positives: u64,
    /// Unix seconds of the first and the last row; none for data without time.
    pub first_at: Option<i64>,
    pub last_at: Option<i64>,
    /// Until when labels that had become known were used.
    pub labels_until: Option<i64>,
    pub parameters: Parameters,
    /// On rows that were not trained on.
    pub metrics: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    card: Card,
    ensemble: Ensemble,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Artefact<'a> {
    format: String,
    sha256: String,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("a model of {0} bytes is too large")]
    Size(usize),
    #[error("it is not a model, or not all of one: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("its format is {0}; {FORMAT} is known here")]
    Format(String),
    #[error("its SHA-256 is {found}, and it says {written}")]
    Hash { written: String, found: String },
    #[error("it takes the features {found}, and {expected} are computed here")]
    Schema { expected: String, found: String },
    #[error("its trees cannot be used: {0}")]
    Ensemble(#[from] InvalidEnsemble),
}

impl Model {
    /// A model of payments.
    pub fn load(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::load_with_schema(bytes, &feature::schema_hash())
    }

    /// A model that takes the features whose hash is `schema`.
    pub fn load_with_schema(bytes: &[u8], schema: &str) -> Result<Self, ModelError> {
        if bytes.len() > MAX_BYTES {
            return Err(ModelError::Size(bytes.len()));
        }
        let artefact: Artefact<'_> = serde_json::from_slice(bytes)?;
        if artefact.format != FORMAT {
            return Err(ModelError::Format(artefact.format));
        }
        let found = sha256(artefact.model.get());
        if found != artefact.sha256 {
            return Err(ModelError::Hash {
                written: artefact.sha256,
                found,
            });
        }
        let content: Content = serde_json::from_str(artefact.model.get())?;
        if content.card.schema != schema {
            return Err(ModelError::Schema {
                expected: schema.to_owned(),
                found: content.card.schema,
            });
        }
        let ensemble = content.ensemble.validate(content.card.features.len())?;
        Ok(Self {
            hash: found,
            content: Content { ensemble, ..content },
        })
    }

    /// The file of a model, and the model as it is read from there.
    pub fn save(card: Card, ensemble: Ensemble) -> Result<(Vec<u8>, Self), ModelError> {
        let schema = card.schema.clone();
        let content = serde_json::to_string(&Content { card, ensemble })?;
        let artefact = Artefact {
            format: FORMAT.to_owned(),
            sha256: sha256(&content),
            model: serde_json::from_str(&content)?,
        };
        let mut bytes = serde_json::to_vec(&artefact)?;
        bytes.push(b'\n');
        let model = Self::load_with_schema(&bytes, &schema)?;
        Ok((bytes, model))
    }

    /// Names it, wherever it is kept: SHA-256 in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn card(&self) -> &Card {
        &self.content.card
    }

    pub fn ensemble(&self) -> &Ensemble {
        &self.content.ensemble
    }

    pub fn probability(&self, row: &[f64]) -> f64 {
        evaluation::probability(self.content.ensemble.log_odds(row))
    }

    /// What each feature adds to the log-odds, exactly.
    pub fn contributions(&self, row: &[f64]) -> Vec<f64> {
        self.content.ensemble.contributions(row)
    }

    /// What speaks most for fraud, as sentences, the weightiest first.
    pub fn reasons(&self, vector: &feature::Vector) -> Vec<Reason> {
        reason::reasons(vector, &self.contributions(vector))
    }
}

/// The model that comes with the service, of payments that a generator of ours made up: see `models/card.md`.
pub fn shipped() -> Result<Model, ModelError> {
    Model::load(include_bytes!("../models/shipped.json"))
}

fn sha256(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
