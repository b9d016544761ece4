//! Tree ensembles: `TreeEnsemble`, `TreeEnsembleClassifier` and `TreeEnsembleRegressor`.

use super::value::{given_rows, scalars};
use super::{Entry, Value};
use crate::error::{malformed, unsupported, Result};
use crate::isa::Isa;
use crate::kernels::elementwise::Op;
use crate::onnx::{Attribute, Data, Node, Tensor};
use crate::program::{Builder, Kind, Operand, Scalar};
use crate::trees::attributes::{class_count, either};
use crate::trees::{Aggregate, Classes, Ensemble, Forest, Number, Post, Precision, Regression};
use crate::trees::{ClassifierStep, RegressorStep};
use std::sync::Arc;

pub const OPERATORS: &[Entry] = &[
    ("ai.onnx.ml", "TreeEnsemble", regressor),
    ("ai.onnx.ml", "TreeEnsembleClassifier", classifier),
    ("ai.onnx.ml", "TreeEnsembleRegressor", regressor),
];

fn regressor(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let newer = node.op == "TreeEnsemble";
    let post = match newer {
        true => Post::of_number(node.int("post_transform").unwrap_or(0))?,
        false => post(node)?,
    };
    let features = Features::new(inputs, builder)?;
    let ensemble = ensemble(node, &features)?;
    // The older operator answers in float32 whatever it computes in.
    let kind = if newer && ensemble.precision == Precision::F64 {
        Kind::F64
    } else {
        Kind::F32
    };
    let slots = (0..ensemble.targets)
        .map(|_| builder.slot(kind))
        .collect::<Result<Vec<_>>>()?;
    let columns = slots.iter().map(|slot| Operand::Slot(*slot)).collect();
    let finish = Regression {
        trees: ensemble.trees.len(),
        aggregate: ensemble.aggregate,
        base: ensemble.base.clone(),
        post,
    };
    let touched = touched(&ensemble);
    // Whether a target was touched matters where it may not be: then trees are walked, which tells.
    let walked =
        !finish.base.is_empty() && touched.len() > 1 && !every_target_or_none(&ensemble, &touched);
    match ensemble.precision {
        Precision::F64 => {
            let forest = forest::<f64>(ensemble, &features, walked);
            builder.push(RegressorStep::new(
                forest,
                features.operands,
                slots,
                kind,
                touched,
                finish,
            ));
        }
        Precision::F32 => {
            let forest = forest::<f32>(ensemble, &features, walked);
            builder.push(RegressorStep::new(
                forest,
                features.operands,
                slots,
                kind,
                touched,
                finish,
            ));
        }
    }
    Ok(vec![Value::matrix(kind, columns, builder)?])
}

fn classifier(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let post = post(node)?;
    let features = Features::new(inputs, builder)?;
    let ensemble = ensemble(node, &features)?;
    if ensemble.aggregate != Aggregate::Sum {
        return unsupported("a tree classifier that does not add its trees up");
    }
    let base = either(node, "base_values")?.0;
    let count = class_count(node) as usize;
    if count > 2 && !base.is_empty() && base.len() != count || base.len() > count {
        return malformed(format!("{} base values for {count} classes", base.len()));
    }
    let touched = touched(&ensemble);
    let weights = || ensemble.trees.iter().flat_map(|tree| &tree.weights);
    let binary = count == 2 && touched.iter().filter(|touched| **touched).count() == 1;
    if post == Post::Probit && count == 2 && !touched[1] {
        return unsupported("a binary tree classifier with probit"); // onnxruntime leaves one of its two scores unset
    }
    let finish = Classes {
        count,
        binary,
        positive: weights().all(|weight| weight.value >= 0.0),
        base,
        post,
    };
    let (labels, label_kind) = labels(node, count, builder)?;
    let label = builder.slot(label_kind)?;
    let slots = (0..count)
        .map(|_| builder.slot(Kind::F32))
        .collect::<Result<Vec<_>>>()?;
    let columns = slots.iter().map(|slot| Operand::Slot(*slot)).collect();
    // Whether a class was touched matters where it may not be: then trees are walked, which tells.
    let walked = !every_target_or_none(&ensemble, &touched);
    match ensemble.precision {
        Precision::F64 => {
            let forest = forest::<f64>(ensemble, &features, walked);
            builder.push(ClassifierStep::new(
                forest,
                features.operands,
                (label, labels),
                slots,
                touched,
                finish,
            ));
        }
        Precision::F32 => {
            let forest = forest::<f32>(ensemble, &features, walked);
            builder.push(ClassifierStep::new(
                forest,
                features.operands,
                (label, labels),
                slots,
                touched,
                finish,
            ));
        }
    }
    let label = Value::rows(label_kind, vec![], vec![Operand::Slot(label)], builder)?;
    Ok(vec![label, Value::matrix(Kind::F32, columns, builder)?])
}

/// The targets that any leaf adds to.
fn touched(ensemble: &Ensemble) -> Vec<bool> {
    let mut touched = vec![false; ensemble.targets];
    let weights = ensemble.trees.iter().flat_map(|tree| &tree.weights);
    weights.for_each(|weight| touched[weight.target as usize] = true);
    touched
}

/// Whether each target gets a score in every row or in none: some tree has it in all leaves.
fn every_target_or_none(ensemble: &Ensemble, touched: &[bool]) -> bool {
    let mut always = vec![false; touched.len()];
    for tree in &ensemble.trees {
        let leaves = tree.nodes.len() / 2 + 1;
        let mut count = vec![0usize; touched.len()];
        tree.weights
            .iter()
            .for_each(|weight| count[weight.target as usize] += 1);
        always
            .iter_mut()
            .zip(count)
            .for_each(|(always, count)| *always |= count == leaves);
    }
    always == touched
}

/// The labels, then those for "not positive" and "positive" where onnxruntime says 0 or 1.
fn labels(node: &Node, count: usize, builder: &mut Builder) -> Result<(Vec<Scalar>, Kind)> {
    match (
        node.attribute("classlabels_strings"),
        node.attribute("classlabels_int64s"),
    ) {
        (Some(Attribute::Texts(texts)), _) if !texts.is_empty() => {
            if count < 2 {
                return unsupported("a tree classifier of one class with a text for a label");
            }
            let mut labels = scalars(
                &Tensor::new(vec![count], Data::Text(texts.clone()))?,
                builder,
            )?;
            labels.extend([labels[0], labels[1]]);
            Ok((labels, Kind::Code))
        }
        (_, Some(Attribute::Ints(numbers))) => Ok((
            numbers
                .iter()
                .copied()
                .chain([0, 1])
                .map(Scalar::I64)
                .collect(),
            Kind::I64,
        )),
        _ => malformed("a tree classifier without labels"),
    }
}

fn post(node: &Node) -> Result<Post> {
    match node.attribute("post_transform") {
        None => Ok(Post::None),
        Some(Attribute::Text(name)) => Post::of_name(name),
        Some(_) => malformed("a post transform that is no text"),
    }
}

/// The columns that trees look at, without the casts to float32 before them: thresholds take them in.
struct Features {
    operands: Vec<Operand>,
    rounded: Vec<bool>,
    kind: Kind,
}

impl Features {
    fn new(inputs: &[Value], builder: &mut Builder) -> Result<Features> {
        let rows = given_rows(inputs, 0)?;
        let kind = match rows.kind {
            Kind::F64 => Kind::F64,
            // onnxruntime compares integers as float32.
            Kind::F32 | Kind::I64 => Kind::F32,
            Kind::Bool | Kind::Code => return unsupported("trees over values that are no numbers"),
        };
        let mut features = Features {
            operands: Vec::new(),
            rounded: Vec::new(),
            kind,
        };
        for column in &rows.columns {
            let column = if rows.kind == kind {
                *column
            } else {
                builder.elementwise(Op::Cast(kind), &[*column])?
            };
            let (operand, rounded) = before_casts(column, builder);
            features.operands.push(operand);
            features.rounded.push(rounded);
        }
        Ok(features)
    }
}

/// The column whose values, rounded to float32 if so said, are those of a column.
fn before_casts(column: Operand, builder: &Builder) -> (Operand, bool) {
    let (mut column, mut rounded) = (column, false);
    while let Some(source) = builder.before_cast(column) {
        match (builder.kind(source), builder.kind(column)) {
            (Kind::F64, Kind::F32) => rounded = true,
            (Kind::F32, Kind::F64) => {}
            _ => break,
        }
        column = source;
    }
    (column, rounded)
}

fn ensemble(node: &Node, features: &Features) -> Result<Ensemble> {
    let mut ensemble = Ensemble::of(node, features.operands.len())?;
    if features.kind == Kind::F64 && ensemble.precision == Precision::F32 {
        if node.op == "TreeEnsemble" {
            return malformed("trees in float over doubles");
        }
        // The older operators compute in the type of their input.
        ensemble.precision = Precision::F64;
    }
    Ok(ensemble)
}

fn forest<N: Number>(ensemble: Ensemble, features: &Features, walked: bool) -> Forest<N> {
    let (ensemble, rounded) = (Arc::new(ensemble), features.rounded.clone());
    if walked {
        return Forest::walking(ensemble, rounded);
    }
    Forest::new(ensemble, rounded, Isa::current())
}
