//! Operators that are sums of products: MatMul, Gemm, and the linear models of ai.onnx.ml.

use super::arithmetic::{broadcast, number};
use super::classes::{self, Classes};
use super::product::product;
use super::value::{given, given_constant, given_rows};
use super::{Entry, Rows, Value};
use crate::error::{malformed, unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::onnx::{Node, Tensor};
use crate::program::{Builder, Kind, Operand};

pub const OPERATORS: &[Entry] = &[
    ("", "MatMul", matmul),
    ("", "Gemm", gemm),
    ("ai.onnx.ml", "LinearClassifier", linear_classifier),
    ("ai.onnx.ml", "LinearRegressor", linear_regressor),
];

/// The columns as F64 or F32; other numbers become `otherwise`.
pub fn floating(
    rows: &Rows,
    otherwise: Kind,
    builder: &mut Builder,
) -> Result<(Kind, Vec<Operand>)> {
    match rows.kind {
        Kind::F64 | Kind::F32 => Ok((rows.kind, rows.columns.clone())),
        Kind::I64 | Kind::Bool => {
            let cast = |column: &Operand| builder.elementwise(Op::Cast(otherwise), &[*column]);
            Ok((
                otherwise,
                rows.columns.iter().map(cast).collect::<Result<_>>()?,
            ))
        }
        Kind::Code => unsupported("arithmetic on texts"),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor
        .doubles()
        .map_or_else(|| unsupported("texts as weights"), Ok)
}

/// [N, k] or [N, ..., k] times [k, m], or [k].
fn matmul(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (rows, weights) = (given_rows(inputs, 0)?, given_constant(inputs, 1)?);
    if !matches!(rows.kind, Kind::F64 | Kind::F32) {
        return unsupported("a MatMul of integers");
    }
    let (Some((&width, outer)), (inner, outputs)) = (
        rows.dims.split_last(),
        match *weights.dims.as_slice() {
            [inner] => (inner, None),
            [inner, outputs] => (inner, Some(outputs)),
            _ => return unsupported(format!("a MatMul with weights of shape {:?}", weights.dims)),
        },
    ) else {
        return unsupported("a MatMul of one number per row");
    };
    if width != inner || width == 0 {
        return unsupported(format!(
            "a MatMul of {width} columns with weights of shape {:?}",
            weights.dims
        ));
    }
    let values = numbers(weights)?;
    let count = outputs.unwrap_or(1);
    let mut columns = Vec::new();
    for slice in rows.columns.chunks(width) {
        columns.extend(product(
            slice,
            count,
            &|i, j| values[i * count + j],
            vec![],
            rows.kind,
            builder,
        )?);
    }
    let dims = outer.iter().copied().chain(outputs).collect();
    Ok(vec![Value::rows(rows.kind, dims, columns, builder)?])
}

/// alpha A B + beta C, B and C constant.
fn gemm(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (rows, weights) = (given_rows(inputs, 0)?, given_constant(inputs, 1)?);
    if !matches!(rows.kind, Kind::F64 | Kind::F32)
        || node.int("transA").unwrap_or(0) != 0
        || rows.dims.len() != 1
    {
        return unsupported("a Gemm of this form");
    }
    let transposed = node.int("transB").unwrap_or(0) != 0;
    let (inner, outputs) = match (weights.dims.as_slice(), transposed) {
        ([inner, outputs], false) | ([outputs, inner], true) => (*inner, *outputs),
        _ => return unsupported(format!("a Gemm with weights of shape {:?}", weights.dims)),
    };
    if rows.columns.len() != inner || inner == 0 {
        return unsupported(format!(
            "a Gemm of {} columns with weights of shape {:?}",
            rows.columns.len(),
            weights.dims
        ));
    }
    let values = numbers(weights)?;
    let weight = |i: usize, j: usize| {
        if transposed {
            values[j * inner + i]
        } else {
            values[i * outputs + j]
        }
    };
    let (alpha, beta) = (
        node.float("alpha").unwrap_or(1.0),
        node.float("beta").unwrap_or(1.0),
    );
    let known = match inputs.get(2) {
        Some(Value::Constant(bias)) if alpha == 1.0 && beta == 1.0 => bias_of(bias, outputs),
        _ => None,
    };
    let fused = known.is_some();
    let bias = known.unwrap_or_default();
    let columns = product(&rows.columns, outputs, &weight, bias, rows.kind, builder)?;
    let mut result = Value::matrix(rows.kind, columns, builder)?;
    if fused {
        return Ok(vec![result]);
    }
    if alpha != 1.0 {
        let alpha = number(f64::from(alpha), &result, builder)?;
        result = broadcast(Op::Mul, &[&result, &alpha], builder)?;
    }
    if inputs.get(2).is_some_and(|bias| !bias.is_absent()) && beta != 0.0 {
        let mut bias = given(inputs, 2)?.clone();
        if beta != 1.0 {
            let beta = number(f64::from(beta), &bias, builder)?;
            bias = broadcast(Op::Mul, &[&bias, &beta], builder)?;
        }
        result = broadcast(Op::Add, &[&result, &bias], builder)?;
    }
    Ok(vec![result])
}

/// A constant that is added to every row, one number per output.
fn bias_of(tensor: &Tensor, outputs: usize) -> Option<Vec<f64>> {
    let values = tensor.doubles()?;
    match tensor.dims.as_slice() {
        [count] | [1, count] if *count == outputs => Some(values),
        [] | [1] | [1, 1] => Some(vec![*values.first()?; outputs]),
        _ => None,
    }
}

/// Scores in double, one per row of `coefficients`.
fn scores(node: &Node, rows: &Rows, targets: usize, builder: &mut Builder) -> Result<Vec<Operand>> {
    let (_, columns) = floating(rows, Kind::F64, builder)?;
    let (coefficients, mut bias) = (node.floats("coefficients"), node.floats("intercepts"));
    let width = columns.len();
    if width == 0 || targets == 0 || coefficients.len() != targets.saturating_mul(width) {
        return malformed(format!(
            "{} with {} coefficients for {targets} targets and {width} features",
            node.op,
            coefficients.len()
        ));
    }
    if bias.len() != targets {
        bias = &[]; // as onnxruntime's
    }
    let bias = bias.iter().map(|value| f64::from(*value)).collect();
    product(
        &columns,
        targets,
        &|i, j| f64::from(coefficients[j * width + i]),
        bias,
        Kind::F64,
        builder,
    )
}

/// Only [N, k].
pub fn matrix(inputs: &[Value]) -> Result<&Rows> {
    let rows = given_rows(inputs, 0)?;
    if rows.dims.len() != 1 {
        return unsupported(format!(
            "a model of an input of {} dimensions",
            rows.dims.len() + 1
        ));
    }
    Ok(rows)
}

fn linear_regressor(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let targets = usize::try_from(node.int("targets").unwrap_or(1)).unwrap_or(0);
    let scores = scores(node, matrix(inputs)?, targets, builder)?;
    // onnxruntime leaves a single target as it is, but for PROBIT.
    let scores = classes::transform(classes::post_transform(node), &scores, builder)?;
    Ok(vec![Value::matrix(
        Kind::F32,
        classes::singles(&scores, builder)?,
        builder,
    )?])
}

/// As many classifiers as intercepts. One with two labels: the score's sign decides, and both labels get a score.
fn linear_classifier(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = matrix(inputs)?;
    let targets = node.floats("intercepts").len();
    let scores = scores(node, rows, targets, builder)?;
    let labels = Classes::of(node)?;
    let label = match scores.as_slice() {
        [score] => labels.by_sign(*score, builder)?,
        scores => labels.by_largest(scores, builder)?,
    };
    let post = classes::post_transform(node);
    let scores = match scores.as_slice() {
        [score] if labels.len() == 2 => classes::pair(post, *score, builder)?,
        scores => classes::transform(post, scores, builder)?,
    };
    Ok(vec![
        label,
        Value::matrix(Kind::F32, classes::singles(&scores, builder)?, builder)?,
    ])
}
