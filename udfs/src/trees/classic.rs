//! `TreeEnsembleClassifier` and `TreeEnsembleRegressor` of ai.onnx.ml 1 to 3: nodes by tree and node id, leaves among them.

use super::ensemble::{Branch, Leaf, Node, Test, Tree, Weight};
use super::read::{feature, index};
use crate::error::{malformed, Result};

/// The lists of nodes, then those of weights. `missing` and `hits` may be empty.
#[derive(Debug, Default, Clone, Copy)]
pub struct Classic<'a> {
    pub tree_ids: &'a [i64],
    pub node_ids: &'a [i64],
    pub features: &'a [i64],
    pub modes: &'a [Vec<u8>],
    pub values: &'a [f64],
    pub yes: &'a [i64],
    pub no: &'a [i64],
    pub missing: &'a [i64],
    pub hits: &'a [f64],
    pub weight_trees: &'a [i64],
    pub weight_nodes: &'a [i64],
    pub weight_targets: &'a [i64],
    pub weights: &'a [f64],
    /// How many targets or classes there are.
    pub width: usize,
}

pub fn trees(lists: &Classic<'_>) -> Result<Vec<Tree>> {
    let count = lists.tree_ids.len();
    let same = [
        lists.node_ids.len(),
        lists.features.len(),
        lists.modes.len(),
        lists.values.len(),
        lists.yes.len(),
        lists.no.len(),
    ];
    let optional = [lists.missing.len(), lists.hits.len()];
    let weights = [
        lists.weight_trees.len(),
        lists.weight_nodes.len(),
        lists.weight_targets.len(),
    ];
    if same.iter().any(|length| *length != count)
        || optional
            .iter()
            .any(|length| *length != 0 && *length != count)
        || weights.iter().any(|length| *length != lists.weights.len())
    {
        return malformed("the lists of a tree ensemble differ in length");
    }
    let links = Links::new(lists)?;
    let mut reached = vec![false; count];
    let found = links
        .roots
        .iter()
        .map(|root| tree(lists, &links, *root, &mut reached))
        .collect::<Result<_>>()?;
    // What no root leads to hangs in a cycle, or is a second tree under the same number.
    match reached.iter().position(|reached| !reached) {
        Some(at) => malformed(format!(
            "nothing leads to node {} of tree {}",
            lists.node_ids[at], lists.tree_ids[at]
        )),
        None => Ok(found),
    }
}

/// Ids resolved to places in the lists.
struct Links {
    /// Of each node, if it is a branch: (yes, no).
    children: Vec<Option<(usize, usize)>>,
    /// One per tree, in the order in which trees first occur.
    roots: Vec<usize>,
    /// Weights in the order of their nodes, each node's in the order of the list.
    weights: Vec<(usize, Weight)>,
}

impl Links {
    fn new(lists: &Classic<'_>) -> Result<Links> {
        let mut places: Vec<(i64, i64, usize)> = Vec::with_capacity(lists.tree_ids.len());
        places.extend(
            lists
                .tree_ids
                .iter()
                .zip(lists.node_ids)
                .enumerate()
                .map(|(at, (tree, node))| (*tree, *node, at)),
        );
        places.sort_unstable();
        if let Some(pair) = places
            .windows(2)
            .find(|pair| pair[0].0 == pair[1].0 && pair[0].1 == pair[1].1)
        {
            return malformed(format!(
                "node {} of tree {} is there twice",
                pair[0].1, pair[0].0
            ));
        }
        let find = |tree: i64, node: i64| match places
            .binary_search_by(|place| (place.0, place.1).cmp(&(tree, node)))
        {
            Ok(at) => Ok(places[at].2),
            Err(_) => malformed(format!("tree {tree} has no node {node}")),
        };
        let mut children = vec![None; places.len()];
        let mut is_child = vec![false; places.len()];
        for (at, mode) in lists.modes.iter().enumerate() {
            if mode.as_slice() != b"LEAF" {
                let (yes, no) = (
                    find(lists.tree_ids[at], lists.yes[at])?,
                    find(lists.tree_ids[at], lists.no[at])?,
                );
                children[at] = Some((yes, no));
                (is_child[yes], is_child[no]) = (true, true);
            }
        }
        let mut weights = Vec::with_capacity(lists.weights.len());
        for (at, value) in lists.weights.iter().enumerate() {
            let target = index(lists.weight_targets[at], lists.width)? as u32;
            weights.push((
                find(lists.weight_trees[at], lists.weight_nodes[at])?,
                Weight {
                    target,
                    value: *value,
                },
            ));
        }
        weights.sort_by_key(|weight| weight.0);
        Ok(Links {
            children,
            roots: roots(&places, &is_child)?,
            weights,
        })
    }

    fn weights_of(&self, node: usize) -> &[(usize, Weight)] {
        let first = self.weights.partition_point(|weight| weight.0 < node);
        let rest = &self.weights[first..];
        &rest[..rest.partition_point(|weight| weight.0 == node)]
    }
}

/// The node of each tree that is nobody's child.
fn roots(places: &[(i64, i64, usize)], is_child: &[bool]) -> Result<Vec<usize>> {
    let mut roots = Vec::new();
    for tree in places.chunk_by(|left, right| left.0 == right.0) {
        let first = tree.iter().map(|place| place.2).min().unwrap_or_default();
        match tree
            .iter()
            .map(|place| place.2)
            .filter(|at| !is_child[*at])
            .min()
        {
            Some(root) => roots.push((first, root)),
            None => return malformed(format!("tree {} has no root", tree[0].0)),
        }
    }
    roots.sort_unstable();
    Ok(roots.into_iter().map(|(_, root)| root).collect())
}

fn tree(lists: &Classic<'_>, links: &Links, root: usize, reached: &mut [bool]) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut waiting: Vec<(usize, Option<(usize, bool)>)> = vec![(root, None)];
    while let Some((at, parent)) = waiting.pop() {
        if std::mem::replace(&mut reached[at], true) {
            return malformed(format!(
                "node {} of tree {} is reached twice",
                lists.node_ids[at], lists.tree_ids[at]
            ));
        }
        let place = tree.nodes.len();
        match parent.and_then(|(parent, yes)| Some((tree.nodes.get_mut::<usize>(parent)?, yes))) {
            Some((Node::Branch(branch), true)) => branch.yes = place as u32,
            Some((Node::Branch(branch), false)) => branch.no = place as u32,
            _ => {}
        }
        let hits = lists.hits.get(at).copied().unwrap_or(f64::NAN);
        match links.children[at] {
            None => {
                let first = tree.weights.len() as u32;
                tree.weights
                    .extend(links.weights_of(at).iter().map(|(_, weight)| *weight));
                tree.nodes.push(Node::Leaf(Leaf {
                    first,
                    count: tree.weights.len() as u32 - first,
                    hits,
                }));
            }
            Some((yes, no)) => {
                tree.nodes.push(Node::Branch(Branch {
                    feature: feature(lists.features[at])?,
                    test: test(&lists.modes[at])?,
                    value: lists.values[at],
                    missing_true: lists.missing.get(at).is_some_and(|flag| *flag == 1),
                    yes: 0,
                    no: 0,
                    hits,
                }));
                waiting.push((no, Some((place, false))));
                waiting.push((yes, Some((place, true))));
            }
        }
    }
    Ok(tree)
}

fn test(mode: &[u8]) -> Result<Test> {
    Ok(match mode {
        b"BRANCH_LEQ" => Test::Leq,
        b"BRANCH_LT" => Test::Lt,
        b"BRANCH_GTE" => Test::Gte,
        b"BRANCH_GT" => Test::Gt,
        b"BRANCH_EQ" => Test::Eq,
        b"BRANCH_NEQ" => Test::Neq,
        other => {
            return malformed(format!(
                "a node of mode {:?}",
                String::from_utf8_lossy(other)
            ))
        }
    })
}
