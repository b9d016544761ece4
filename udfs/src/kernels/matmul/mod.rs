//! Columns times constant weights.
//!
//! Every sum is taken in index order, one fused multiply-add after the other, on every processor: its bits do not
//! depend on the instruction set or on how rows are blocked. It is also the order of OpenBLAS and of onnxruntime, so that
//! even where rounding decides (a whitened collinear column has weights of 4e15) answers are the original's: over the
//! sweep's models, products and sums rounded separately differed by up to 0.07, these by 1e-17. Sums start from +0.0, and
//! adding a product that is 0.0 or -0.0 changes at most the sign of a zero. So a one-hot group is a lookup of the one
//! weight that counts, with the value of the dense sum.
//!
//! float32 columns are widened: their products are exact in double, and one rounding at the end is closer to the true
//! sum than any order of float32 additions.

mod dense;
mod tile;

use super::elementwise::Op;
use super::real::{put, put_uniform};
use crate::error::Result;
use crate::isa::Isa;
use crate::program::{Column, Frame, Kernel, Kind, Operand, Scratch, Slot};
use tile::Finish;

pub use dense::{gather_tile, Weights};
pub use tile::ROWS as TILE_ROWS;

/// A run of the product's inputs.
pub enum Part {
    /// As many columns as the weights have inputs.
    Dense(Weights),
    /// One column of numbers (I64): which row of the weights is added. By output, then by row; row 0 is zeros.
    Rows(Vec<Vec<f64>>),
}

/// Sums of the parts in order, then the bias.
pub struct MatMul {
    parts: Vec<Part>,
    /// By output.
    finish: Vec<Finish>,
    /// The parts' columns, in order.
    inputs: Vec<Operand>,
    outputs: Vec<(Slot, Kind)>,
}

impl MatMul {
    /// `bias` is empty or one per output. Output kinds are F64 or F32.
    pub fn new(
        parts: Vec<Part>,
        bias: Vec<f64>,
        inputs: Vec<Operand>,
        outputs: Vec<(Slot, Kind)>,
    ) -> MatMul {
        let bias = bias.into_iter().chain(std::iter::repeat(Finish::NONE.bias));
        let finish = outputs.iter().zip(bias).map(|(_, bias)| Finish {
            bias,
            ..Finish::NONE
        });
        MatMul {
            parts,
            finish: finish.collect(),
            inputs,
            outputs,
        }
    }

    fn sum(
        &self,
        isa: Isa,
        columns: &[Column<'_>],
        rows: usize,
        sums: &mut [Vec<f64>],
        packed: &mut dense::Packed,
    ) {
        // A dense part at either end starts and finishes the sums while it holds them in registers.
        let dense = |part: Option<&Part>| matches!(part, Some(Part::Dense(weights)) if weights.inputs() > 0);
        let (starts, finishes) = (dense(self.parts.first()), dense(self.parts.last()));
        if !starts {
            sums.iter_mut().for_each(|sums| sums.fill(0.0));
        }
        let mut rest = columns;
        for (index, part) in self.parts.iter().enumerate() {
            let width = match part {
                Part::Dense(weights) => weights.inputs(),
                Part::Rows(_) => 1,
            };
            let (columns, after) = rest.split_at(width.min(rest.len()));
            rest = after;
            match (part, columns) {
                (Part::Dense(weights), columns) => {
                    let last = finishes && index + 1 == self.parts.len();
                    let part = tile::Part {
                        first: starts && index == 0,
                        finish: if last { &self.finish } else { &[] },
                    };
                    dense::add_product(isa, columns, weights, part, rows, sums, packed)
                }
                (Part::Rows(tables), [column]) => add_rows(column, tables, sums),
                (Part::Rows(_), _) => {}
            }
        }
        if !finishes {
            for (sums, finish) in sums.iter_mut().zip(&self.finish) {
                sums.iter_mut().for_each(|sum| *sum = finish.of(*sum));
            }
        }
    }
}

fn add_rows(column: &Column<'_>, tables: &[Vec<f64>], sums: &mut [Vec<f64>]) {
    let weight = |table: &[f64], place: i64| {
        usize::try_from(place)
            .ok()
            .and_then(|at| table.get(at))
            .copied()
    };
    for (sums, table) in sums.iter_mut().zip(tables) {
        match column {
            Column::I64(places) => {
                for (sum, place) in sums.iter_mut().zip(*places) {
                    *sum += weight(table, *place).unwrap_or_default();
                }
            }
            Column::Uniform(crate::program::Scalar::I64(place)) => {
                let weight = weight(table, *place).unwrap_or_default();
                sums.iter_mut().for_each(|sum| *sum += weight);
            }
            _ => {}
        }
    }
}

impl Kernel for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let rows = frame.rows();
        let mut sums: Vec<Vec<f64>> = self.outputs.iter().map(|_| frame.take::<f64>()).collect();
        let columns: Vec<Column<'_>> = self
            .inputs
            .iter()
            .map(|operand| frame.column(*operand))
            .collect();
        let uniform = columns
            .iter()
            .all(|column| matches!(column, Column::Uniform(_)));
        let rows = if uniform { rows.min(1) } else { rows };
        if uniform {
            sums.iter_mut().for_each(|sums| sums.truncate(1));
        }
        self.sum(Isa::current(), &columns, rows, &mut sums, scratch.get());
        for (output, sums) in self.outputs.iter().zip(sums) {
            if uniform {
                let value = sums.first().copied().unwrap_or_default();
                frame.give_back(sums);
                put_uniform(frame, *output, value);
            } else {
                put(frame, *output, sums);
            }
        }
        Ok(())
    }

    /// A bias, then a ReLU: in double, where no rounding lies between.
    fn absorb(&mut self, output: Slot, op: Op, operands: &[Operand], made: Slot) -> bool {
        let Some(place) = self.outputs.iter().position(|(slot, _)| *slot == output) else {
            return false;
        };
        let (slot, kind) = &mut self.outputs[place];
        let finish = &mut self.finish[place];
        if *kind != Kind::F64 || finish.floor != Finish::NONE.floor {
            return false;
        }
        let constant = operands.iter().find_map(|operand| match operand {
            Operand::Constant(value) => value.double(),
            Operand::Slot(_) => None,
        });
        match (op, constant) {
            (Op::Relu, None) => finish.floor = 0.0,
            (Op::Add, Some(bias)) if finish.bias.to_bits() == Finish::NONE.bias.to_bits() => {
                finish.bias = bias;
            }
            _ => return false,
        }
        *slot = made;
        true
    }

    fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            Part::Dense(weights) => weights.bytes(),
            Part::Rows(tables) => tables
                .iter()
                .map(|table| table.len() * size_of::<f64>())
                .sum(),
        });
        parts.sum::<usize>() + self.inputs.len() * size_of::<Operand>()
    }
}

#[cfg(test)]
mod tests;
