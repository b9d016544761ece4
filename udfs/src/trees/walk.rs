//! Ensembles as they are, node by node: for a handful of rows, and for whatever the fast kernels do not take.

use super::ensemble::{Aggregate, Ensemble, Node, Weight};
use super::forest::Feature;
use super::leaves::Number;
use crate::program::CHUNK;

/// The value of a feature in a row, as trees compare it.
pub(super) fn value(features: &[Feature<'_>], rounded: &[bool], feature: u32, row: usize) -> f64 {
    let value = match features[feature as usize] {
        Feature::One(value) => value,
        Feature::F64(values) => values[row],
        Feature::F32(values) => f64::from(values[row]),
    };
    if rounded[feature as usize] {
        f64::from(value as f32)
    } else {
        value
    }
}

/// Rows, or trees for one row, that are walked at once: memory answers several while each waits for its own node.
const TOGETHER: usize = 8;

/// Adds to `sums` (a chunk of rows per target). `scored` says which have one, where the smallest or largest is looked for.
pub(super) fn run<N: Number>(
    ensemble: &Ensemble,
    rounded: &[bool],
    features: &[Feature<'_>],
    rows: usize,
    sums: &mut [N],
    scored: &mut [bool],
) {
    if rows < TOGETHER {
        (0..rows).for_each(|row| one(ensemble, rounded, features, row, sums, scored));
        return;
    }
    for tree in &ensemble.trees {
        for first in (0..rows).step_by(TOGETHER) {
            let count = TOGETHER.min(rows - first);
            let mut at = [0u32; TOGETHER];
            let mut moving = true;
            while moving {
                moving = false;
                for (row, at) in at[..count].iter_mut().enumerate() {
                    if let Node::Branch(branch) = &tree.nodes[*at as usize] {
                        let value = value(features, rounded, branch.feature, first + row);
                        *at = if ensemble.goes_yes(branch, value) {
                            branch.yes
                        } else {
                            branch.no
                        };
                        moving = true;
                    }
                }
            }
            for (row, at) in at[..count].iter().enumerate() {
                if let Node::Leaf(leaf) = &tree.nodes[*at as usize] {
                    add(
                        ensemble.aggregate,
                        tree.weights_of(leaf),
                        first + row,
                        sums,
                        scored,
                    );
                }
            }
        }
    }
}

/// One row through several trees at once.
fn one<N: Number>(
    ensemble: &Ensemble,
    rounded: &[bool],
    features: &[Feature<'_>],
    row: usize,
    sums: &mut [N],
    scored: &mut [bool],
) {
    for trees in ensemble.trees.chunks(TOGETHER) {
        let mut at = [0u32; TOGETHER];
        let mut moving = true;
        while moving {
            moving = false;
            for (tree, at) in trees.iter().zip(&mut at) {
                if let Node::Branch(branch) = &tree.nodes[*at as usize] {
                    let value = value(features, rounded, branch.feature, row);
                    *at = if ensemble.goes_yes(branch, value) {
                        branch.yes
                    } else {
                        branch.no
                    };
                    moving = true;
                }
            }
        }
        for (tree, at) in trees.iter().zip(at) {
            if let Node::Leaf(leaf) = &tree.nodes[at as usize] {
                add(ensemble.aggregate, tree.weights_of(leaf), row, sums, scored);
            }
        }
    }
}

fn add<N: Number>(
    aggregate: Aggregate,
    weights: &[Weight],
    row: usize,
    sums: &mut [N],
    scored: &mut [bool],
) {
    for weight in weights {
        let at = weight.target as usize * CHUNK + row;
        match aggregate {
            Aggregate::Sum | Aggregate::Average => sums[at] += N::of(weight.value),
            Aggregate::Min if scored[at] && weight.value >= sums[at].double() => {}
            Aggregate::Max if scored[at] && weight.value <= sums[at].double() => {}
            // A NaN compares with nothing: it does not replace what is there, and stays once it is.
            Aggregate::Min | Aggregate::Max
                if scored[at] && (weight.value.is_nan() || sums[at].double().is_nan()) => {}
            Aggregate::Min | Aggregate::Max => sums[at] = N::of(weight.value),
        }
        scored[at] = true;
    }
}
