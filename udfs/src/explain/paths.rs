//! Trees in the order in which TreeSHAP walks them.

use crate::error::{unsupported, Result};
use crate::trees::{Branch, Ensemble, Node, Test, Tree};
use std::collections::BTreeSet;

/// Where no edge above asks for the same feature, and where a child is no leaf.
pub const NONE: u32 = u32::MAX;

/// Walking takes the square of the depth, in time and, where all features differ, in memory.
const DEEPEST: u32 = 4096;
/// Leaves times scores, of one tree.
const MOST_VALUES: usize = 1 << 26;

/// The way into a child, in preorder.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The depth of the child: 1 below the root.
    pub level: u32,
    /// The parent's decision, and whether the child is its yes.
    pub split: u32,
    pub yes: bool,
    /// The leaf that the child is, or NONE.
    pub leaf: u32,
    /// The input column to whose account it goes.
    pub column: u32,
    /// The level of the last edge above that asks for the same feature, or NONE.
    pub above: u32,
    /// The share of the parent's training weight that takes this edge.
    pub ratio: f64,
    /// The product of the ratios of all edges down to here that ask for this feature.
    pub share: f64,
}

#[derive(Debug, Clone)]
pub struct Split {
    /// Among the features that any tree asks for.
    pub feature: u32,
    pub test: Test,
    pub value: f64,
    pub missing_true: bool,
}

/// One tree, or several of the same decisions (a forest of several classes has one for each).
#[derive(Debug, Clone)]
pub struct PathTree {
    pub splits: Vec<Split>,
    pub edges: Vec<Edge>,
    /// Leaf after leaf, one value per entry of `scores`.
    pub values: Vec<f64>,
    /// Which raw scores its leaves add to.
    pub scores: Vec<u32>,
    /// What it adds on average over its training rows.
    pub mean: Vec<f64>,
    pub depth: usize,
    /// The most different features on one path.
    pub features: usize,
}

/// What trees are taken apart by.
#[derive(Debug)]
pub struct Features<'a> {
    /// Per feature: its place among the features that are asked for.
    pub places: &'a [u32],
    /// Per feature: what counts as the same feature.
    pub players: &'a [u32],
    /// Per feature: the input column.
    pub columns: &'a [u32],
    /// (score, target, factor)
    pub terms: &'a [(u32, u32, f64)],
}

/// Every tree of the ensemble; those of the same decisions that stand together as one.
pub fn path_trees(ensemble: &Ensemble, features: &Features<'_>) -> Result<Vec<PathTree>> {
    ensemble
        .trees
        .chunk_by(same_decisions)
        .map(|group| path_tree(group, features))
        .collect()
}

fn same_decisions(one: &Tree, other: &Tree) -> bool {
    one.nodes.len() == other.nodes.len()
        && one.nodes.iter().zip(&other.nodes).all(|pair| match pair {
            (Node::Branch(a), Node::Branch(b)) => {
                // Not `hits`, which may be NaN, and is not used.
                (a.feature, a.test, a.missing_true, a.yes, a.no)
                    == (b.feature, b.test, b.missing_true, b.yes, b.no)
                    && a.value.to_bits() == b.value.to_bits()
            }
            (Node::Leaf(a), Node::Leaf(b)) => a.hits.to_bits() == b.hits.to_bits(),
            _ => false,
        })
}

/// An edge that is open above the one at hand.
struct Open {
    player: u32,
    share: f64,
    /// The share of all training weight that comes this far.
    reach: f64,
    features: usize,
}

/// A child still to be walked into: where it is, and by which edge of which split.
struct Waiting {
    child: u32,
    parent: u32,
    split: u32,
    yes: bool,
    level: u32,
}

fn path_tree(group: &[Tree], features: &Features<'_>) -> Result<PathTree> {
    let shape = &group[0];
    let scores = scores(group, features);
    let mut tree = PathTree {
        splits: Vec::new(),
        edges: Vec::new(),
        values: Vec::new(),
        mean: vec![0.0; scores.len()],
        depth: 0,
        features: 0,
        scores,
    };
    if shape.nodes.len().saturating_mul(tree.scores.len()) > MOST_VALUES {
        return unsupported("explaining so many scores");
    }
    let weights = weights(shape)?;
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    visit(group, 0, 0, 1.0, features, &mut tree, &mut waiting)?;
    while let Some(next) = waiting.pop() {
        if next.level > DEEPEST {
            return unsupported("explaining trees so deep");
        }
        open.truncate(next.level as usize - 1);
        let Node::Branch(branch) = &shape.nodes[next.parent as usize] else {
            continue;
        };
        let (here, there) = (weights[next.parent as usize], weights[next.child as usize]);
        // Where no training row came, both ways weigh the same.
        let ratio = if here > 0.0 { there / here } else { 0.5 };
        let player = features.players[branch.feature as usize];
        let above = open.iter().rposition(|edge| edge.player == player);
        let share = above.map_or(1.0, |place| open[place].share) * ratio;
        let reach = open.last().map_or(1.0, |edge| edge.reach) * ratio;
        let different = open.last().map_or(0, |edge| edge.features) + usize::from(above.is_none());
        tree.edges.push(Edge {
            level: next.level,
            split: next.split,
            yes: next.yes,
            leaf: NONE,
            column: features.columns[branch.feature as usize],
            above: above.map_or(NONE, |place| place as u32 + 1),
            ratio,
            share,
        });
        open.push(Open {
            player,
            share,
            reach,
            features: different,
        });
        tree.depth = tree.depth.max(next.level as usize);
        tree.features = tree.features.max(different);
        visit(
            group,
            next.child,
            next.level,
            reach,
            features,
            &mut tree,
            &mut waiting,
        )?;
    }
    Ok(tree)
}

/// Notes a leaf, or a split and the ways from it.
fn visit(
    group: &[Tree],
    at: u32,
    level: u32,
    reach: f64,
    features: &Features<'_>,
    tree: &mut PathTree,
    waiting: &mut Vec<Waiting>,
) -> Result<()> {
    match &group[0].nodes[at as usize] {
        Node::Branch(branch) => {
            let split = tree.splits.len() as u32;
            tree.splits.push(split_of(branch, features)?);
            for (child, yes) in [(branch.no, false), (branch.yes, true)] {
                waiting.push(Waiting {
                    child,
                    parent: at,
                    split,
                    yes,
                    level: level + 1,
                });
            }
        }
        Node::Leaf(_) => {
            let start = tree.values.len();
            tree.values.resize(start + tree.scores.len(), 0.0);
            add_leaf(group, at, features, tree, start);
            for place in 0..tree.scores.len() {
                tree.mean[place] += reach * tree.values[start + place];
            }
            if let Some(edge) = tree.edges.last_mut() {
                edge.leaf = (start / tree.scores.len().max(1)) as u32;
            }
        }
    }
    Ok(())
}

/// The scores that the leaves of these trees add to, in order.
fn scores(group: &[Tree], features: &Features<'_>) -> Vec<u32> {
    let targets: BTreeSet<u32> = group
        .iter()
        .flat_map(|tree| tree.weights.iter().map(|weight| weight.target))
        .collect();
    let scores: BTreeSet<u32> = features
        .terms
        .iter()
        .filter(|(_, target, _)| targets.contains(target))
        .map(|(score, ..)| *score)
        .collect();
    scores.into_iter().collect()
}

/// Adds what the leaf says in each tree of the group to its values.
fn add_leaf(group: &[Tree], at: u32, features: &Features<'_>, tree: &mut PathTree, start: usize) {
    for one in group {
        let Node::Leaf(leaf) = &one.nodes[at as usize] else {
            continue;
        };
        for weight in one.weights_of(leaf) {
            for (score, _, factor) in features
                .terms
                .iter()
                .filter(|(_, t, _)| *t == weight.target)
            {
                if let Some(place) = tree.scores.iter().position(|known| known == score) {
                    tree.values[start + place] += weight.value * factor;
                }
            }
        }
    }
}

fn split_of(branch: &Branch, features: &Features<'_>) -> Result<Split> {
    let feature = features.places[branch.feature as usize];
    if feature == NONE {
        return unsupported("explaining trees that ask for a feature of no column");
    }
    Ok(Split {
        feature,
        test: branch.test,
        value: branch.value,
        missing_true: branch.missing_true,
    })
}

/// The training weight at each node: that of its leaves. A child stands behind its parent.
fn weights(tree: &Tree) -> Result<Vec<f64>> {
    let mut weights = vec![0.0; tree.nodes.len()];
    for (at, node) in tree.nodes.iter().enumerate().rev() {
        weights[at] = match node {
            Node::Branch(branch) => weights[branch.yes as usize] + weights[branch.no as usize],
            Node::Leaf(leaf) if leaf.hits.is_finite() && leaf.hits >= 0.0 => leaf.hits,
            Node::Leaf(_) => return unsupported("explaining trees without their training weights"),
        };
    }
    Ok(weights)
}
