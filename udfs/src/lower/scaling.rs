//! Numbers made ready for a model: Scaler, Imputer, Normalizer, Binarizer of ai.onnx.ml.

use super::classes::row_wise;
use super::linear::{floating, matrix};
use super::value::given_rows;
use super::{Entry, Rows, Value};
use crate::error::{unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::kernels::softmax::RowFunction;
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar};

pub const OPERATORS: &[Entry] = &[
    ("ai.onnx.ml", "Scaler", scaler),
    ("ai.onnx.ml", "Imputer", imputer),
    ("ai.onnx.ml", "Normalizer", normalizer),
    ("ai.onnx.ml", "Binarizer", binarizer),
];

fn constant(value: f64, kind: Kind) -> Operand {
    Operand::Constant(match kind {
        Kind::F32 => Scalar::F32(value as f32),
        _ => Scalar::F64(value),
    })
}

/// One parameter per column, or one for all.
fn parameter<T: Copy>(values: &[T], column: usize, columns: usize) -> Option<T> {
    match values {
        [value] => Some(*value),
        values if values.len() == columns => values.get(column).copied(),
        _ => None,
    }
}

/// (x - offset) * scale, in the input's type, given as float.
fn scaler(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = matrix(inputs)?;
    let (kind, columns) = floating(rows, Kind::F32, builder)?;
    let (offsets, scales) = (node.floats("offset"), node.floats("scale"));
    if offsets.len() != scales.len() {
        return unsupported("a Scaler with other numbers of offsets and scales");
    }
    let mut scaled = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let parameters = (
            parameter(offsets, index, columns.len()),
            parameter(scales, index, columns.len()),
        );
        let (Some(offset), Some(scale)) = parameters else {
            return unsupported(format!("a Scaler with {} offsets", offsets.len()));
        };
        let offset = constant(f64::from(offset), kind);
        let centred = builder.elementwise(Op::Sub, &[*column, offset])?;
        let scale = constant(f64::from(scale), kind);
        let value = builder.elementwise(Op::Mul, &[centred, scale])?;
        scaled.push(builder.elementwise(Op::Cast(Kind::F32), &[value])?);
    }
    Ok(vec![Value::matrix(Kind::F32, scaled, builder)?])
}

/// One value replaced by another; NaN replaces NaN.
fn imputer(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = matrix(inputs)?;
    let (floats, integers) = (
        node.floats("imputed_value_floats"),
        node.ints("imputed_value_int64s"),
    );
    let mut columns = Vec::with_capacity(rows.columns.len());
    for (index, column) in rows.columns.iter().enumerate() {
        let (replaced, imputed) = match rows.kind {
            Kind::F64 | Kind::F32 => (
                constant(
                    f64::from(node.float("replaced_value_float").unwrap_or(0.0)),
                    rows.kind,
                ),
                imputed(floats, index, rows).map(|value| constant(f64::from(value), rows.kind)),
            ),
            Kind::I64 => (
                Operand::Constant(Scalar::I64(node.int("replaced_value_int64").unwrap_or(0))),
                imputed(integers, index, rows).map(|value| Operand::Constant(Scalar::I64(value))),
            ),
            kind => return unsupported(format!("an Imputer of {kind:?}")),
        };
        let Some(imputed) = imputed else {
            return unsupported("an Imputer without values of its input's type");
        };
        let nan =
            matches!(replaced, Operand::Constant(value) if value.double().is_some_and(f64::is_nan));
        let missing = if nan {
            builder.elementwise(Op::IsNan, &[*column])?
        } else {
            builder.elementwise(Op::Equal, &[*column, replaced])?
        };
        columns.push(builder.elementwise(Op::Where, &[missing, imputed, *column])?);
    }
    Ok(vec![Value::matrix(rows.kind, columns, builder)?])
}

/// Per column, or the first for all: as onnxruntime takes them.
fn imputed<T: Copy>(values: &[T], column: usize, rows: &Rows) -> Option<T> {
    let own = if values.len() == rows.columns.len() {
        column
    } else {
        0
    };
    values.get(own).copied()
}

fn normalizer(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = matrix(inputs)?;
    let (kind, columns) = floating(rows, Kind::F64, builder)?;
    let function = match node.text("norm").unwrap_or("MAX") {
        "MAX" => RowFunction::NormMax,
        "L1" => RowFunction::NormL1,
        "L2" => RowFunction::NormL2,
        other => return unsupported(format!("the norm {other}")),
    };
    let columns = row_wise(function, kind, &columns, Kind::F32, builder)?;
    Ok(vec![Value::matrix(Kind::F32, columns, builder)?])
}

/// 1 above the threshold, else 0. NaN stays NaN: onnxruntime refuses the whole batch for one, and 0 would be an answer.
fn binarizer(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    if !matches!(rows.kind, Kind::F64 | Kind::F32) {
        return unsupported(format!("a Binarizer of {:?}", rows.kind));
    }
    let threshold = constant(f64::from(node.float("threshold").unwrap_or(0.0)), rows.kind);
    let mut columns = Vec::with_capacity(rows.columns.len());
    for column in &rows.columns {
        let above = builder.elementwise(Op::Less, &[threshold, *column])?;
        let value = builder.elementwise(Op::Cast(rows.kind), &[above])?;
        let nan = builder.elementwise(Op::IsNan, &[*column])?;
        columns.push(builder.elementwise(Op::Where, &[nan, *column, value])?);
    }
    Ok(vec![Value::rows(
        rows.kind,
        rows.dims.clone(),
        columns,
        builder,
    )?])
}
