//! Ensembles from the attributes of a node.

use super::{classic, read, Aggregate, Ensemble, Precision};
use crate::error::{malformed, unsupported, Result};
use crate::onnx::{Attribute, Data, Node};

impl Ensemble {
    /// Of `TreeEnsemble`, `TreeEnsembleClassifier` or `TreeEnsembleRegressor`, for rows of so many features. The base values
    /// of a classifier are left to its caller: they have rules of their own.
    pub fn of(node: &Node, features: usize) -> Result<Ensemble> {
        Ensemble::with_covers(node, features, &[])
    }

    /// And with the leaves' covers, for which `TreeEnsemble` has no attribute: see `explain::covers`.
    pub fn with_covers(node: &Node, features: usize, covers: &[f64]) -> Result<Ensemble> {
        let ensemble = match node.op.as_str() {
            "TreeEnsemble" => newer(node, covers)?,
            "TreeEnsembleClassifier" => older(node, "class", class_count(node))?,
            "TreeEnsembleRegressor" => older(node, "target", node.int("n_targets").unwrap_or(1))?,
            other => return unsupported(format!("{other} as trees")),
        };
        match ensemble
            .branches()
            .map(|branch| branch.feature as usize)
            .max()
        {
            Some(most) if most >= features => {
                malformed(format!("trees test feature {most} of {features}"))
            }
            _ => Ok(Ensemble {
                features,
                ..ensemble
            }),
        }
    }
}

/// More outputs than this are no model that anybody asks in SQL, and a chunk of them fills memory.
const MOST_TARGETS: i64 = 4096;

fn newer(node: &Node, leaf_hits: &[f64]) -> Result<Ensemble> {
    let width = targets(node.int("n_targets").unwrap_or(1))?;
    let (splits, precision) = numbers(node, "nodes_splits")?;
    let (weights, _) = numbers(node, "leaf_weights")?;
    let lists = read::Lists {
        features: ints(node, "nodes_featureids"),
        modes: &integers(node, "nodes_modes")?,
        splits: &splits,
        yes: ints(node, "nodes_truenodeids"),
        yes_is_leaf: ints(node, "nodes_trueleafs"),
        no: ints(node, "nodes_falsenodeids"),
        no_is_leaf: ints(node, "nodes_falseleafs"),
        missing: ints(node, "nodes_missing_value_tracks_true"),
        hits: &numbers(node, "nodes_hitrates")?.0,
        leaf_hits,
        members: &numbers(node, "membership_values")?.0,
        targets: ints(node, "leaf_targetids"),
        weights: &weights,
        roots: ints(node, "tree_roots"),
        width,
    };
    let (trees, sets) = read::trees(&lists)?;
    let aggregate = match node.int("aggregate_function").unwrap_or(1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return malformed(format!("aggregate function {other}")),
    };
    Ok(Ensemble {
        trees,
        features: 0,
        targets: width,
        aggregate,
        base: Vec::new(),
        precision,
        sets,
    })
}

fn older(node: &Node, of: &str, width: i64) -> Result<Ensemble> {
    let width = targets(width)?;
    let (values, precision) = either(node, "nodes_values")?;
    let lists = classic::Classic {
        tree_ids: ints(node, "nodes_treeids"),
        node_ids: ints(node, "nodes_nodeids"),
        features: ints(node, "nodes_featureids"),
        modes: match node.attribute("nodes_modes") {
            Some(Attribute::Texts(modes)) => modes,
            _ => return malformed("trees without modes"),
        },
        values: &values,
        yes: ints(node, "nodes_truenodeids"),
        no: ints(node, "nodes_falsenodeids"),
        missing: ints(node, "nodes_missing_value_tracks_true"),
        hits: &either(node, "nodes_hitrates")?.0,
        weight_trees: ints(node, &format!("{of}_treeids")),
        weight_nodes: ints(node, &format!("{of}_nodeids")),
        weight_targets: ints(node, &format!("{of}_ids")),
        weights: &either(node, &format!("{of}_weights"))?.0,
        width,
    };
    let trees = classic::trees(&lists)?;
    let aggregate = match node.attribute("aggregate_function") {
        None => Aggregate::Sum,
        Some(Attribute::Text(text)) => match text.as_slice() {
            b"SUM" => Aggregate::Sum,
            b"AVERAGE" => Aggregate::Average,
            b"MIN" => Aggregate::Min,
            b"MAX" => Aggregate::Max,
            other => {
                return malformed(format!(
                    "aggregate function {:?}",
                    String::from_utf8_lossy(other)
                ))
            }
        },
        Some(_) => return malformed("an aggregate function that is no text"),
    };
    let base = if of == "target" {
        either(node, "base_values")?.0
    } else {
        Vec::new()
    };
    // onnxruntime leaves base values out that are not one per target.
    let base = if base.len() == width {
        base
    } else {
        Vec::new()
    };
    Ok(Ensemble {
        trees,
        features: 0,
        targets: width,
        aggregate,
        base,
        precision,
        sets: Vec::new(),
    })
}

/// How many labels a classifier has.
pub fn class_count(node: &Node) -> i64 {
    match (
        node.attribute("classlabels_strings"),
        node.attribute("classlabels_int64s"),
    ) {
        (Some(Attribute::Texts(labels)), _) if !labels.is_empty() => labels.len() as i64,
        (_, Some(Attribute::Ints(labels))) => labels.len() as i64,
        _ => 0,
    }
}

fn targets(count: i64) -> Result<usize> {
    match usize::try_from(count) {
        Ok(0) | Err(_) => malformed(format!("trees with {count} targets")),
        Ok(_) if count > MOST_TARGETS => unsupported(format!("trees with {count} targets")),
        Ok(count) => Ok(count),
    }
}

fn ints<'a>(node: &'a Node, name: &str) -> &'a [i64] {
    match node.attribute(name) {
        Some(Attribute::Ints(values)) => values,
        _ => &[],
    }
}

/// Float32 values, or doubles under the same name with `_as_tensor`.
pub fn either(node: &Node, name: &str) -> Result<(Vec<f64>, Precision)> {
    let tensor = numbers(node, &format!("{name}_as_tensor"))?;
    if tensor.0.is_empty() {
        return numbers(node, name);
    }
    Ok(tensor)
}

fn numbers(node: &Node, name: &str) -> Result<(Vec<f64>, Precision)> {
    match node.attribute(name) {
        None => Ok((Vec::new(), Precision::F32)),
        Some(Attribute::Floats(values)) => Ok((
            values.iter().map(|value| f64::from(*value)).collect(),
            Precision::F32,
        )),
        Some(Attribute::Tensor(tensor)) => match &tensor.data {
            Data::F32(values) => Ok((
                values.iter().map(|value| f64::from(*value)).collect(),
                Precision::F32,
            )),
            Data::F64(values) => Ok((values.clone(), Precision::F64)),
            _ => unsupported(format!("{name} of neither float nor double")),
        },
        Some(_) => malformed(format!("{name} are no numbers")),
    }
}

fn integers(node: &Node, name: &str) -> Result<Vec<i64>> {
    match node.attribute(name) {
        Some(Attribute::Ints(values)) => Ok(values.clone()),
        Some(Attribute::Tensor(tensor)) => tensor
            .integers()
            .map(<[i64]>::to_vec)
            .map_or_else(|| malformed(format!("{name} are no integers")), Ok),
        _ => malformed(format!("trees without {name}")),
    }
}
