//! Elementwise steps that others can stand for.

use super::{Builder, Operand, Scalar};
use crate::error::Result;
use crate::kernels::elementwise::Op;

impl Builder {
    /// The same with fewer passes over the rows, bit for bit.
    pub(super) fn simpler(&mut self, op: Op, operands: &[Operand]) -> Result<Option<Operand>> {
        match (op, operands) {
            // A limit and an absolute value: one look at the column itself tells it for most chunks.
            (
                Op::Less | Op::LessOrEqual,
                [Operand::Constant(limit @ (Scalar::F64(_) | Scalar::F32(_))), Operand::Slot(size)],
            ) => {
                let Some(of) = self.sizes.get(size).copied() else {
                    return Ok(None);
                };
                let test = match op {
                    Op::Less => Op::SizeExceeds,
                    _ => Op::SizeReaches,
                };
                self.elementwise(test, &[Operand::Constant(*limit), of])
                    .map(Some)
            }
            // Integers know no NaN: an error code that no row gets.
            (
                Op::Mul,
                [_, zero @ Operand::Constant(Scalar::I64(0))]
                | [zero @ Operand::Constant(Scalar::I64(0)), _],
            ) => Ok(Some(*zero)),
            _ => Ok(None),
        }
    }
}
