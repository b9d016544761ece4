//! Trees in one form for all fast kernels: every test is "the rank of a column is at most `bin`".
//!
//! A rank says how many of the thresholds of its feature are below a value, so ranks are small integers that compare as
//! the values do. NaN has rank 0 where it goes to `yes` and the largest rank where it goes to `no`; a feature whose nodes
//! disagree about that has two columns. Tests for equality and membership get a column each: 0 for members, 1 for others.

use super::ensemble::{Branch, Ensemble, Node, Test, Tree};
use super::float32;
use std::collections::HashMap;

pub(super) struct Plain {
    pub columns: Vec<Ranked>,
    pub trees: Vec<PlainTree>,
}

/// How a feature becomes small integers.
pub(super) struct Ranked {
    pub feature: u32,
    /// NaN goes to `yes`.
    pub missing_low: bool,
    pub by: By,
}

pub(super) enum By {
    /// Sorted, distinct.
    Thresholds(Vec<f64>),
    Set(Vec<f64>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PlainNode {
    Split {
        column: u32,
        bin: u32,
        yes: u32,
        no: u32,
    },
    Leaf(u32),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlainTree {
    pub nodes: Vec<PlainNode>,
    /// The targets that any leaf adds to.
    pub targets: Vec<u32>,
    /// For each leaf what it adds to each of `targets`.
    pub values: Vec<f64>,
}

/// Above these, columns would cost more than trees: the ensemble is walked as it is.
const MOST_SETS: usize = 256;
const MOST_COLUMNS: usize = 4096;

/// None where the ensemble does not fit this form. `rounded` says which features become float32 first.
pub(super) fn plain(ensemble: &Ensemble, rounded: &[bool]) -> Option<Plain> {
    let columns = Columns::new(ensemble, rounded)?;
    let mut trees: Vec<PlainTree> = Vec::new();
    for tree in &ensemble.trees {
        let tree = plain_tree(tree, rounded, &columns)?;
        match trees.last_mut() {
            Some(last) if twins(last, &tree) => merge(last, &tree),
            _ => trees.push(tree),
        }
    }
    Some(Plain {
        columns: columns.all,
        trees,
    })
}

/// A test as one of ranks: which column, and whether `yes` and `no` change places.
enum Rank {
    AtMost(f64),
    /// Of the values in order, or of a set by its number.
    One(f64),
    Set(u32),
    Never,
}

fn rank(branch: &Branch, rounded: bool) -> (Rank, bool, bool) {
    let threshold = branch.value + 0.0; // -0.0 compares as 0.0 and would sort before it
    let (swapped, strict) = match branch.test {
        Test::Leq => (false, false),
        Test::Lt => (false, true),
        Test::Gt => (true, false),
        Test::Gte => (true, true),
        Test::Eq if branch.value.is_nan() => return (Rank::Never, false, branch.missing_true),
        Test::Eq => return (Rank::One(threshold), false, branch.missing_true),
        Test::Neq if branch.value.is_nan() => return (Rank::Never, true, false),
        // NaN differs from everything: it goes to `yes`, which is `no` of the opposite test.
        Test::Neq => return (Rank::One(threshold), true, false),
        Test::Member(set) => return (Rank::Set(set), false, branch.missing_true),
    };
    if branch.value.is_nan() {
        return (Rank::Never, false, branch.missing_true);
    }
    let missing_low = branch.missing_true != swapped;
    if strict && threshold == f64::NEG_INFINITY {
        return (Rank::Never, swapped, missing_low);
    }
    let most = if strict {
        threshold.next_down() + 0.0
    } else {
        threshold
    };
    (
        Rank::AtMost(if rounded {
            float32::rounds_to_at_most(most)
        } else {
            most
        }),
        swapped,
        missing_low,
    )
}

struct Columns<'a> {
    ensemble: &'a Ensemble,
    all: Vec<Ranked>,
    ordered: HashMap<(u32, bool), u32>,
    sets: HashMap<(u32, bool, Vec<u64>), u32>,
}

impl<'a> Columns<'a> {
    fn new(ensemble: &'a Ensemble, rounded: &[bool]) -> Option<Columns<'a>> {
        let mut thresholds: Vec<Vec<f64>> = vec![Vec::new(); ensemble.features];
        let mut columns = Columns {
            ensemble,
            all: Vec::new(),
            ordered: HashMap::new(),
            sets: HashMap::new(),
        };
        for branch in ensemble.branches() {
            let feature = branch.feature as usize;
            match rank(branch, rounded[feature]) {
                (Rank::AtMost(threshold), _, missing_low) => {
                    thresholds[feature].push(threshold);
                    columns
                        .ordered
                        .entry((branch.feature, missing_low))
                        .or_insert(0);
                }
                (set, _, missing_low) => {
                    let set = columns.members(&set);
                    let key = (
                        branch.feature,
                        missing_low,
                        set.iter().map(|value| value.to_bits()).collect(),
                    );
                    if columns.sets.contains_key(&key) {
                        continue;
                    }
                    columns.sets.insert(key, columns.all.len() as u32);
                    columns.all.push(Ranked {
                        feature: branch.feature,
                        missing_low,
                        by: By::Set(set),
                    });
                    if columns.all.len() > MOST_SETS {
                        return None;
                    }
                }
            }
        }
        for list in &mut thresholds {
            list.sort_unstable_by(f64::total_cmp);
            list.dedup();
        }
        // The two columns of a feature stand side by side: the second is a copy of the first but for NaN.
        let mut pairs: Vec<(u32, bool)> = columns.ordered.keys().copied().collect();
        pairs.sort_unstable();
        for (feature, missing_low) in pairs {
            columns
                .ordered
                .insert((feature, missing_low), columns.all.len() as u32);
            let by = By::Thresholds(thresholds[feature as usize].clone());
            columns.all.push(Ranked {
                feature,
                missing_low,
                by,
            });
        }
        (columns.all.len() <= MOST_COLUMNS).then_some(columns)
    }

    fn members(&self, rank: &Rank) -> Vec<f64> {
        match rank {
            Rank::One(value) => vec![*value],
            Rank::Set(set) => self
                .ensemble
                .sets
                .get(*set as usize)
                .cloned()
                .unwrap_or_default(),
            Rank::AtMost(_) | Rank::Never => Vec::new(),
        }
    }

    /// Column and bin of a branch, and whether `yes` and `no` change places.
    fn place(&self, branch: &Branch, rounded: bool) -> Option<(u32, u32, bool)> {
        let (rank, swapped, missing_low) = rank(branch, rounded);
        if let Rank::AtMost(threshold) = rank {
            let column = *self.ordered.get(&(branch.feature, missing_low))?;
            let By::Thresholds(thresholds) = &self.all[column as usize].by else {
                return None;
            };
            return Some((
                column,
                thresholds.partition_point(|other| *other < threshold) as u32,
                swapped,
            ));
        }
        let bits = self
            .members(&rank)
            .iter()
            .map(|value| value.to_bits())
            .collect();
        Some((
            *self.sets.get(&(branch.feature, missing_low, bits))?,
            0,
            swapped,
        ))
    }
}

fn plain_tree(tree: &Tree, rounded: &[bool], columns: &Columns<'_>) -> Option<PlainTree> {
    let mut targets: Vec<u32> = tree.weights.iter().map(|weight| weight.target).collect();
    targets.sort_unstable();
    targets.dedup();
    let leaves = tree
        .nodes
        .iter()
        .filter(|node| matches!(node, Node::Leaf(_)))
        .count();
    if leaves.checked_mul(targets.len())? > 4 * tree.weights.len() + 1024 {
        return None; // leaves that add to few of very many targets: a full table of them could be any size
    }
    let mut values = vec![0.0; leaves * targets.len()];
    let mut seen = vec![u32::MAX; targets.len()];
    let mut nodes = Vec::with_capacity(tree.nodes.len());
    let mut leaf_count = 0u32;
    for node in &tree.nodes {
        match node {
            Node::Branch(branch) => {
                let (column, bin, swapped) =
                    columns.place(branch, rounded[branch.feature as usize])?;
                let (yes, no) = if swapped {
                    (branch.no, branch.yes)
                } else {
                    (branch.yes, branch.no)
                };
                nodes.push(PlainNode::Split {
                    column,
                    bin,
                    yes,
                    no,
                });
            }
            Node::Leaf(leaf) => {
                for weight in tree.weights_of(leaf) {
                    let at = targets.binary_search(&weight.target).ok()?;
                    if std::mem::replace(&mut seen[at], leaf_count) == leaf_count {
                        return None; // two weights for one target are two additions
                    }
                    values[leaf_count as usize * targets.len() + at] = weight.value;
                }
                nodes.push(PlainNode::Leaf(leaf_count));
                leaf_count += 1;
            }
        }
    }
    Some(PlainTree {
        nodes,
        targets,
        values,
    })
}

/// `TreeEnsemble` writes a tree with K outputs K times: such copies become one tree again.
fn twins(left: &PlainTree, right: &PlainTree) -> bool {
    left.nodes == right.nodes
        && left
            .targets
            .iter()
            .all(|target| !right.targets.contains(target))
        && left.targets.len() < 256
}

fn merge(left: &mut PlainTree, right: &PlainTree) {
    let (old, added) = (left.targets.len(), right.targets.len());
    let leaves = left
        .nodes
        .iter()
        .filter(|node| matches!(node, PlainNode::Leaf(_)))
        .count();
    let mut values = Vec::with_capacity(leaves * (old + added));
    for leaf in 0..leaves {
        values.extend_from_slice(&left.values[leaf * old..(leaf + 1) * old]);
        values.extend_from_slice(&right.values[leaf * added..(leaf + 1) * added]);
    }
    left.targets.extend_from_slice(&right.targets);
    left.values = values;
}

impl PlainTree {
    /// The longest way to a leaf.
    pub fn depth(&self) -> u32 {
        let mut depth = vec![0u32; self.nodes.len()];
        let mut most = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            if let PlainNode::Split { yes, no, .. } = node {
                (depth[*yes as usize], depth[*no as usize]) = (depth[at] + 1, depth[at] + 1);
                most = most.max(depth[at] + 1);
            }
        }
        most
    }

    pub fn splits(&self) -> usize {
        self.nodes.len() / 2
    }

    pub fn leaves(&self) -> usize {
        self.nodes.len() / 2 + 1
    }
}
