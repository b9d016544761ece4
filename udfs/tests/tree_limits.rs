//! Tree ensembles that claim, loop and go deep.

#![allow(clippy::expect_used, clippy::panic)] // a test may give up

mod hostile;

use hostile::build::{ml, Graph, Values, DOUBLE, FLOAT};
use hostile::expect::{outcome, refused, survived};
use hostile::memory::Counting;
use hostile::run::Outcome;
use hostile::trees::columns;
use hostile::wire::Message;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn numbers_of_trees_that_are_only_claimed() {
    for id in [1_000_000_000, 1 << 31, 1 << 40, i64::MAX, -1, i64::MIN] {
        let tree = |trees: i64, node_id: i64, feature: i64, yes: i64, target: i64| {
            let ensemble = ml("TreeEnsembleRegressor", &["x"], &["prediction"])
                .ints("nodes_treeids", &[trees, trees, trees])
                .ints("nodes_nodeids", &[0, 1, node_id])
                .ints("nodes_featureids", &[feature, 0, 0])
                .ints("nodes_truenodeids", &[yes, 0, 0])
                .ints("nodes_falsenodeids", &[node_id, 0, 0])
                .texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"])
                .floats("nodes_values", &[0.5, 0.0, 0.0])
                .int("n_targets", 1)
                .ints("target_treeids", &[trees, trees])
                .ints("target_nodeids", &[1, node_id])
                .ints("target_ids", &[0, target])
                .floats("target_weights", &[1.0, 2.0]);
            columns(Graph::new(), FLOAT)
                .node(ensemble)
                .output("prediction", FLOAT, 1)
                .model(1)
        };
        survived(tree(id, 2, 0, 1, 0));
        survived(tree(0, id, 0, 1, 0));
        assert!(matches!(
            outcome(&tree(0, 2, id, 1, 0).to_bytes()),
            Outcome::Refused | Outcome::Unsupported(_)
        ));
        assert!(matches!(
            outcome(&tree(0, 2, 0, id, 0).to_bytes()),
            Outcome::Refused | Outcome::Unsupported(_)
        ));
        assert!(matches!(
            outcome(&tree(0, 2, 0, 1, id).to_bytes()),
            Outcome::Refused | Outcome::Unsupported(_)
        ));
    }
}

/// One tree as ai.onnx.ml 5 has it: every inner node's children by number.
fn modern(
    yes: &[i64],
    no: &[i64],
    yes_leaf: &[i64],
    no_leaf: &[i64],
    roots: &[i64],
    leaves: usize,
    splits: &[f64],
) -> Message {
    let count = yes.len();
    let splits: Vec<f64> = (0..count)
        .map(|place| splits[place % splits.len()])
        .collect();
    let vector = |values: &[f64]| {
        hostile::build::tensor("", &[values.len() as i64], Values::F64(values), true)
    };
    let modes = hostile::build::tensor("", &[count as i64], Values::U8(&vec![0; count]), true);
    let ensemble = ml("TreeEnsemble", &["x"], &["prediction"])
        .int("n_targets", 1)
        .int("aggregate_function", 1)
        .int("post_transform", 0)
        .ints("tree_roots", roots)
        .ints("nodes_featureids", &vec![0; count])
        .tensor("nodes_modes", modes)
        .tensor("nodes_splits", vector(&splits))
        .ints("nodes_truenodeids", yes)
        .ints("nodes_falsenodeids", no)
        .ints("nodes_trueleafs", yes_leaf)
        .ints("nodes_falseleafs", no_leaf)
        .ints("leaf_targetids", &vec![0; leaves])
        .tensor("leaf_weights", vector(&vec![1.0; leaves]));
    columns(Graph::new(), DOUBLE)
        .node(ensemble)
        .output("prediction", DOUBLE, 1)
        .model(5)
}

#[test]
fn trees_that_are_no_trees() {
    // A node that is its own child, two that are each other's, one that two share.
    refused(modern(&[0], &[0], &[0], &[1], &[0], 1, &[0.0]));
    refused(modern(&[1, 0], &[0, 0], &[0, 0], &[1, 1], &[0], 1, &[0.0]));
    // Thirty nodes, both children of each the next one: 2^30 paths.
    let next: Vec<i64> = (1..=30).collect();
    let mut inner = vec![0; 30];
    inner[29] = 1;
    let mut children = next.clone();
    children[29] = 0;
    survived(modern(
        &children,
        &children,
        &inner,
        &inner,
        &[0],
        1,
        &[0.0],
    ));
    // All roots the same tree.
    survived(modern(&[0], &[1], &[1], &[1], &vec![0; 100_000], 2, &[0.0]));
    for bad in [1, -1, i64::MAX, 1 << 31] {
        refused(modern(&[bad], &[0], &[0], &[1], &[0], 1, &[0.0]));
        refused(modern(&[bad], &[0], &[1], &[1], &[0], 1, &[0.0]));
        refused(modern(&[0], &[0], &[1], &[1], &[bad], 1, &[0.0]));
    }
    for split in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        5e-324,
        f64::MAX,
    ] {
        survived(modern(&[0], &[1], &[1], &[1], &[0], 2, &[split]));
    }
}

#[test]
fn deep_trees() {
    for count in [1_000, 100_000] {
        let yes: Vec<i64> = (0..count)
            .map(|at| if at + 1 < count { at + 1 } else { 0 })
            .collect();
        let leaf: Vec<i64> = (0..count).map(|at| i64::from(at + 1 == count)).collect();
        let no: Vec<i64> = (0..count).collect();
        let splits: Vec<f64> = (0..count).map(|at| at as f64).collect();
        let ones = vec![1; count as usize];
        survived(modern(
            &yes,
            &no,
            &leaf,
            &ones,
            &[0],
            count as usize,
            &splits,
        ));
        survived(modern(
            &no,
            &yes,
            &ones,
            &leaf,
            &[0],
            count as usize,
            &splits,
        ));
    }
}
