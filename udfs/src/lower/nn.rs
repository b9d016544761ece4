//! Operators of neural networks that are not sums of products.

use super::arithmetic::{broadcast, number};
use super::classes::row_wise;
use super::reduce::own_axis;
use super::value::{given, given_constant, given_rows, optional_integers, Block};
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::kernels::softmax::RowFunction;
use crate::onnx::{Data, Node, Tensor};
use crate::program::{Builder, Kind};
use std::f64::consts::{PI, SQRT_2};

pub const OPERATORS: &[Entry] = &[
    ("", "Softmax", |node, inputs, builder| {
        softmax(RowFunction::Softmax, node, inputs, builder)
    }),
    ("", "LogSoftmax", |node, inputs, builder| {
        softmax(RowFunction::LogSoftmax, node, inputs, builder)
    }),
    ("", "BatchNormalization", batch_normalization),
    ("", "Gelu", gelu),
    ("", "HardSwish", hard_swish),
    ("", "Swish", swish),
    ("", "Mish", mish),
    ("", "Selu", selu),
    ("", "Celu", celu),
    ("", "PRelu", prelu),
    ("", "ThresholdedRelu", thresholded_relu),
    ("", "Shrink", shrink),
    ("", "CumSum", cumulative_sum),
];

/// Over one axis (before opset 13: over all from an axis on, which is the same for a matrix).
fn softmax(
    function: RowFunction,
    node: &Node,
    inputs: &[Value],
    builder: &mut Builder,
) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    let default = if builder.opset("") < 13 { 1 } else { -1 };
    own_axis(rows, node.int("axis").unwrap_or(default))?;
    if rows.dims.len() != 1 || !matches!(rows.kind, Kind::F64 | Kind::F32) {
        return unsupported(format!("{} of {:?} {:?}", node.op, rows.kind, rows.dims));
    }
    let columns = row_wise(function, rows.kind, &rows.columns, rows.kind, builder)?;
    Ok(vec![Value::matrix(rows.kind, columns, builder)?])
}

/// (x - mean) / sqrt(variance + epsilon) * scale + bias, per channel.
fn batch_normalization(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    let Some((&channels, inner)) = rows.dims.split_first() else {
        return unsupported("a BatchNormalization of one number per row");
    };
    let float = matches!(rows.kind, Kind::F64 | Kind::F32);
    if !float
        || node.int("training_mode").unwrap_or(0) != 0
        || node.int("spatial").unwrap_or(1) == 0
    {
        return unsupported("a BatchNormalization of this form");
    }
    // One per channel: [channels, 1, ...] beside [N, channels, ...].
    let parameter = |index: usize, builder: &mut Builder| {
        let tensor = given_constant(inputs, index)?;
        if tensor.dims != [channels] {
            return unsupported(format!(
                "a BatchNormalization with parameters of shape {:?}",
                tensor.dims
            ));
        }
        let dims = std::iter::once(channels)
            .chain(inner.iter().map(|_| 1))
            .collect();
        let data = match (tensor.doubles(), rows.kind) {
            (Some(values), Kind::F32) => {
                Data::F32(values.iter().map(|value| *value as f32).collect())
            }
            (Some(values), _) => Data::F64(values),
            (None, _) => return unsupported("texts as parameters"),
        };
        Value::constant(Tensor::new(dims, data)?, builder)
    };
    let (scale, bias) = (parameter(1, builder)?, parameter(2, builder)?);
    let (mean, variance) = (parameter(3, builder)?, parameter(4, builder)?);
    let epsilon = number(
        f64::from(node.float("epsilon").unwrap_or(1e-5)),
        &variance,
        builder,
    )?;
    let variance = broadcast(Op::Add, &[&variance, &epsilon], builder)?;
    let deviation = broadcast(Op::Sqrt, &[&variance], builder)?;
    let centred = broadcast(Op::Sub, &[given(inputs, 0)?, &mean], builder)?;
    let scaled = broadcast(Op::Div, &[&centred, &deviation], builder)?;
    let scaled = broadcast(Op::Mul, &[&scaled, &scale], builder)?;
    Ok(vec![broadcast(Op::Add, &[&scaled, &bias], builder)?])
}

/// A function of several steps: in double, and rounded once if its input is float.
fn in_double(
    inputs: &[Value],
    builder: &mut Builder,
    f: impl Fn(&Value, &mut Builder) -> Result<Value>,
) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    Ok(vec![match x.kind() {
        Some(Kind::F64) => f(x, builder)?,
        Some(Kind::F32) => {
            let wide = broadcast(Op::Cast(Kind::F64), &[x], builder)?;
            let value = f(&wide, builder)?;
            broadcast(Op::Cast(Kind::F32), &[&value], builder)?
        }
        kind => return unsupported(format!("an activation of {kind:?}")),
    }])
}

/// x Phi(x), or its approximation by tanh; neither cancels for negative x.
fn gelu(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    match node.text("approximate").unwrap_or("none") {
        // x/2 erfc(-x / sqrt(2))
        "none" => in_double(inputs, builder, |x, builder| {
            let (half, root) = (number(0.5, x, builder)?, number(-SQRT_2, x, builder)?);
            let scaled = broadcast(Op::Div, &[x, &root], builder)?;
            let tail = broadcast(Op::Erfc, &[&scaled], builder)?;
            let half = broadcast(Op::Mul, &[&half, x], builder)?;
            broadcast(Op::Mul, &[&half, &tail], builder)
        }),
        // x/2 (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
        "tanh" => in_double(inputs, builder, |x, builder| {
            let scale = number(2.0 * (2.0 / PI).sqrt(), x, builder)?;
            let (one, cubic) = (number(1.0, x, builder)?, number(0.044715, x, builder)?);
            let square = broadcast(Op::Mul, &[x, x], builder)?;
            let square = broadcast(Op::Mul, &[&cubic, &square], builder)?;
            let sum = broadcast(Op::Add, &[&one, &square], builder)?;
            let sum = broadcast(Op::Mul, &[x, &sum], builder)?;
            let scaled = broadcast(Op::Mul, &[&scale, &sum], builder)?;
            let gate = broadcast(Op::Sigmoid, &[&scaled], builder)?;
            broadcast(Op::Mul, &[x, &gate], builder)
        }),
        other => unsupported(format!("a Gelu approximated by {other}")),
    }
}

/// x max(0, min(1, x / 6 + 1/2))
fn hard_swish(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    in_double(inputs, builder, |x, builder| {
        let (zero, one, half) = (
            number(0.0, x, builder)?,
            number(1.0, x, builder)?,
            number(0.5, x, builder)?,
        );
        let sixth = number(1.0 / 6.0, x, builder)?;
        let line = broadcast(Op::Mul, &[x, &sixth], builder)?;
        let line = broadcast(Op::Add, &[&line, &half], builder)?;
        let line = broadcast(Op::Max, &[&line, &zero], builder)?;
        let line = broadcast(Op::Min, &[&line, &one], builder)?;
        broadcast(Op::Mul, &[x, &line], builder)
    })
}

/// x sigmoid(alpha x)
fn swish(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    in_double(inputs, builder, |x, builder| {
        let alpha = attribute(node, "alpha", 1.0, x, builder)?;
        let scaled = broadcast(Op::Mul, &[&alpha, x], builder)?;
        let gate = broadcast(Op::Sigmoid, &[&scaled], builder)?;
        broadcast(Op::Mul, &[x, &gate], builder)
    })
}

/// x tanh(softplus(x))
fn mish(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    in_double(inputs, builder, |x, builder| {
        let soft = broadcast(Op::Softplus, &[x], builder)?;
        let gate = broadcast(Op::Tanh, &[&soft], builder)?;
        broadcast(Op::Mul, &[x, &gate], builder)
    })
}

/// gamma x, and gamma alpha (e^x - 1) below zero.
fn selu(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    in_double(inputs, builder, |x, builder| {
        let alpha = attribute(node, "alpha", 1.673_263_2, x, builder)?;
        let gamma = attribute(node, "gamma", 1.050_701, x, builder)?;
        let below = broadcast(Op::Expm1, &[x], builder)?;
        let below = broadcast(Op::Mul, &[&alpha, &below], builder)?;
        let chosen = below_zero(x, &below, x, builder)?;
        broadcast(Op::Mul, &[&gamma, &chosen], builder)
    })
}

/// x, and alpha (e^(x / alpha) - 1) below zero.
fn celu(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    in_double(inputs, builder, |x, builder| {
        let alpha = attribute(node, "alpha", 1.0, x, builder)?;
        if node.float("alpha").unwrap_or(1.0) <= 0.0 {
            return unsupported("a Celu of an alpha that is not positive");
        }
        let scaled = broadcast(Op::Div, &[x, &alpha], builder)?;
        let below = broadcast(Op::Expm1, &[&scaled], builder)?;
        let below = broadcast(Op::Mul, &[&alpha, &below], builder)?;
        below_zero(x, &below, x, builder)
    })
}

fn prelu(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (x, slope) = (given(inputs, 0)?, given(inputs, 1)?);
    let below = broadcast(Op::Mul, &[slope, x], builder)?;
    Ok(vec![below_zero(x, &below, x, builder)?])
}

fn thresholded_relu(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    let (alpha, zero) = (
        attribute(node, "alpha", 1.0, x, builder)?,
        number(0.0, x, builder)?,
    );
    let above = broadcast(Op::Less, &[&alpha, x], builder)?;
    Ok(vec![broadcast(Op::Where, &[&above, x, &zero], builder)?])
}

/// x + bias below -lambda, x - bias above lambda, 0 between.
fn shrink(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    if !matches!(x.kind(), Some(Kind::F64 | Kind::F32)) {
        return unsupported("a Shrink of integers");
    }
    let (bias, lambda) = (
        attribute(node, "bias", 0.0, x, builder)?,
        attribute(node, "lambd", 0.5, x, builder)?,
    );
    let (zero, minus) = (
        number(0.0, x, builder)?,
        broadcast(Op::Neg, &[&lambda], builder)?,
    );
    let (up, down) = (
        broadcast(Op::Add, &[x, &bias], builder)?,
        broadcast(Op::Sub, &[x, &bias], builder)?,
    );
    let above = broadcast(Op::Less, &[&lambda, x], builder)?;
    let inner = broadcast(Op::Where, &[&above, &down, &zero], builder)?;
    let below = broadcast(Op::Less, &[x, &minus], builder)?;
    Ok(vec![broadcast(Op::Where, &[&below, &up, &inner], builder)?])
}

/// `yes` where x is below zero, `no` elsewhere.
fn below_zero(x: &Value, yes: &Value, no: &Value, builder: &mut Builder) -> Result<Value> {
    let zero = number(0.0, x, builder)?;
    let negative = broadcast(Op::Less, &[x, &zero], builder)?;
    broadcast(Op::Where, &[&negative, yes, no], builder)
}

fn attribute(
    node: &Node,
    name: &str,
    default: f32,
    like: &Value,
    builder: &mut Builder,
) -> Result<Value> {
    number(
        f64::from(node.float(name).unwrap_or(default)),
        like,
        builder,
    )
}

/// Running sums along one dimension.
fn cumulative_sum(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    let axis = match optional_integers(inputs, 1)?.as_deref() {
        Some([axis]) => own_axis(rows, *axis)?,
        _ => return unsupported("a CumSum without an axis"),
    };
    if axis != 0 || rows.dims.len() != 1 {
        return unsupported("a CumSum of more than a matrix");
    }
    let (exclusive, reverse) = (
        node.int("exclusive").unwrap_or(0) != 0,
        node.int("reverse").unwrap_or(0) != 0,
    );
    let mut columns = rows.columns.clone();
    if reverse {
        columns.reverse();
    }
    let mut sums = Vec::with_capacity(columns.len());
    let mut sum = None;
    for column in columns {
        let next = match sum {
            Some(sum) => builder.elementwise(Op::Add, &[sum, column])?,
            None => column,
        };
        match (exclusive, sum) {
            (false, _) => sums.push(next),
            (true, Some(sum)) => sums.push(sum),
            (true, None) => {
                let zero = number(0.0, given(inputs, 0)?, builder)?;
                sums.extend(Block::of(&zero, builder)?.columns);
            }
        }
        sum = Some(next);
    }
    if reverse {
        sums.reverse();
    }
    Ok(vec![Value::matrix(rows.kind, sums, builder)?])
}
