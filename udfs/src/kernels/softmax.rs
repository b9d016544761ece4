//! Functions of all columns of a row: softmax and its kin, and scaling to a norm.

use super::math;
use super::real::{arms, put, put_uniform, uniform, Real};
use crate::error::Result;
use crate::isa::Isa;
use crate::program::{Arm, Frame, Kernel, Kind, Operand, Scratch, Slot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFunction {
    Softmax,
    LogSoftmax,
    SoftmaxZero,
    /// Divided by the largest value.
    NormMax,
    /// Divided by the sum of absolute values.
    NormL1,
    /// Divided by the Euclidean norm.
    NormL2,
}

impl RowFunction {
    /// In place.
    fn apply(self, columns: &mut [Vec<f64>], rows: usize) {
        let isa = Isa::current();
        match self {
            RowFunction::Softmax => softmax(isa, columns, rows),
            RowFunction::LogSoftmax => log_softmax(isa, columns, rows),
            RowFunction::SoftmaxZero => softmax_zero(columns, rows),
            RowFunction::NormMax => normalize(
                columns,
                rows,
                f64::MIN,
                |a, x| if x > a { x } else { a },
                |a| a,
            ),
            RowFunction::NormL1 => normalize(columns, rows, 0.0, |a, x| a + x.abs(), |a| a),
            RowFunction::NormL2 => normalize(columns, rows, 0.0, |a, x| a + x * x, f64::sqrt),
        }
    }
}

/// As many columns out as in. Inputs are all of kind F64 or all of F32, outputs too.
pub struct RowWise {
    pub function: RowFunction,
    pub kind: Kind,
    pub inputs: Vec<Operand>,
    pub outputs: Vec<(Slot, Kind)>,
}

impl RowWise {
    fn typed<T: Real>(&self, frame: &mut Frame<'_>) -> Result<()> {
        let mut values: Vec<Vec<f64>> = self.inputs.iter().map(|_| frame.take::<f64>()).collect();
        let columns = arms::<T>(frame, &self.inputs)?;
        let known = uniform(&columns).is_some();
        let rows = if known { 1 } else { frame.rows() };
        for (values, column) in values.iter_mut().zip(&columns) {
            match column {
                Arm::One(x) => values.fill(x.wide()),
                Arm::Many(xs) => values
                    .iter_mut()
                    .zip(*xs)
                    .for_each(|(value, x)| *value = x.wide()),
            }
        }
        self.function.apply(&mut values, rows);
        for (output, values) in self.outputs.iter().zip(values) {
            if known {
                let value = values.first().copied().unwrap_or_default();
                frame.give_back(values);
                put_uniform(frame, *output, value);
            } else {
                put(frame, *output, values);
            }
        }
        Ok(())
    }
}

impl Kernel for RowWise {
    fn name(&self) -> &'static str {
        match self.function {
            RowFunction::Softmax | RowFunction::LogSoftmax | RowFunction::SoftmaxZero => "softmax",
            RowFunction::NormMax | RowFunction::NormL1 | RowFunction::NormL2 => "normalize",
        }
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        match self.kind {
            Kind::F32 => self.typed::<f32>(frame),
            _ => self.typed::<f64>(frame),
        }
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>() + self.outputs.len() * size_of::<(Slot, Kind)>()
    }
}

/// Divides each row by its norm; a norm of 0 leaves the row as it is, as in onnxruntime.
fn normalize(
    columns: &mut [Vec<f64>],
    rows: usize,
    start: f64,
    add: impl Fn(f64, f64) -> f64,
    finish: impl Fn(f64) -> f64,
) {
    for row in 0..rows {
        let norm = finish(
            columns
                .iter()
                .fold(start, |norm, column| add(norm, column[row])),
        );
        if norm != 0.0 {
            columns.iter_mut().for_each(|column| column[row] /= norm);
        }
    }
}

for_each_isa! {
    /// In place: exp(x - max) / sum, the sum in column order. A row with NaN or +inf, or of only -inf, becomes NaN, as in
    /// numpy.
    pub fn softmax(columns: &mut [Vec<f64>], rows: usize) {
        let (mut largest, mut total) = ([0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            shift_by_max(columns, start, end, &mut largest);
            total.fill(0.0);
            for column in columns.iter_mut() {
                for (value, total) in column[start..end].iter_mut().zip(&mut total) {
                    *value = math::exp(*value);
                    *total += *value;
                }
            }
            for column in columns.iter_mut() {
                for (value, total) in column[start..end].iter_mut().zip(&total) {
                    *value /= total;
                }
            }
        }
    }
}

for_each_isa! {
    /// In place: x - max - log(sum of exp(x - max)).
    pub fn log_softmax(columns: &mut [Vec<f64>], rows: usize) {
        let (mut largest, mut total) = ([0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            shift_by_max(columns, start, end, &mut largest);
            total.fill(0.0);
            for column in columns.iter() {
                for (value, total) in column[start..end].iter().zip(&mut total) {
                    *total += math::exp(*value);
                }
            }
            for total in &mut total {
                *total = math::log(*total);
            }
            for column in columns.iter_mut() {
                for (value, total) in column[start..end].iter_mut().zip(&total) {
                    *value -= total;
                }
            }
        }
    }
}

/// Rows at a time: what is between the passes stays in the first-level cache.
const BLOCK: usize = 256;

#[inline(always)]
fn shift_by_max(columns: &mut [Vec<f64>], start: usize, end: usize, largest: &mut [f64; BLOCK]) {
    largest.fill(f64::NEG_INFINITY);
    for column in columns.iter() {
        for (value, largest) in column[start..end].iter().zip(largest.iter_mut()) {
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
    for column in columns.iter_mut() {
        for (value, largest) in column[start..end].iter_mut().zip(largest.iter()) {
            *value -= largest;
        }
    }
}

/// ONNX ML's SOFTMAX_ZERO as onnxruntime computes it: values within 1e-7 of zero are left out of the sum, and become
/// value * exp(-max) instead of exp(value - max).
pub fn softmax_zero(columns: &mut [Vec<f64>], rows: usize) {
    const ZERO: f64 = 0.000_000_1;
    for row in 0..rows {
        let largest = columns.iter().fold(f64::NEG_INFINITY, |largest, column| {
            if column[row] > largest {
                column[row]
            } else {
                largest
            }
        });
        let mut total = 0.0;
        for column in columns.iter_mut() {
            let value = &mut column[row];
            if *value > ZERO || *value < -ZERO {
                *value = math::exp(*value - largest);
                total += *value;
            } else {
                *value *= math::exp(-largest);
            }
        }
        for column in columns.iter_mut() {
            column[row] /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_row(function: RowFunction, row: &[f64]) -> Vec<f64> {
        let mut columns: Vec<Vec<f64>> = row.iter().map(|value| vec![*value]).collect();
        function.apply(&mut columns, 1);
        columns.iter().map(|column| column[0]).collect()
    }

    #[test]
    fn softmax_of_large_and_infinite_values() {
        let softmax = |row: &[f64]| on_row(RowFunction::Softmax, row);
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(softmax(&[f64::NEG_INFINITY, 3.0]), [0.0, 1.0]);
        assert!(softmax(&[f64::INFINITY, 3.0])[0].is_nan());
        assert!(softmax(&[f64::NAN, 3.0]).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn log_softmax_keeps_what_softmax_loses() {
        assert_eq!(
            on_row(RowFunction::LogSoftmax, &[0.0, -800.0]),
            [0.0, -800.0]
        );
    }

    #[test]
    fn softmax_zero_leaves_zeros_out() {
        assert_eq!(
            on_row(RowFunction::SoftmaxZero, &[0.0, 1.0, 1.0]),
            [0.0, 0.5, 0.5]
        );
    }

    #[test]
    fn norms() {
        assert_eq!(on_row(RowFunction::NormL2, &[3.0, -4.0]), [0.6, -0.8]);
        assert_eq!(on_row(RowFunction::NormL1, &[3.0, -1.0]), [0.75, -0.25]);
        assert_eq!(on_row(RowFunction::NormMax, &[-4.0, 2.0]), [-2.0, 1.0]);
        assert_eq!(on_row(RowFunction::NormL2, &[0.0, 0.0]), [0.0, 0.0]);
    }
}
