//! Tests, comparisons, logic and choice.

use super::arithmetic::{binary, broadcast, unary};
use super::value::given;
use super::{Entry, Value};
use crate::error::Result;
use crate::kernels::elementwise::Op;
use crate::onnx::Node;
use crate::program::Builder;

pub const OPERATORS: &[Entry] = &[
    ("", "IsNaN", |_, inputs, builder| {
        unary(Op::IsNan, inputs, builder)
    }),
    ("", "IsInf", is_inf),
    ("", "Equal", |_, inputs, builder| {
        binary(Op::Equal, inputs, builder)
    }),
    ("", "Less", |_, inputs, builder| {
        binary(Op::Less, inputs, builder)
    }),
    ("", "LessOrEqual", |_, inputs, builder| {
        binary(Op::LessOrEqual, inputs, builder)
    }),
    ("", "Greater", |_, inputs, builder| {
        swapped(Op::Less, inputs, builder)
    }),
    ("", "GreaterOrEqual", |_, inputs, builder| {
        swapped(Op::LessOrEqual, inputs, builder)
    }),
    ("", "Not", |_, inputs, builder| {
        unary(Op::Not, inputs, builder)
    }),
    ("", "And", |_, inputs, builder| {
        binary(Op::And, inputs, builder)
    }),
    ("", "Or", |_, inputs, builder| {
        binary(Op::Or, inputs, builder)
    }),
    ("", "Xor", |_, inputs, builder| {
        binary(Op::Xor, inputs, builder)
    }),
    ("", "Where", choose),
];

fn is_inf(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let wanted = |name| node.int(name).unwrap_or(1) != 0;
    let op = match (wanted("detect_positive"), wanted("detect_negative")) {
        (true, false) => Op::IsPositiveInf,
        (false, true) => Op::IsNegativeInf,
        _ => Op::IsInf,
    };
    unary(op, inputs, builder)
}

fn swapped(op: Op, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    Ok(vec![broadcast(
        op,
        &[given(inputs, 1)?, given(inputs, 0)?],
        builder,
    )?])
}

fn choose(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    Ok(vec![broadcast(
        Op::Where,
        &[given(inputs, 0)?, given(inputs, 1)?, given(inputs, 2)?],
        builder,
    )?])
}
