//! From the operators' parallel lists to an `Ensemble`. Nothing in the lists is trusted: indices are checked, and a node
//! that is reached twice (a cycle, a shared subtree) is refused.

use super::ensemble::{Branch, Leaf, Node, Test, Tree, Weight};
use crate::error::{malformed, Result};

/// `TreeEnsemble` of ai.onnx.ml 5. Lists that may be left out are empty then.
#[derive(Debug, Default, Clone, Copy)]
pub struct Lists<'a> {
    pub features: &'a [i64],
    pub modes: &'a [i64],
    pub splits: &'a [f64],
    pub yes: &'a [i64],
    pub yes_is_leaf: &'a [i64],
    pub no: &'a [i64],
    pub no_is_leaf: &'a [i64],
    pub missing: &'a [i64],
    pub hits: &'a [f64],
    /// The leaves' covers, which the operator has no list for: see `explain`.
    pub leaf_hits: &'a [f64],
    pub members: &'a [f64],
    pub targets: &'a [i64],
    pub weights: &'a [f64],
    pub roots: &'a [i64],
    /// How many targets there are.
    pub width: usize,
}

/// Trees and the sets they use.
pub type Found = (Vec<Tree>, Vec<Vec<f64>>);

const MEMBER: i64 = 6;

pub fn trees(lists: &Lists<'_>) -> Result<Found> {
    let count = lists.features.len();
    let lengths = [
        lists.modes.len(),
        lists.splits.len(),
        lists.yes.len(),
        lists.yes_is_leaf.len(),
        lists.no.len(),
        lists.no_is_leaf.len(),
    ];
    if lengths.iter().any(|length| *length != count) || lists.targets.len() != lists.weights.len() {
        return malformed("the lists of a tree ensemble differ in length");
    }
    if [lists.missing.len(), lists.hits.len()]
        .iter()
        .any(|length| *length != 0 && *length != count)
    {
        return malformed("the lists of a tree ensemble differ in length");
    }
    let (set_of, sets) = sets(lists)?;
    let mut reached = vec![false; count];
    let mut trees = Vec::with_capacity(lists.roots.len());
    for root in lists.roots {
        trees.push(tree(lists, &set_of, *root, &mut reached)?);
    }
    Ok((trees, sets))
}

/// The set of each membership node, in the order of nodes: sets stand one after another, ended by NaN.
fn sets(lists: &Lists<'_>) -> Result<(Vec<u32>, Vec<Vec<f64>>)> {
    let (mut set_of, mut sets) = (Vec::new(), Vec::new());
    if !lists.modes.contains(&MEMBER) {
        return Ok((set_of, sets));
    }
    let mut rest = lists.members.split(|value| value.is_nan());
    set_of.resize(lists.modes.len(), 0);
    for (at, _) in lists
        .modes
        .iter()
        .enumerate()
        .filter(|(_, mode)| **mode == MEMBER)
    {
        let Some(members) = rest.next() else {
            return malformed("a tree ensemble has fewer sets than nodes that test membership");
        };
        let mut set = members.to_vec();
        set.sort_by(f64::total_cmp);
        set.dedup();
        set_of[at] = sets.len() as u32;
        sets.push(set);
    }
    Ok((set_of, sets))
}

fn tree(lists: &Lists<'_>, set_of: &[u32], root: i64, reached: &mut [bool]) -> Result<Tree> {
    let mut tree = Tree::default();
    // What is still to be placed: where it is in the lists, and which child of which node it is.
    let mut waiting = vec![(root, false, None)];
    while let Some((at, is_leaf, parent)) = waiting.pop() {
        let place = tree.nodes.len() as u32;
        match parent.and_then(|(parent, yes)| Some((tree.nodes.get_mut::<usize>(parent)?, yes))) {
            Some((Node::Branch(branch), true)) => branch.yes = place,
            Some((Node::Branch(branch), false)) => branch.no = place,
            _ => {}
        }
        if is_leaf {
            let leaf = leaf(lists, at, &mut tree.weights)?;
            tree.nodes.push(leaf);
            continue;
        }
        let at = index(at, reached.len())?;
        if std::mem::replace(&mut reached[at], true) {
            return malformed(format!("node {at} of a tree ensemble is reached twice"));
        }
        if lists.yes_is_leaf[at] != 0 && lists.no_is_leaf[at] != 0 && lists.yes[at] == lists.no[at]
        {
            // How a tree of one leaf is written.
            let leaf = leaf(lists, lists.yes[at], &mut tree.weights)?;
            tree.nodes.push(leaf);
            continue;
        }
        tree.nodes.push(Node::Branch(branch(lists, set_of, at)?));
        waiting.push((
            lists.no[at],
            lists.no_is_leaf[at] != 0,
            Some((place as usize, false)),
        ));
        waiting.push((
            lists.yes[at],
            lists.yes_is_leaf[at] != 0,
            Some((place as usize, true)),
        ));
    }
    Ok(tree)
}

fn leaf(lists: &Lists<'_>, at: i64, weights: &mut Vec<Weight>) -> Result<Node> {
    let at = index(at, lists.targets.len())?;
    let target = index(lists.targets[at], lists.width)? as u32;
    weights.push(Weight {
        target,
        value: lists.weights[at],
    });
    Ok(Node::Leaf(Leaf {
        first: weights.len() as u32 - 1,
        count: 1,
        hits: lists.leaf_hits.get(at).copied().unwrap_or(f64::NAN),
    }))
}

fn branch(lists: &Lists<'_>, set_of: &[u32], at: usize) -> Result<Branch> {
    let test = match lists.modes[at] {
        0 => Test::Leq,
        1 => Test::Lt,
        2 => Test::Gte,
        3 => Test::Gt,
        4 => Test::Eq,
        5 => Test::Neq,
        MEMBER => Test::Member(set_of[at]),
        other => return malformed(format!("node {at} of a tree ensemble has mode {other}")),
    };
    Ok(Branch {
        feature: feature(lists.features[at])?,
        test,
        value: lists.splits[at],
        missing_true: lists.missing.get(at).is_some_and(|flag| *flag == 1),
        yes: 0,
        no: 0,
        hits: lists.hits.get(at).copied().unwrap_or(f64::NAN),
    })
}

pub(super) fn index(value: i64, length: usize) -> Result<usize> {
    match usize::try_from(value) {
        Ok(at) if at < length => Ok(at),
        _ => malformed(format!("a tree ensemble points to {value} of {length}")),
    }
}

/// Whether rows have so many features is checked where the ensemble meets its input.
pub(super) fn feature(value: i64) -> Result<u32> {
    match u32::try_from(value) {
        Ok(feature) if feature < u32::MAX => Ok(feature),
        _ => malformed(format!("a tree ensemble tests feature {value}")),
    }
}
