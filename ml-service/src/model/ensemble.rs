//! Trees that were trained: the sum of one leaf of each is the logarithm of the odds. Contributions are exact Shapley values: they
//! say what each feature adds to that sum, and add up to it.

#![expect(clippy::float_arithmetic, reason = "log-odds are floats")]

mod shapley;

use serde::{Deserialize, Serialize};

use shapley::{DEEP, SHALLOW, SHALLOW_DEPTH, Walk};

/// Of a tree: the root alone is 0. Bounds the stack, and the degree of what is integrated for contributions.
pub const MAX_DEPTH: usize = 12;

const MAX_NODES: usize = 1 << 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {
    /// Log-odds before any tree.
    base: f64,
    trees: Vec<Tree>,
    /// Of training rows, for what a feature's absence would have predicted. Made when it is read.
    #[serde(skip)]
    expected: f64,
    /// Of the deepest tree. Made when it is read.
    #[serde(skip)]
    depth: usize,
}

/// Its root is the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tree(Vec<Node>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Node {
    Split(Split),
    Leaf(Leaf),
}

/// Written as a list: feature, threshold, where smaller ones go, others, unknown ones, cover.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Split(u16, f64, u32, u32, u32, f32);

/// Written as a list: log-odds, cover.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Leaf(f32, f32);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnsemble {
    #[error("it has no tree, or too many nodes")]
    Size,
    #[error("a number is not finite, or a node covers nothing")]
    Number,
    #[error("a split leads to a node that does not come after it, or is missing or used twice")]
    Link,
    #[error("a split is on a feature that there is none of")]
    Feature,
    #[error("a tree is deeper than {MAX_DEPTH}")]
    Depth,
}

impl Split {
    fn next(&self, row: &[f64]) -> u32 {
        let Self(feature, threshold, smaller, other, unknown, _) = *self;
        match row.get(usize::from(feature)) {
            Some(value) if *value < threshold => smaller,
            Some(value) if value.is_nan() => unknown,
            Some(_) => other,
            None => unknown,
        }
    }
}

impl Node {
    fn cover(&self) -> f64 {
        match self {
            Self::Split(Split(.., cover)) | Self::Leaf(Leaf(_, cover)) => f64::from(*cover),
        }
    }
}

impl Tree {
    fn node(&self, index: u32) -> Option<&Node> {
        self.0.get(usize::try_from(index).ok()?)
    }

    fn leaf(&self, row: &[f64]) -> f64 {
        let mut index = 0;
        loop {
            match self.node(index) {
                Some(Node::Split(split)) => index = split.next(row),
                Some(Node::Leaf(Leaf(value, _))) => return f64::from(*value),
                None => return 0.0,
            }
        }
    }

    /// The mean of the leaves, by what they cover.
    fn expected(&self, index: u32) -> f64 {
        match self.node(index) {
            Some(Node::Leaf(Leaf(value, _))) => f64::from(*value),
            Some(node @ Node::Split(Split(_, _, smaller, other, ..))) => [*smaller, *other]
                .into_iter()
                .map(|child| self.expected(child) * self.node(child).map_or(0.0, Node::cover) / node.cover())
                .sum(),
            None => 0.0,
        }
    }

    /// Tells its depth.
    fn validate(&self, features: usize) -> Result<usize, InvalidEnsemble> {
        let mut deepest = 0;
        let mut depths = vec![None; self.0.len()];
        if let Some(root) = depths.first_mut() {
            *root = Some(0);
        }
        for (index, node) in self.0.iter().enumerate() {
            let depth = depths
                .get(index)
                .copied()
                .flatten()
                .ok_or(InvalidEnsemble::Link)?;
            if depth > MAX_DEPTH {
                return Err(InvalidEnsemble::Depth);
            }
            deepest = deepest.max(depth);
            if !(node.cover().is_finite() && node.cover() > 0.0) {
                return Err(InvalidEnsemble::Number);
            }
            let Split(feature, threshold, smaller, other, unknown, _) = match node {
                Node::Leaf(Leaf(value, _)) if value.is_finite() => continue,
                Node::Leaf(_) => return Err(InvalidEnsemble::Number),
                Node::Split(split) => *split,
            };
            if usize::from(feature) >= features {
                return Err(InvalidEnsemble::Feature);
            }
            if !threshold.is_finite() {
                return Err(InvalidEnsemble::Number);
            }
            if unknown != smaller && unknown != other {
                return Err(InvalidEnsemble::Link);
            }
            for child in [smaller, other] {
                let child = usize::try_from(child).map_err(|_| InvalidEnsemble::Link)?;
                match depths.get_mut(child) {
                    Some(unset @ None) if child > index => *unset = Some(depth + 1),
                    _ => return Err(InvalidEnsemble::Link),
                }
            }
        }
        Ok(deepest)
    }
}

impl Ensemble {
    /// Checks whatever prediction relies on, so that prediction cannot fail.
    pub fn validate(mut self, features: usize) -> Result<Self, InvalidEnsemble> {
        let nodes: usize = self.trees.iter().map(|tree| tree.0.len()).sum();
        if self.trees.iter().any(|tree| tree.0.is_empty()) || nodes > MAX_NODES {
            return Err(InvalidEnsemble::Size);
        }
        if !self.base.is_finite() {
            return Err(InvalidEnsemble::Number);
        }
        for tree in &self.trees {
            self.depth = self.depth.max(tree.validate(features)?);
        }
        self.expected = self.base + self.trees.iter().map(|tree| tree.expected(0)).sum::<f64>();
        Ok(self)
    }

    pub fn of_booster(
        booster: &forust_ml::GradientBooster,
        features: usize,
    ) -> Result<Self, InvalidEnsemble> {
        let index = |index: usize| u32::try_from(index).map_err(|_| InvalidEnsemble::Size);
        let tree = |tree: &forust_ml::tree::Tree| {
            let nodes = tree.nodes.iter().map(|node| {
                if node.is_leaf {
                    return Ok(Node::Leaf(Leaf(node.weight_value, node.hessian_sum)));
                }
                let feature = u16::try_from(node.split_feature).map_err(|_| InvalidEnsemble::Feature)?;
                let children = (
                    index(node.left_child)?,
                    index(node.right_child)?,
                    index(node.missing_node)?,
                );
                let (smaller, other, unknown) = children;
                Ok(Node::Split(Split(
                    feature,
                    node.split_value,
                    smaller,
                    other,
                    unknown,
                    node.hessian_sum,
                )))
            });
            nodes.collect::<Result<_, _>>().map(Tree)
        };
        let trees = booster.trees.iter().map(tree).collect::<Result<_, _>>()?;
        let ensemble = Self {
            base: booster.base_score,
            trees,
            expected: 0.0,
            depth: 0,
        };
        ensemble.validate(features)
    }

    /// The logarithm of the odds.
    pub fn log_odds(&self, row: &[f64]) -> f64 {
        self.trees
            .iter()
            .fold(self.base, |sum, tree| sum + tree.leaf(row))
    }

    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The log-odds of a row of which nothing is known.
    pub fn expected(&self) -> f64 {
        self.expected
    }

    /// The expected log-odds when of `row` only the features of the bits of `known` are known.
    #[cfg(test)]
    pub fn expected_knowing(&self, row: &[f64], known: u32) -> f64 {
        fn of(tree: &Tree, index: u32, row: &[f64], known: u32) -> f64 {
            match tree.node(index).unwrap() {
                Node::Leaf(Leaf(value, _)) => f64::from(*value),
                Node::Split(split) if known & (1 << split.0) != 0 => of(tree, split.next(row), row, known),
                node @ Node::Split(split) => [split.2, split.3]
                    .map(|child| {
                        of(tree, child, row, known) * tree.node(child).unwrap().cover() / node.cover()
                    })
                    .iter()
                    .sum(),
            }
        }
        self.base + self.trees.iter().map(|tree| of(tree, 0, row, known)).sum::<f64>()
    }

    /// What each feature adds to [`Self::expected`]; together they make [`Self::log_odds`].
    pub fn contributions(&self, row: &[f64]) -> Vec<f64> {
        let mut contributions = vec![0.0; row.len()];
        if self.depth <= SHALLOW_DEPTH {
            let mut walk = Walk::new(&SHALLOW, row, &mut contributions);
            self.trees.iter().for_each(|tree| walk.tree(tree));
        } else {
            let mut walk = Walk::new(&DEEP, row, &mut contributions);
            self.trees.iter().for_each(|tree| walk.tree(tree));
        }
        contributions
    }
}
