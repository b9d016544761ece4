//! Casts between kinds of numbers.

use super::arithmetic::broadcast;
use super::value::given;
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::onnx::Node;
use crate::program::{Builder, Kind};

pub const OPERATORS: &[Entry] = &[("", "Cast", cast), ("", "CastLike", cast_like)];

fn cast(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let op = match node.int("to") {
        Some(1) => Op::Cast(Kind::F32),
        Some(6) => Op::CastInt32,
        Some(7) => Op::Cast(Kind::I64),
        Some(8) => Op::Cast(Kind::Code),
        Some(9) => Op::Cast(Kind::Bool),
        Some(11) => Op::Cast(Kind::F64),
        Some(to) => return unsupported(format!("a cast to ONNX's type {to}")),
        None => return unsupported("a cast to nothing"),
    };
    to(op, given(inputs, 0)?, builder)
}

fn cast_like(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    match given(inputs, 1)?.kind() {
        Some(kind) => to(Op::Cast(kind), given(inputs, 0)?, builder),
        None => unsupported("a cast to nothing"),
    }
}

fn to(op: Op, value: &Value, builder: &mut Builder) -> Result<Vec<Value>> {
    if value.kind().map(Op::Cast) == Some(op) {
        return Ok(vec![value.clone()]);
    }
    Ok(vec![broadcast(op, &[value], builder)?])
}
