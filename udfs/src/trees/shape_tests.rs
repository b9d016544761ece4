//! Trees of extreme shapes.

use super::tests::{check, one_tree, Random};
use super::*;

/// A tree of one feature: a row at `value` reaches the leaf whose place among `splits` it has.
fn comb(splits: &[f64], test: Test, balanced: bool) -> Tree {
    let mut tree = Tree::default();
    let mut waiting = vec![(0usize, splits.len(), None)];
    while let Some((first, end, parent)) = waiting.pop() {
        let place = tree.nodes.len() as u32;
        if let Some((parent, yes)) = parent {
            if let Node::Branch(branch) = &mut tree.nodes[parent] {
                *(if yes { &mut branch.yes } else { &mut branch.no }) = place;
            }
        }
        if first == end {
            tree.nodes.push(Node::Leaf(Leaf {
                first: first as u32,
                count: 1,
                hits: f64::NAN,
            }));
            continue;
        }
        let middle = if balanced { (first + end) / 2 } else { first };
        tree.nodes.push(Node::Branch(Branch {
            feature: 0,
            test,
            value: splits[middle],
            missing_true: false,
            yes: 0,
            no: 0,
            hits: f64::NAN,
        }));
        let place = Some(place as usize);
        waiting.push((middle + 1, end, place.map(|at| (at, false))));
        waiting.push((first, middle, place.map(|at| (at, true))));
    }
    tree.weights = (0..=splits.len())
        .map(|leaf| Weight {
            target: 0,
            value: leaf as f64,
        })
        .collect();
    tree
}

#[test]
fn deep_chains_many_thresholds_and_many_categories() {
    let random = &mut Random(7);
    let splits = |count: usize| (0..count).map(|at| at as f64 * 0.5).collect::<Vec<_>>();
    let chased = check::<f64>(
        random,
        one_tree(comb(&splits(3_000), Test::Leq, false)),
        vec![false],
        false,
    );
    assert!(chased[0].contains("chased"), "{chased:?}");
    let chased = check::<f64>(
        random,
        one_tree(comb(&splits(100_000), Test::Lt, true)),
        vec![false],
        false,
    );
    assert!(
        chased[0].contains("chased") && chased[0].contains("100000 thresholds"),
        "{chased:?}"
    );
    let walked = check::<f64>(
        random,
        one_tree(comb(&splits(3_000), Test::Eq, false)),
        vec![false],
        false,
    );
    assert!(walked[0].contains("walked"), "{walked:?}");
}

/// Selecting computes every node of a tree, descending one of each level: a forest of 25,500 nodes that was selected took
/// three times as long, 19 times without SIMD.
#[test]
fn few_nodes_are_selected_and_levels_of_many_are_descended() {
    let random = &mut Random(11);
    for (depth, thresholds, kind) in [(3, 250, "selected by 8-bit"), (8, 25_500, "descended")] {
        let trees = (0..100).map(|tree| {
            let nodes = (1 << depth) - 1;
            let mut splits: Vec<f64> = (0..nodes)
                .map(|at| f64::from((at * thresholds / nodes + tree) % thresholds))
                .collect();
            splits.sort_by(f64::total_cmp);
            comb(&splits, Test::Leq, true)
        });
        let ensemble = Ensemble {
            trees: trees.collect(),
            ..one_tree(Tree::default())
        };
        let found = check::<f64>(random, ensemble, vec![false], false);
        assert!(
            found.iter().all(|found| found.contains(kind)),
            "{kind}: {found:?}"
        );
    }
}

#[test]
fn a_tree_of_one_leaf() {
    let random = &mut Random(9);
    check::<f64>(
        random,
        one_tree(comb(&[], Test::Leq, false)),
        vec![false],
        false,
    );
}
