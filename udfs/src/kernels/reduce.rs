//! One value per row from several columns.

use super::math;
use super::real::{arms, put, put_uniform, uniform, Real};
use crate::error::Result;
use crate::isa::Isa;
use crate::program::{Arm, Element, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

/// Reduces columns of one kind, in column order. Without columns: the neutral element, as in ONNX.
///
/// Min and Max of floating-point numbers give NaN where a value is NaN, as numpy's do.
pub struct Reduce {
    how: Reduction,
    inputs: Vec<Operand>,
    outputs: [(Slot, Kind); 1],
}

impl Reduce {
    /// `kind` is the inputs' kind too: F64, F32 or I64 (for which only Max, Min, Prod, Sum, L1 and SumSquare exist).
    pub fn new(how: Reduction, inputs: Vec<Operand>, slot: Slot, kind: Kind) -> Reduce {
        Reduce {
            how,
            inputs,
            outputs: [(slot, kind)],
        }
    }

    /// The reduction of constants of one kind; None for kinds without one.
    pub fn of_constants(how: Reduction, kind: Kind, values: &[Scalar]) -> Option<Scalar> {
        match kind {
            Kind::F64 | Kind::F32 => {
                let columns: Option<Vec<_>> = values
                    .iter()
                    .map(|value| value.double().map(Arm::One))
                    .collect();
                let mut out = [0.0];
                reduce(Isa::current(), how, &columns?, &mut out);
                Some(match kind {
                    Kind::F32 => Scalar::F32(out[0] as f32),
                    _ => Scalar::F64(out[0]),
                })
            }
            Kind::I64 => {
                let columns: Option<Vec<_>> = values
                    .iter()
                    .map(|value| i64::of(*value).map(Arm::One))
                    .collect();
                let mut out = [0];
                reduce_integers(Isa::current(), how, &columns?, &mut out);
                Some(Scalar::I64(out[0]))
            }
            Kind::Bool | Kind::Code => None,
        }
    }

    fn floating<T: Real>(&self, frame: &mut Frame<'_>) -> Result<()> {
        let [output] = self.outputs;
        let mut out = frame.take::<f64>();
        let columns = arms::<T>(frame, &self.inputs)?;
        if uniform(&columns).is_some() {
            let mut value = [0.0];
            reduce(Isa::current(), self.how, &columns, &mut value);
            frame.give_back(out);
            put_uniform(frame, output, value[0]);
        } else {
            reduce(Isa::current(), self.how, &columns, &mut out);
            put(frame, output, out);
        }
        Ok(())
    }

    fn integers(&self, frame: &mut Frame<'_>) -> Result<()> {
        let [(slot, _)] = self.outputs;
        let mut out = frame.take::<i64>();
        let columns = arms::<i64>(frame, &self.inputs)?;
        if uniform(&columns).is_some() {
            let mut value = [0];
            reduce_integers(Isa::current(), self.how, &columns, &mut value);
            frame.give_back(out);
            frame.put_uniform(slot, value[0].scalar());
        } else {
            reduce_integers(Isa::current(), self.how, &columns, &mut out);
            frame.put(slot, out);
        }
        Ok(())
    }
}

impl Kernel for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        match self.outputs[0].1 {
            Kind::F32 => self.floating::<f32>(frame),
            Kind::I64 => self.integers(frame),
            _ => self.floating::<f64>(frame),
        }
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>()
    }
}

pub fn reduce<T: Real>(isa: Isa, how: Reduction, columns: &[Arm<'_, T>], out: &mut [f64]) {
    match how {
        Reduction::L1 => fold(isa, columns, out, 0.0, |a: f64, x: T| a + x.wide().abs()),
        Reduction::L2 | Reduction::SumSquare => fold(isa, columns, out, 0.0, |a: f64, x: T| {
            a + x.wide() * x.wide()
        }),
        Reduction::LogSum | Reduction::Mean | Reduction::Sum => {
            fold(isa, columns, out, 0.0, |a: f64, x: T| a + x.wide())
        }
        Reduction::LogSumExp => return log_sum_exp(columns, out),
        Reduction::Max => fold(isa, columns, out, f64::NEG_INFINITY, |a: f64, x: T| {
            maximum(a, x.wide())
        }),
        Reduction::Min => fold(isa, columns, out, f64::INFINITY, |a: f64, x: T| {
            minimum(a, x.wide())
        }),
        Reduction::Prod => fold(isa, columns, out, 1.0, |a: f64, x: T| a * x.wide()),
    }
    let count = columns.len() as f64;
    match how {
        Reduction::L2 => out.iter_mut().for_each(|value| *value = value.sqrt()),
        Reduction::LogSum => out.iter_mut().for_each(|value| *value = math::log(*value)),
        Reduction::Mean => out.iter_mut().for_each(|value| *value /= count),
        _ => {}
    }
}

/// Sums and products wrap around, as numpy's do.
pub fn reduce_integers(isa: Isa, how: Reduction, columns: &[Arm<'_, i64>], out: &mut [i64]) {
    match how {
        Reduction::Max => fold(isa, columns, out, i64::MIN, |a: i64, x: i64| a.max(x)),
        Reduction::Min => fold(isa, columns, out, i64::MAX, |a: i64, x: i64| a.min(x)),
        Reduction::Prod => fold(isa, columns, out, 1, |a: i64, x: i64| a.wrapping_mul(x)),
        Reduction::L1 => fold(isa, columns, out, 0, |a: i64, x: i64| {
            a.wrapping_add(x.wrapping_abs())
        }),
        Reduction::SumSquare => fold(isa, columns, out, 0, |a: i64, x: i64| {
            a.wrapping_add(x.wrapping_mul(x))
        }),
        _ => fold(isa, columns, out, 0, |a: i64, x: i64| a.wrapping_add(x)),
    }
}

/// numpy's maximum: NaN if either is.
#[inline(always)]
fn maximum(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() {
        a
    } else {
        b
    }
}

/// numpy's minimum: NaN if either is.
#[inline(always)]
fn minimum(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() {
        a
    } else {
        b
    }
}

/// Any function of two values.
pub trait Combine<A, T>: Fn(A, T) -> A {}
impl<A, T, F: Fn(A, T) -> A> Combine<A, T> for F {}

for_each_isa! {
    fn fold<A: Copy, T: Copy, F: Combine<A, T>>(columns: &[Arm<'_, T>], out: &mut [A], start: A, combine: F) {
        const BLOCK: usize = 512;
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            out.fill(start);
            for column in columns {
                match column {
                    Arm::One(x) => out.iter_mut().for_each(|a| *a = combine(*a, *x)),
                    Arm::Many(values) => {
                        for (a, x) in out.iter_mut().zip(&values[block * BLOCK..]) {
                            *a = combine(*a, *x);
                        }
                    }
                }
            }
        }
    }
}

fn log_sum_exp<T: Real>(columns: &[Arm<'_, T>], out: &mut [f64]) {
    for (row, out) in out.iter_mut().enumerate() {
        let largest = columns.iter().fold(f64::NEG_INFINITY, |a, column| {
            maximum(a, column.at(row).wide())
        });
        // Infinite or NaN: shifting would give inf - inf.
        let shift = if largest.is_finite() { largest } else { 0.0 };
        let sum = columns.iter().fold(0.0, |a, column| {
            a + math::exp(column.at(row).wide() - shift)
        });
        *out = math::log(sum) + shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_row(how: Reduction, row: &[f64]) -> f64 {
        let columns: Vec<Arm<'_, f64>> = row
            .iter()
            .map(|value| Arm::Many(std::slice::from_ref(value)))
            .collect();
        let mut out = [0.0];
        reduce(Isa::current(), how, &columns, &mut out);
        out[0]
    }

    #[test]
    fn ordinary_and_hostile_rows() {
        assert_eq!(on_row(Reduction::Sum, &[1.0, 2.0, 4.0]), 7.0);
        assert_eq!(on_row(Reduction::Mean, &[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(on_row(Reduction::L2, &[3.0, -4.0]), 5.0);
        assert_eq!(on_row(Reduction::Prod, &[3.0, -4.0]), -12.0);
        assert_eq!(on_row(Reduction::Max, &[]), f64::NEG_INFINITY);
        for row in [
            [f64::NAN, 1.0, 2.0],
            [1.0, f64::NAN, 2.0],
            [1.0, 2.0, f64::NAN],
        ] {
            assert!(on_row(Reduction::Max, &row).is_nan() && on_row(Reduction::Min, &row).is_nan());
        }
        assert_eq!(
            on_row(Reduction::LogSumExp, &[1000.0, f64::NEG_INFINITY]),
            1000.0
        );
        assert_eq!(
            on_row(Reduction::LogSumExp, &[f64::INFINITY, 0.0]),
            f64::INFINITY
        );
        assert_eq!(
            on_row(Reduction::LogSumExp, &[f64::NEG_INFINITY; 2]),
            f64::NEG_INFINITY
        );
    }

    #[test]
    fn integers_beyond_two_to_the_31st() {
        let columns = [
            Arm::One(1i64 << 40),
            Arm::Many(&[5_000_000_000, -5_000_000_000]),
        ];
        let mut out = [0, 0];
        reduce_integers(Isa::current(), Reduction::Min, &columns, &mut out);
        assert_eq!(out, [5_000_000_000, -5_000_000_000]);
    }
}
