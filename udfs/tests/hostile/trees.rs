//! Tree ensembles of every form, over columns a, b, c (and a text through a label encoder).

use super::build::{ml, node, tensor, Graph, Values, DOUBLE, FLOAT, INT64};
use super::random::Random;
use super::wire::Message;

const FEATURES: usize = 3;
const MODES: [&str; 6] = [
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
];

/// One ensemble in the columns of ai.onnx.ml 1 and 3.
#[derive(Default)]
struct Flat {
    tree: Vec<i64>,
    id: Vec<i64>,
    mode: Vec<&'static str>,
    feature: Vec<i64>,
    value: Vec<f64>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    leaf_tree: Vec<i64>,
    leaf_node: Vec<i64>,
    leaf_id: Vec<i64>,
    weight: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Balanced,
    /// Every inner node has a leaf: as deep as it has nodes.
    Chain,
    Leaf,
}

impl Flat {
    fn grow(
        &mut self,
        random: &mut Random,
        tree: i64,
        inner: usize,
        shape: Shape,
        targets: usize,
        modes: usize,
    ) {
        // Nodes in the order of their making; the open ones become inner nodes until there are enough.
        let mut open = vec![self.push_leaf(tree, 0)];
        let mut next = 1;
        let inner = if shape == Shape::Leaf { 0 } else { inner };
        for _ in 0..inner {
            let place = if shape == Shape::Chain {
                open.len() - 1
            } else {
                random.below(open.len())
            };
            let at = open.swap_remove(place);
            let (yes, no) = (self.push_leaf(tree, next), self.push_leaf(tree, next + 1));
            next += 2;
            self.mode[at] = MODES[random.below(modes)];
            self.feature[at] = random.below(FEATURES) as i64;
            self.value[at] = f64::from(random.value() as f32);
            self.missing[at] = i64::from(random.chance(2));
            (self.yes[at], self.no[at]) = (self.id[yes], self.id[no]);
            open.extend([no, yes]);
        }
        for at in open {
            for target in 0..targets {
                if targets == 1 || random.chance(2) || target == 0 {
                    self.leaf_tree.push(tree);
                    self.leaf_node.push(self.id[at]);
                    self.leaf_id.push(target as i64);
                    self.weight.push(f64::from(random.value() as f32));
                }
            }
        }
    }

    fn push_leaf(&mut self, tree: i64, id: i64) -> usize {
        self.tree.push(tree);
        self.id.push(id);
        self.mode.push("LEAF");
        self.feature.push(0);
        self.value.push(0.0);
        self.yes.push(0);
        self.no.push(0);
        self.missing.push(0);
        self.id.len() - 1
    }
}

/// A classifier or regressor of ai.onnx.ml 1 or, with doubles in tensors, 3.
pub fn classic(random: &mut Random, classifier: bool, doubles: bool) -> Message {
    let targets = [1, 1, 2, 3, 5][random.below(5)];
    let shape = *random.pick(&[
        Shape::Balanced,
        Shape::Balanced,
        Shape::Balanced,
        Shape::Chain,
        Shape::Leaf,
    ]);
    let modes = *random.pick(&[1, 1, 1, 4, 6]);
    let mut flat = Flat::default();
    for tree in 0..1 + random.below(6) {
        let inner = *random.pick(&[1, 3, 7, 20, 60]);
        flat.grow(random, tree as i64, inner, shape, targets, modes);
    }
    let element = if doubles { DOUBLE } else { FLOAT };
    let outputs = if classifier {
        vec!["prediction", "probabilities"]
    } else {
        vec!["prediction"]
    };
    let mut ensemble = ml(
        if classifier {
            "TreeEnsembleClassifier"
        } else {
            "TreeEnsembleRegressor"
        },
        &["x"],
        &outputs,
    )
    .ints("nodes_treeids", &flat.tree)
    .ints("nodes_nodeids", &flat.id)
    .ints("nodes_featureids", &flat.feature)
    .ints("nodes_truenodeids", &flat.yes)
    .ints("nodes_falsenodeids", &flat.no)
    .texts("nodes_modes", &flat.mode)
    .text(
        "post_transform",
        random.word(&["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]),
    );
    if random.chance(2) {
        ensemble = ensemble.ints("nodes_missing_value_tracks_true", &flat.missing);
    }
    let leaf = if classifier { "class" } else { "target" };
    let names = [
        ("nodes_values", &flat.value),
        (&format!("{leaf}_weights"), &flat.weight),
    ];
    for (name, values) in names {
        ensemble = if doubles {
            ensemble.doubles(&format!("{name}_as_tensor"), values)
        } else {
            ensemble.floats(
                name,
                &values.iter().map(|value| *value as f32).collect::<Vec<_>>(),
            )
        };
    }
    if random.chance(2) {
        let base: Vec<f64> = (0..targets).map(|_| random.value()).collect();
        ensemble = if doubles {
            ensemble.doubles("base_values_as_tensor", &base)
        } else {
            ensemble.floats(
                "base_values",
                &base.iter().map(|value| *value as f32).collect::<Vec<_>>(),
            )
        };
    }
    ensemble = ensemble
        .ints(&format!("{leaf}_treeids"), &flat.leaf_tree)
        .ints(&format!("{leaf}_nodeids"), &flat.leaf_node)
        .ints(&format!("{leaf}_ids"), &flat.leaf_id);
    if classifier {
        let classes: Vec<i64> = (0..targets.max(2) as i64).collect();
        ensemble = ensemble.ints("classlabels_int64s", &classes);
    } else {
        ensemble = ensemble.int("n_targets", targets as i64).text(
            "aggregate_function",
            random.word(&["SUM", "SUM", "AVERAGE", "MIN", "MAX"]),
        );
    }
    let graph = columns(Graph::new(), element).node(ensemble);
    let graph = if classifier {
        graph
            .output("prediction", INT64, 1)
            .output("probabilities", FLOAT, targets.max(2) as i64)
    } else {
        graph.output("prediction", FLOAT, targets as i64)
    };
    graph.model(if doubles { 3 } else { 1 })
}

/// Three columns joined to x [N, 3].
pub fn columns(graph: Graph, element: i64) -> Graph {
    graph
        .input("a", element, 1)
        .input("b", element, 1)
        .input("c", element, 1)
        .node(node("Concat", &["a", "b", "c"], &["x"]).int("axis", 1))
}

/// TreeEnsemble of ai.onnx.ml 5 with memberships.
pub fn modern(random: &mut Random, doubles: bool) -> Message {
    let (mut features, mut modes, mut splits, mut members) = (vec![], vec![], vec![], vec![]);
    let (mut yes, mut no, mut yes_leaf, mut no_leaf, mut missing, mut roots) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    let (mut leaf_target, mut leaf_weight) = (vec![], vec![]);
    let targets = 1 + random.below(3);
    for _ in 0..1 + random.below(5) {
        let count = *random.pick(&[1usize, 2, 5, 15, 40]);
        let first = features.len() as i64;
        roots.push(first);
        // Child k of node i, filled in order: a node's children come after it, the first ones nodes while there are any.
        let mut taken = 1;
        for _ in 0..count {
            features.push(random.below(FEATURES) as i64);
            let mode = *random.pick(&[0u8, 0, 0, 1, 2, 3, 4, 5, 6]);
            modes.push(mode);
            splits.push(if mode == 6 {
                0.0
            } else {
                f64::from(random.value() as f32)
            });
            if mode == 6 {
                members.extend((0..1 + random.below(4)).map(|_| random.below(6) as f64 - 2.0));
                members.push(f64::NAN);
            }
            missing.push(i64::from(random.chance(2)));
            for (child, is_leaf) in [(&mut yes, &mut yes_leaf), (&mut no, &mut no_leaf)] {
                if taken < count {
                    child.push(first + taken as i64);
                    is_leaf.push(0);
                    taken += 1;
                } else {
                    child.push(leaf_target.len() as i64);
                    is_leaf.push(1);
                    leaf_target.push(random.below(targets) as i64);
                    leaf_weight.push(f64::from(random.value() as f32));
                }
            }
        }
    }
    let number = |name: &str, values: &[f64]| {
        let single: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let dims = [values.len() as i64];
        tensor(
            name,
            &dims,
            if doubles {
                Values::F64(values)
            } else {
                Values::F32(&single)
            },
            true,
        )
    };
    let mut ensemble = ml("TreeEnsemble", &["x"], &["prediction"])
        .int("n_targets", targets as i64)
        .int("aggregate_function", random.below(4) as i64)
        .int("post_transform", *random.pick(&[0, 0, 1, 2, 3]))
        .ints("tree_roots", &roots)
        .ints("nodes_featureids", &features)
        .tensor(
            "nodes_modes",
            tensor("modes", &[modes.len() as i64], Values::U8(&modes), true),
        )
        .tensor("nodes_splits", number("splits", &splits))
        .ints("nodes_truenodeids", &yes)
        .ints("nodes_falsenodeids", &no)
        .ints("nodes_trueleafs", &yes_leaf)
        .ints("nodes_falseleafs", &no_leaf)
        .ints("leaf_targetids", &leaf_target)
        .tensor("leaf_weights", number("weights", &leaf_weight));
    if !members.is_empty() {
        ensemble = ensemble.tensor("membership_values", number("members", &members));
    }
    if random.chance(2) {
        ensemble = ensemble.ints("nodes_missing_value_tracks_true", &missing);
    }
    let element = if doubles { DOUBLE } else { FLOAT };
    let graph = columns(Graph::new(), DOUBLE);
    let graph = if doubles {
        graph.node(ensemble)
    } else {
        // As the converters write it: the whole model in double, the trees in float.
        graph
            .node(node("Cast", &["x"], &["f"]).int("to", FLOAT))
            .node(rename(ensemble))
    };
    graph.output("prediction", element, targets as i64).model(5)
}

fn rename(ensemble: super::build::Node) -> super::build::Node {
    let mut message = ensemble.message();
    if let Some((_, super::wire::Value::Bytes(name))) = message.0.first_mut() {
        *name = b"f".to_vec();
    }
    super::build::Node::from(message)
}
