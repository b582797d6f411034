//! TreeSHAP (Lundberg et al. 2018): exact Shapley values of a tree in one walk over its nodes. Steps that the row does not take
//! share one sum (Yang 2021).

#![expect(clippy::float_arithmetic, reason = "contributions are floats")]

use super::{Leaf, MAX_DEPTH, Node, Tree};

/// One feature on the way to a node.
#[derive(Clone, Copy, Default)]
struct Step {
    feature: Option<u16>,
    /// The part of the training rows that go this way if the feature is not known.
    zero: f64,
    /// Whether the row goes this way.
    is_taken: bool,
    /// The weight of all subsets of the features on the way that have as many members as this step's place.
    weight: f64,
}

/// The features on the way to a node, each once.
#[derive(Clone, Copy, Default)]
struct Path {
    steps: [Step; MAX_DEPTH + 2],
    len: usize,
}

/// One tree after the other. The path to each level is kept in a place of its own, because copying is most of the work.
pub struct Walk<'a> {
    row: &'a [f64],
    contributions: &'a mut [f64],
    paths: [Path; MAX_DEPTH + 2],
}

#[expect(clippy::as_conversions, reason = "at most MAX_DEPTH + 2")]
const fn small(number: usize) -> f64 {
    number as f64
}

/// Of the numbers up to the length of a path: dividing takes several times as long as multiplying.
#[expect(
    clippy::indexing_slicing,
    reason = "computed when this is compiled, which would fail"
)]
const PER: [f64; MAX_DEPTH + 3] = {
    let mut per = [0.0; MAX_DEPTH + 3];
    let mut number = 1;
    while number < per.len() {
        per[number] = 1.0 / small(number);
        number += 1;
    }
    per
};

#[expect(
    clippy::indexing_slicing,
    reason = "a path is no longer than its array: the depth of every tree was checked"
)]
impl Path {
    /// Becomes `parent` and one step more.
    fn extend(&mut self, parent: &Self, zero: f64, is_taken: bool, feature: Option<u16>) {
        let last = parent.len;
        self.len = last + 1;
        self.steps[..last].copy_from_slice(&parent.steps[..last]);
        self.steps[last] = Step {
            feature,
            zero,
            is_taken,
            weight: if last == 0 { 1.0 } else { 0.0 },
        };
        let per_step = PER[self.len];
        for place in (0..last).rev() {
            let weight = self.steps[place].weight * per_step;
            if is_taken {
                self.steps[place + 1].weight += weight * small(place + 1);
            }
            self.steps[place].weight = zero * weight * small(last - place);
        }
    }

    fn unwind(&mut self, at: usize) {
        let Step { zero, is_taken, .. } = self.steps[at];
        let last = self.len - 1;
        let total = small(self.len);
        let mut next = self.steps[last].weight;
        for place in (0..last).rev() {
            let weight = self.steps[place].weight;
            if is_taken {
                self.steps[place].weight = next * total / small(place + 1);
                next = weight - self.steps[place].weight * zero * small(last - place) / total;
            } else {
                self.steps[place].weight = weight * total / (zero * small(last - place));
            }
        }
        for place in at..last {
            let weight = self.steps[place].weight;
            self.steps[place] = Step {
                weight,
                ..self.steps[place + 1]
            };
        }
        self.len = last;
    }

    /// The sum of the weights without a step that is taken and whose part is `zero`.
    fn sum_without(&self, zero: f64) -> f64 {
        let last = self.len - 1;
        let (total, per_step) = (small(self.len), zero * PER[self.len]);
        let mut next = self.steps[last].weight;
        let mut sum = 0.0;
        for place in (0..last).rev() {
            let weight = next * (total * PER[place + 1]);
            sum += weight;
            next = self.steps[place].weight - weight * (per_step * small(last - place));
        }
        sum
    }

    /// The sum of the weights without a step that is not taken, times its part: the same whichever step it is.
    fn sum_without_untaken(&self) -> f64 {
        let last = self.len - 1;
        let weights = (0..last).map(|place: usize| self.steps[place].weight * PER[last - place]);
        weights.sum::<f64>() * small(self.len)
    }

    fn find(&self, feature: u16) -> Option<usize> {
        self.steps[..self.len]
            .iter()
            .position(|step| step.feature == Some(feature))
    }

    /// What a leaf of `value` gives to each feature on the way.
    fn share(&self, value: f64, contributions: &mut [f64]) {
        let untaken = self.sum_without_untaken();
        for step in &self.steps[1..self.len] {
            let share = if step.is_taken {
                self.sum_without(step.zero) * (1.0 - step.zero)
            } else {
                -untaken
            };
            let place = step.feature.map(usize::from);
            if let Some(contribution) = place.and_then(|place| contributions.get_mut(place)) {
                *contribution += share * value;
            }
        }
    }
}

impl<'a> Walk<'a> {
    pub fn new(row: &'a [f64], contributions: &'a mut [f64]) -> Self {
        let mut paths = [Path::default(); MAX_DEPTH + 2];
        if let Some(root) = paths.first_mut() {
            root.extend(&Path::default(), 1.0, true, None);
        }
        Self {
            row,
            contributions,
            paths,
        }
    }
}

impl Walk<'_> {
    /// Visits a node, which is `level` below the root of `tree` and whose path is in its place.
    pub(super) fn visit(&mut self, tree: &Tree, index: u32, level: usize) {
        match tree.node(index) {
            Some(Node::Leaf(Leaf(value, _))) => {
                if let Some(path) = self.paths.get(level) {
                    path.share(f64::from(*value), self.contributions);
                }
            }
            Some(node @ Node::Split(split)) => {
                let (mut zero, mut is_taken) = (1.0, true);
                let Some(path) = self.paths.get_mut(level) else {
                    return;
                };
                // A feature that was met before takes its step back.
                if let Some(at) = path.find(split.0) {
                    if let Some(step) = path.steps.get(at) {
                        (zero, is_taken) = (step.zero, step.is_taken);
                    }
                    path.unwind(at);
                }
                let next = split.next(self.row);
                for child in [split.2, split.3] {
                    let cover = tree.node(child).map_or(0.0, Node::cover);
                    if let Some((path, below)) =
                        self.paths.get_mut(level..).and_then(<[Path]>::split_first_mut)
                        && let Some(child_path) = below.first_mut()
                    {
                        child_path.extend(
                            path,
                            zero * cover / node.cover(),
                            is_taken && child == next,
                            Some(split.0),
                        );
                    }
                    self.visit(tree, child, level + 1);
                }
            }
            None => {}
        }
    }
}
