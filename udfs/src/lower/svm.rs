//! Support vector machines of ai.onnx.ml.

use super::classes::{self, Classes};
use super::linear::{floating, matrix};
use super::product::product;
use super::{Entry, Value};
use crate::error::{malformed, unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::kernels::svm::{Decision, Pairs, Similarity, Svm, Vectors};
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar};

pub const OPERATORS: &[Entry] = &[
    ("ai.onnx.ml", "SVMClassifier", svm_classifier),
    ("ai.onnx.ml", "SVMRegressor", svm_regressor),
];

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn similarity(node: &Node) -> Result<Similarity> {
    let parameters = doubles(node.floats("kernel_params"));
    let (gamma, coef0, degree) = match parameters.as_slice() {
        [gamma, coef0, degree, ..] => (*gamma, *coef0, *degree),
        [] => (0.0, 0.0, 0.0),
        _ => {
            return malformed(format!(
                "{} with {} kernel_params",
                node.op,
                parameters.len()
            ))
        }
    };
    Ok(match node.text("kernel_type").unwrap_or("LINEAR") {
        "LINEAR" => Similarity::Linear,
        "POLY" => Similarity::Poly {
            gamma,
            coef0,
            degree,
        },
        "RBF" => Similarity::Rbf { gamma },
        "SIGMOID" => Similarity::Sigmoid { gamma, coef0 },
        other => return unsupported(format!("the SVM kernel {other}")),
    })
}

fn vectors(node: &Node, features: usize, count: usize) -> Result<Vectors> {
    let values = doubles(node.floats("support_vectors"));
    if features == 0 || features.checked_mul(count) != Some(values.len()) {
        return malformed(format!(
            "{} with {} numbers for {count} vectors of {features} features",
            node.op,
            values.len()
        ));
    }
    Ok(Vectors {
        similarity: similarity(node)?,
        features,
        values,
    })
}

/// Scores of a machine without support vectors: X coefficients + rho\[0\], in double.
fn linear(
    node: &Node,
    columns: &[Operand],
    outputs: usize,
    builder: &mut Builder,
) -> Result<Vec<Operand>> {
    let (coefficients, width) = (node.floats("coefficients"), columns.len());
    let Some(rho) = node.floats("rho").first() else {
        return malformed(format!("{} without rho", node.op));
    };
    if width == 0 || width.checked_mul(outputs) != Some(coefficients.len()) {
        return malformed(format!(
            "{} with {} coefficients for {width} features",
            node.op,
            coefficients.len()
        ));
    }
    let bias = vec![f64::from(*rho); outputs];
    product(
        columns,
        outputs,
        &|i, j| f64::from(coefficients[j * width + i]),
        bias,
        Kind::F64,
        builder,
    )
}

fn svm_regressor(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (_, columns) = floating(matrix(inputs)?, Kind::F64, builder)?;
    let count = usize::try_from(node.int("n_supports").unwrap_or(0)).unwrap_or(0);
    let mut value = if count == 0 {
        linear(node, &columns, 1, builder)?[0]
    } else {
        let vectors = vectors(node, columns.len(), count)?;
        let (coefficients, rho) = (
            doubles(node.floats("coefficients")),
            node.floats("rho").first(),
        );
        let Some(rho) = rho.filter(|_| coefficients.len() == count) else {
            return malformed(format!(
                "an SVMRegressor of {count} vectors with {} coefficients",
                coefficients.len()
            ));
        };
        builder.spend((vectors.values.len() + coefficients.len()).saturating_mul(8))?;
        let decision = Decision::Sum {
            coefficients,
            constant: f64::from(*rho),
        };
        let slot = builder.slot(Kind::F64)?;
        builder.push(Svm {
            vectors,
            decision,
            inputs: columns,
            outputs: vec![(slot, Kind::F64)],
        });
        Operand::Slot(slot)
    };
    if node.int("one_class").unwrap_or(0) != 0 {
        let number = |value: f64| Operand::Constant(Scalar::F64(value));
        let inside = builder.elementwise(Op::Less, &[number(0.0), value])?;
        value = builder.elementwise(Op::Where, &[inside, number(1.0), number(-1.0)])?;
    }
    Ok(vec![Value::matrix(
        Kind::F32,
        classes::singles(&[value], builder)?,
        builder,
    )?])
}

fn svm_classifier(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (_, columns) = floating(matrix(inputs)?, Kind::F64, builder)?;
    let labels = Classes::of(node)?;
    if labels.len() < 2 || labels.len() > 1 << 12 {
        return unsupported(format!("an SVMClassifier of {} classes", labels.len()));
    }
    let per_class: Vec<usize> = node
        .ints("vectors_per_class")
        .iter()
        .filter_map(|n| usize::try_from(*n).ok())
        .collect();
    let count = per_class
        .iter()
        .fold(0usize, |sum, count| sum.saturating_add(*count));
    let (label, scores) = if count == 0 {
        linear_classes(node, &columns, &labels, builder)?
    } else {
        pairs(node, columns, &labels, per_class, count, builder)?
    };
    Ok(vec![
        label,
        Value::matrix(Kind::F32, classes::singles(&scores, builder)?, builder)?,
    ])
}

/// One score per class; the label by onnxruntime's rules.
fn linear_classes(
    node: &Node,
    columns: &[Operand],
    labels: &Classes,
    builder: &mut Builder,
) -> Result<(Value, Vec<Operand>)> {
    let scores = linear(node, columns, labels.len(), builder)?;
    let label = match scores.as_slice() {
        [no, yes] if node.floats("prob_a").is_empty() => {
            // The second label wherever the larger score passes the bar, whosever score it is.
            let positive = node
                .floats("coefficients")
                .iter()
                .all(|value| *value >= 0.0);
            let larger = builder.elementwise(Op::Less, &[*no, *yes])?;
            let passes = |score: Operand, builder: &mut Builder| {
                let bar = Operand::Constant(Scalar::F64(if positive { 0.5 } else { 0.0 }));
                builder.elementwise(
                    if positive { Op::LessOrEqual } else { Op::Less },
                    &[bar, score],
                )
            };
            let (first, second) = (passes(*no, builder)?, passes(*yes, builder)?);
            let passed = builder.elementwise(Op::Where, &[larger, second, first])?;
            let chosen = builder.elementwise(Op::Or, &[larger, passed])?;
            let place = builder.elementwise(Op::Cast(Kind::I64), &[chosen])?;
            labels.at(place, builder)?
        }
        scores => labels.by_largest(scores, builder)?,
    };
    let scores = classes::transform(classes::post_transform(node), &scores, builder)?;
    Ok((label, scores))
}

/// One against one, by votes.
fn pairs(
    node: &Node,
    columns: Vec<Operand>,
    labels: &Classes,
    per_class: Vec<usize>,
    count: usize,
    builder: &mut Builder,
) -> Result<(Value, Vec<Operand>)> {
    let classes = labels.len();
    let vectors = vectors(node, columns.len(), count)?;
    let (coefficients, rho) = (
        doubles(node.floats("coefficients")),
        doubles(node.floats("rho")),
    );
    let (a, b) = (
        doubles(node.floats("prob_a")),
        doubles(node.floats("prob_b")),
    );
    let number = classes * (classes - 1) / 2;
    let complete = per_class.len() == classes
        && coefficients.len() >= (classes - 1).saturating_mul(count)
        && rho.len() >= number
        && a.len() == b.len()
        && (a.is_empty() || a.len() >= number);
    if !complete {
        return malformed(format!(
            "an SVMClassifier of {classes} classes with {} coefficients",
            coefficients.len()
        ));
    }
    let probability: Vec<(f64, f64)> = a.into_iter().zip(b).take(number).collect();
    let probable = !probability.is_empty();
    builder.spend((vectors.values.len() + coefficients.len() + 4 * number).saturating_mul(8))?;
    let kinds = std::iter::repeat_n(Kind::F64, number)
        .chain([Kind::I64])
        .chain(std::iter::repeat_n(
            Kind::F64,
            if probable { classes } else { 0 },
        ));
    let outputs = kinds
        .map(|kind| Ok((builder.slot(kind)?, kind)))
        .collect::<Result<Vec<_>>>()?;
    let operands: Vec<Operand> = outputs
        .iter()
        .map(|(slot, _)| Operand::Slot(*slot))
        .collect();
    let decision = Decision::Pairs(Pairs {
        per_class,
        coefficients,
        rho,
        probability,
    });
    builder.push(Svm {
        vectors,
        decision,
        inputs: columns,
        outputs,
    });
    let label = labels.at(operands[number], builder)?;
    let post = classes::post_transform(node);
    let scores = match &operands[..number] {
        _ if probable => classes::transform(post, &operands[number + 1..], builder)?,
        [score] => match post {
            "NONE" => vec![builder.elementwise(Op::Neg, &[*score])?, *score],
            // onnxruntime leaves the second score unset here.
            "PROBIT" => {
                return unsupported("the post_transform PROBIT of an SVMClassifier of two classes")
            }
            _ => classes::pair(post, *score, builder)?,
        },
        scores => classes::transform(post, scores, builder)?,
    };
    Ok((label, scores))
}
