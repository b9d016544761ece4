//! Operators' lists: what is read, and what is refused.

use super::tests::one_tree;
use super::*;

/// Lists of one node with two leaves.
fn lists<'a>(
    yes: &'a [i64],
    yes_is_leaf: &'a [i64],
    no: &'a [i64],
    no_is_leaf: &'a [i64],
) -> read::Lists<'a> {
    read::Lists {
        features: &[0, 0, 0][..yes.len()],
        modes: &[0, 0, 0][..yes.len()],
        splits: &[0.5, 1.5, 2.5][..yes.len()],
        yes,
        yes_is_leaf,
        no,
        no_is_leaf,
        targets: &[0, 0],
        weights: &[1.0, 2.0],
        roots: &[0],
        width: 1,
        ..Default::default()
    }
}

#[test]
fn lists_that_are_no_trees_are_refused() {
    assert!(read::trees(&lists(&[0], &[1], &[1], &[1])).is_ok());
    let single = read::trees(&lists(&[1], &[1], &[1], &[1])).unwrap().0;
    assert_eq!(single[0].nodes.len(), 1);
    for (what, lists) in [
        ("a cycle", lists(&[0], &[0], &[1], &[1])),
        ("a shared child", lists(&[1, 0], &[0, 1], &[1, 1], &[0, 1])),
        ("a leaf that is not there", lists(&[2], &[1], &[1], &[1])),
        ("a node that is not there", lists(&[7], &[0], &[1], &[1])),
        ("a negative place", lists(&[-1], &[1], &[1], &[1])),
        (
            "a target that is not there",
            read::Lists {
                width: 0,
                ..lists(&[0], &[1], &[1], &[1])
            },
        ),
        (
            "a root that is not there",
            read::Lists {
                roots: &[5],
                ..lists(&[0], &[1], &[1], &[1])
            },
        ),
        (
            "two trees of one root",
            read::Lists {
                roots: &[0, 0],
                ..lists(&[0], &[1], &[1], &[1])
            },
        ),
        (
            "a mode that is none",
            read::Lists {
                modes: &[9],
                ..lists(&[0], &[1], &[1], &[1])
            },
        ),
        (
            "a set that is not there",
            read::Lists {
                modes: &[6, 6],
                members: &[1.0],
                ..lists(&[1, 0], &[0, 1], &[0, 1], &[1, 1])
            },
        ),
        (
            "a short list",
            read::Lists {
                splits: &[],
                ..lists(&[0], &[1], &[1], &[1])
            },
        ),
        (
            "a negative feature",
            read::Lists {
                features: &[-1],
                ..lists(&[0], &[1], &[1], &[1])
            },
        ),
    ] {
        assert!(read::trees(&lists).is_err(), "{what}");
    }
}

#[test]
fn older_lists_may_stand_in_any_order() {
    let modes: Vec<Vec<u8>> = ["LEAF", "BRANCH_GT", "LEAF"]
        .map(|mode| mode.as_bytes().to_vec())
        .to_vec();
    let lists = classic::Classic {
        tree_ids: &[5, 5, 5],
        node_ids: &[70, 3, 8],
        features: &[0, 1, 0],
        modes: &modes,
        values: &[0.0, 2.5, 0.0],
        yes: &[0, 70, 0],
        no: &[0, 8, 0],
        weight_trees: &[5, 5],
        weight_nodes: &[8, 70],
        weight_targets: &[0, 0],
        weights: &[1.0, 2.0],
        width: 1,
        ..Default::default()
    };
    let trees = classic::trees(&lists).unwrap();
    let ensemble = Ensemble {
        features: 2,
        ..one_tree(trees[0].clone())
    };
    assert_eq!(ensemble.reached(&ensemble.trees[0], |_| 3.0)[0].value, 2.0);
    assert_eq!(ensemble.reached(&ensemble.trees[0], |_| 2.0)[0].value, 1.0);
    for broken in [
        classic::Classic {
            yes: &[0, 3, 0],
            ..lists
        },
        classic::Classic {
            yes: &[0, 8, 0],
            ..lists
        },
        classic::Classic {
            yes: &[0, 71, 0],
            ..lists
        },
        classic::Classic {
            node_ids: &[8, 3, 8],
            ..lists
        },
        classic::Classic {
            weight_nodes: &[9, 70],
            ..lists
        },
        classic::Classic {
            weight_targets: &[1, 0],
            ..lists
        },
    ] {
        assert!(classic::trees(&broken).is_err());
    }
}
