//! Elementwise operators on numbers, with ONNX's broadcasting.

use super::value::{given, Block};
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar};

pub const OPERATORS: &[Entry] = &[
    ("", "Neg", |_, inputs, builder| {
        unary(Op::Neg, inputs, builder)
    }),
    ("", "Abs", |_, inputs, builder| {
        unary(Op::Abs, inputs, builder)
    }),
    ("", "Sign", |_, inputs, builder| {
        unary(Op::Sign, inputs, builder)
    }),
    ("", "Floor", |_, inputs, builder| {
        unary(Op::Floor, inputs, builder)
    }),
    ("", "Ceil", |_, inputs, builder| {
        unary(Op::Ceil, inputs, builder)
    }),
    ("", "Round", |_, inputs, builder| {
        unary(Op::Round, inputs, builder)
    }),
    ("", "Sqrt", |_, inputs, builder| {
        unary(Op::Sqrt, inputs, builder)
    }),
    ("", "Reciprocal", |_, inputs, builder| {
        unary(Op::Reciprocal, inputs, builder)
    }),
    ("", "Exp", |_, inputs, builder| {
        unary(Op::Exp, inputs, builder)
    }),
    ("", "Log", |_, inputs, builder| {
        unary(Op::Log, inputs, builder)
    }),
    ("", "Sin", |_, inputs, builder| {
        unary(Op::Sin, inputs, builder)
    }),
    ("", "Cos", |_, inputs, builder| {
        unary(Op::Cos, inputs, builder)
    }),
    ("", "Tan", |_, inputs, builder| {
        unary(Op::Tan, inputs, builder)
    }),
    ("", "Asin", |_, inputs, builder| {
        unary(Op::Asin, inputs, builder)
    }),
    ("", "Acos", |_, inputs, builder| {
        unary(Op::Acos, inputs, builder)
    }),
    ("", "Atan", |_, inputs, builder| {
        unary(Op::Atan, inputs, builder)
    }),
    ("", "Sinh", |_, inputs, builder| {
        unary(Op::Sinh, inputs, builder)
    }),
    ("", "Cosh", |_, inputs, builder| {
        unary(Op::Cosh, inputs, builder)
    }),
    ("", "Asinh", |_, inputs, builder| {
        unary(Op::Asinh, inputs, builder)
    }),
    ("", "Acosh", |_, inputs, builder| {
        unary(Op::Acosh, inputs, builder)
    }),
    ("", "Atanh", |_, inputs, builder| {
        unary(Op::Atanh, inputs, builder)
    }),
    ("", "Tanh", |_, inputs, builder| {
        unary(Op::Tanh, inputs, builder)
    }),
    ("", "Sigmoid", |_, inputs, builder| {
        unary(Op::Sigmoid, inputs, builder)
    }),
    ("", "Erf", |_, inputs, builder| {
        unary(Op::Erf, inputs, builder)
    }),
    ("", "Softplus", |_, inputs, builder| {
        unary(Op::Softplus, inputs, builder)
    }),
    ("", "Relu", |_, inputs, builder| {
        unary(Op::Relu, inputs, builder)
    }),
    ("", "Add", |_, inputs, builder| {
        binary(Op::Add, inputs, builder)
    }),
    ("", "Sub", |_, inputs, builder| {
        binary(Op::Sub, inputs, builder)
    }),
    ("", "Mul", |_, inputs, builder| {
        binary(Op::Mul, inputs, builder)
    }),
    ("", "Div", |_, inputs, builder| {
        binary(Op::Div, inputs, builder)
    }),
    ("", "Pow", |_, inputs, builder| power(inputs, builder)),
    ("", "Mod", |node, inputs, builder| {
        binary(
            if node.int("fmod").unwrap_or(0) == 1 {
                Op::Fmod
            } else {
                Op::Mod
            },
            inputs,
            builder,
        )
    }),
    ("", "Min", |_, inputs, builder| {
        fold(Op::Min, inputs, builder)
    }),
    ("", "Max", |_, inputs, builder| {
        fold(Op::Max, inputs, builder)
    }),
    ("", "Sum", |_, inputs, builder| {
        fold(Op::Add, inputs, builder)
    }),
    ("", "Mean", mean),
    ("", "Clip", clip),
    ("", "LeakyRelu", leaky_relu),
    ("", "Elu", elu),
    ("", "Softsign", softsign),
    ("", "HardSigmoid", hard_sigmoid),
];

pub fn unary(op: Op, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    Ok(vec![broadcast(op, &[given(inputs, 0)?], builder)?])
}

pub fn binary(op: Op, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    Ok(vec![broadcast(
        op,
        &[given(inputs, 0)?, given(inputs, 1)?],
        builder,
    )?])
}

/// Any number of inputs, from the left.
fn fold(op: Op, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let mut result = given(inputs, 0)?.clone();
    for index in 1..inputs.len() {
        result = broadcast(op, &[&result, given(inputs, index)?], builder)?;
    }
    Ok(vec![result])
}

fn mean(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let sum = fold(Op::Add, inputs, builder)?;
    let count = number(inputs.len() as f64, given(inputs, 0)?, builder)?;
    binary(Op::Div, &[sum[0].clone(), count], builder)
}

/// A power of another type has its exponent cast; squares are products, which are exact to the last bit.
fn power(inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (base, mut exponent) = (given(inputs, 0)?, given(inputs, 1)?.clone());
    if let Some(kind) = base.kind().filter(|kind| Some(*kind) != exponent.kind()) {
        exponent = broadcast(Op::Cast(kind), &[&exponent], builder)?;
    }
    let squares = exponent
        .tensor()
        .and_then(|tensor| tensor.doubles())
        .is_some_and(|all| all.iter().all(|e| *e == 2.0));
    if squares
        && exponent
            .tensor()
            .is_some_and(|tensor| tensor.data.len() == 1)
    {
        return binary(Op::Mul, &[base.clone(), base.clone()], builder);
    }
    Ok(vec![broadcast(Op::Pow, &[base, &exponent], builder)?])
}

/// Bounds are inputs, or attributes before opset 11.
fn clip(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let mut result = given(inputs, 0)?.clone();
    for (index, name, op) in [(1, "min", Op::Max), (2, "max", Op::Min)] {
        let bound = match (inputs.get(index), node.float(name)) {
            (Some(value), _) if !value.is_absent() => value.clone(),
            (_, Some(bound)) => number(f64::from(bound), &result, builder)?,
            _ => continue,
        };
        result = broadcast(op, &[&result, &bound], builder)?;
    }
    Ok(vec![result])
}

fn leaky_relu(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    let alpha = number(f64::from(node.float("alpha").unwrap_or(0.01)), x, builder)?;
    let (zero, scaled) = (
        number(0.0, x, builder)?,
        broadcast(Op::Mul, &[&alpha, x], builder)?,
    );
    let negative = broadcast(Op::Less, &[x, &zero], builder)?;
    Ok(vec![broadcast(
        Op::Where,
        &[&negative, &scaled, x],
        builder,
    )?])
}

fn elu(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    let alpha = number(f64::from(node.float("alpha").unwrap_or(1.0)), x, builder)?;
    let zero = number(0.0, x, builder)?;
    let below = broadcast(Op::Expm1, &[x], builder)?;
    let scaled = broadcast(Op::Mul, &[&alpha, &below], builder)?;
    let negative = broadcast(Op::Less, &[x, &zero], builder)?;
    Ok(vec![broadcast(
        Op::Where,
        &[&negative, &scaled, x],
        builder,
    )?])
}

fn softsign(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    let (one, size) = (number(1.0, x, builder)?, broadcast(Op::Abs, &[x], builder)?);
    let below = broadcast(Op::Add, &[&one, &size], builder)?;
    Ok(vec![broadcast(Op::Div, &[x, &below], builder)?])
}

fn hard_sigmoid(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let x = given(inputs, 0)?;
    let alpha = number(f64::from(node.float("alpha").unwrap_or(0.2)), x, builder)?;
    let beta = number(f64::from(node.float("beta").unwrap_or(0.5)), x, builder)?;
    let (zero, one) = (number(0.0, x, builder)?, number(1.0, x, builder)?);
    let line = broadcast(Op::Mul, &[&alpha, x], builder)?;
    let line = broadcast(Op::Add, &[&line, &beta], builder)?;
    let line = broadcast(Op::Max, &[&line, &zero], builder)?;
    Ok(vec![broadcast(Op::Min, &[&line, &one], builder)?])
}

/// A constant of another value's kind.
pub fn number(value: f64, like: &Value, builder: &mut Builder) -> Result<Value> {
    let scalar = match like.kind() {
        Some(Kind::F64) => Scalar::F64(value),
        Some(Kind::F32) => Scalar::F32(value as f32),
        Some(Kind::I64) => Scalar::I64(value as i64),
        other => return unsupported(format!("a number beside {other:?}")),
    };
    let columns = vec![Operand::Constant(scalar)];
    Block {
        rows: false,
        kind: scalar.kind(),
        dims: vec![],
        columns,
    }
    .value(builder)
}

/// An elementwise operator over values of shapes that fit.
pub fn broadcast(op: Op, values: &[&Value], builder: &mut Builder) -> Result<Value> {
    let blocks = values
        .iter()
        .map(|value| Block::of(value, builder))
        .collect::<Result<Vec<_>>>()?;
    let rows = blocks.iter().any(|block| block.rows);
    let rank = blocks.iter().map(Block::rank).max().unwrap_or_default();
    let width = rank - usize::from(rows);
    let mut dims = vec![1usize; width];
    let mut shapes = Vec::new();
    for block in &blocks {
        let shape = fit(block, rows, rank)?;
        for (dim, own) in dims.iter_mut().zip(&shape) {
            match (*dim, *own) {
                (1, own) => *dim = own,
                (dim, own) if dim == own || own == 1 => {}
                _ => {
                    return unsupported(format!(
                        "{op:?} of shapes that do not fit: {dims:?} and {shape:?}"
                    ))
                }
            }
        }
        shapes.push(shape);
    }
    let Some(count) = crate::onnx::volume(&dims) else {
        return unsupported("a tensor larger than memory");
    };
    builder.spend(count.saturating_mul(size_of::<Operand>()))?;
    let mut columns = Vec::with_capacity(count);
    let mut operands = Vec::with_capacity(blocks.len());
    let mut kind = None;
    for position in 0..count {
        operands.clear();
        for (block, shape) in blocks.iter().zip(&shapes) {
            let Some(operand) = block.columns.get(offset(position, &dims, shape)) else {
                return unsupported("internal: a shape larger than its columns");
            };
            operands.push(*operand);
        }
        let made = builder.elementwise(op, &operands)?;
        kind = Some(builder.kind(made));
        columns.push(made);
    }
    let kind = match kind {
        Some(kind) => kind,
        None => {
            let kinds: Vec<Kind> = blocks.iter().map(|block| block.kind).collect();
            crate::kernels::elementwise::result(op, &kinds)?
        }
    };
    Block {
        rows,
        kind,
        dims,
        columns,
    }
    .value(builder)
}

/// The block's dimensions after the rows, with ones in front up to the common rank.
fn fit(block: &Block, rows: bool, rank: usize) -> Result<Vec<usize>> {
    let width = rank - usize::from(rows);
    let own = match (rows, block.rows, block.rank() == rank) {
        (true, false, true) => match block.dims.split_first() {
            Some((1, rest)) => rest,
            _ => return unsupported(format!("a constant of shape {:?} beside rows", block.dims)),
        },
        (true, true, false) => return unsupported("rows of different ranks"),
        _ => &block.dims,
    };
    let mut shape = vec![1; width - own.len()];
    shape.extend_from_slice(own);
    Ok(shape)
}

/// Where a position of the result reads from in a block of the given shape.
fn offset(position: usize, dims: &[usize], shape: &[usize]) -> usize {
    let (mut rest, mut stride, mut at) = (position, 1, 0);
    for (dim, own) in dims.iter().zip(shape).rev() {
        if *own != 1 {
            at += rest % dim * stride;
        }
        rest /= dim;
        stride *= own;
    }
    at
}
