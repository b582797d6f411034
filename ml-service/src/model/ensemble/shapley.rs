//! Exact Shapley values of a tree in one walk over its nodes, as by TreeSHAP (Lundberg et al. 2018), whose weights are an integral:
//! with `one` of a feature 1 where the row goes that way and else 0, and `zero` the part of the training rows that does, a leaf of
//! value `v` gives to feature `i` on its way `v (one_i - zero_i) ∫ Π (one_j t + zero_j (1 - t)) dt` over the others `j`, `t` from 0
//! to 1. What is integrated is a polynomial, of which Gauss's quadrature is exact with few points, and the products are shared
//! by all leaves below a node (Yang 2021). So the time grows with the number of nodes, and not with the square of the depth.

#![expect(clippy::float_arithmetic, reason = "contributions are floats")]

use super::{Leaf, MAX_DEPTH, Node, Split, Tree};

/// Where polynomials on 0 to 1 are looked at, and how much each place counts.
pub struct Quadrature<const POINTS: usize> {
    places: [f64; POINTS],
    weights: [f64; POINTS],
}

/// Exact up to degree 5: for trees of depth 6, where a leaf has five other features on its way.
pub const SHALLOW: Quadrature<3> = Quadrature {
    places: [0.112_701_665_379_258_31, 0.5, 0.887_298_334_620_741_7],
    weights: [5.0 / 18.0, 4.0 / 9.0, 5.0 / 18.0],
};
pub const SHALLOW_DEPTH: usize = 6;

/// Exact up to degree 11: for [`MAX_DEPTH`].
pub const DEEP: Quadrature<6> = Quadrature {
    places: [
        0.033_765_242_898_423_99,
        0.169_395_306_766_867_74,
        0.380_690_406_958_401_56,
        0.619_309_593_041_598_5,
        0.830_604_693_233_132_3,
        0.966_234_757_101_576,
    ],
    weights: [
        0.085_662_246_189_585_18,
        0.180_380_786_524_069_3,
        0.233_956_967_286_345_52,
        0.233_956_967_286_345_52,
        0.180_380_786_524_069_3,
        0.085_662_246_189_585_18,
    ],
};
const _: () = assert!(MAX_DEPTH <= 12, "six points are exact for twelve features");

/// A feature on the way to a node, with all the splits on it so far.
#[derive(Clone, Copy)]
struct Step<const POINTS: usize> {
    feature: u16,
    /// Whether `one` is 1.
    is_taken: bool,
    zero: f64,
    /// `one t + zero (1 - t)` at each place: never zero, since no place is 0 or 1 and every node covers something.
    factors: [f64; POINTS],
    /// The weights, times `one - zero`, over the factors.
    shares: [f64; POINTS],
}

/// One tree after the other.
pub struct Walk<'a, const POINTS: usize> {
    quadrature: &'a Quadrature<POINTS>,
    row: &'a [f64],
    contributions: &'a mut [f64],
    /// The step to each level.
    steps: [Step<POINTS>; MAX_DEPTH],
}

fn dot<const POINTS: usize>(one: &[f64; POINTS], other: &[f64; POINTS]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

impl<'a, const POINTS: usize> Walk<'a, POINTS> {
    pub fn new(quadrature: &'a Quadrature<POINTS>, row: &'a [f64], contributions: &'a mut [f64]) -> Self {
        let nowhere = Step {
            feature: 0,
            is_taken: true,
            zero: 1.0,
            factors: [1.0; POINTS],
            shares: [0.0; POINTS],
        };
        Self {
            quadrature,
            row,
            contributions,
            steps: [nowhere; MAX_DEPTH],
        }
    }

    pub(super) fn tree(&mut self, tree: &Tree) {
        self.visit(tree, 0, 0, [1.0; POINTS]);
    }

    /// Visits a node `level` below the root, where the factors of all features on the way make `product`. Answers the sum of
    /// value and product over its leaves.
    fn visit(&mut self, tree: &Tree, index: u32, level: usize, product: [f64; POINTS]) -> [f64; POINTS] {
        let (node, split) = match tree.node(index) {
            Some(Node::Leaf(Leaf(value, _))) => return product.map(|it| it * f64::from(*value)),
            Some(node @ Node::Split(split)) => (node, split),
            None => return [0.0; POINTS],
        };
        let Split(feature, _, smaller, other, ..) = *split;
        let next = split.next(self.row);
        let way = self.steps.get(..level).unwrap_or_default();
        // Of several splits on one feature the last has all of them in it.
        let before = way.iter().rfind(|step| step.feature == feature).copied();
        let without = before.as_ref().map_or(product, |before| {
            let mut without = product;
            let both = without.iter_mut().zip(before.factors);
            both.for_each(|(product, factor)| *product /= factor);
            without
        });
        let (may_be_taken, zero) = before.map_or((true, 1.0), |before| (before.is_taken, before.zero));
        let per_row = zero / node.cover();
        let (mut sums, mut share) = ([0.0; POINTS], 0.0);
        for child in [smaller, other] {
            let zero = tree.node(child).map_or(0.0, Node::cover) * per_row;
            let step = self.quadrature.step(feature, may_be_taken && child == next, zero);
            let mut below = without;
            let both = below.iter_mut().zip(step.factors);
            both.for_each(|(product, factor)| *product *= factor);
            if let Some(place) = self.steps.get_mut(level) {
                *place = step;
            }
            let of_child = self.visit(tree, child, level + 1, below);
            share += dot(&step.shares, &of_child);
            let both = sums.iter_mut().zip(of_child);
            both.for_each(|(sum, value)| *sum += value);
        }
        // The earlier split counts all leaves below it, also these, which belong to this one.
        share -= before.map_or(0.0, |before| dot(&before.shares, &sums));
        if let Some(contribution) = self.contributions.get_mut(usize::from(feature)) {
            *contribution += share;
        }
        sums
    }
}

impl<const POINTS: usize> Quadrature<POINTS> {
    /// To a child that `zero` of the training rows reach, as far as the splits on this feature decide.
    fn step(&self, feature: u16, is_taken: bool, zero: f64) -> Step<POINTS> {
        let (mut factors, mut shares) = (self.places, self.weights);
        for (factor, share) in factors.iter_mut().zip(&mut shares) {
            let place = *factor;
            if is_taken {
                *factor = place + zero * (1.0 - place);
                *share *= (1.0 - zero) / *factor;
            } else {
                *factor = zero * (1.0 - place);
                // Times `-zero`, over the factor.
                *share /= place - 1.0;
            }
        }
        Step {
            feature,
            is_taken,
            zero,
            factors,
            shares,
        }
    }
}
