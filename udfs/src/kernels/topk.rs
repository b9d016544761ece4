//! Places of extreme values: ArgMax, ArgMin, TopK.

use super::real::{arms, uniform};
use crate::error::Result;
use crate::program::{Arm, Buffered, Element, Frame, Kernel, Kind, Operand, Scratch, Slot};
use std::cmp::Ordering;

/// Values that have an order, NaN beyond all of them: numpy's order.
pub trait Ranked: Buffered + PartialOrd {
    fn order(self, other: Self) -> Ordering;
}

impl Ranked for f64 {
    #[inline(always)]
    fn order(self, other: f64) -> Ordering {
        self.partial_cmp(&other)
            .unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

impl Ranked for f32 {
    #[inline(always)]
    fn order(self, other: f32) -> Ordering {
        self.partial_cmp(&other)
            .unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

impl Ranked for i64 {
    #[inline(always)]
    fn order(self, other: i64) -> Ordering {
        self.cmp(&other)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nan {
    /// A NaN is beyond all numbers: numpy's argmax and argmin.
    Wins,
    /// A NaN beats nothing, and what comes first is beaten by nothing if it is NaN: plain comparisons.
    Skipped,
}

/// The place of each row's largest (or smallest) value.
pub struct ArgExtreme {
    pub largest: bool,
    pub nan: Nan,
    /// Of equal values the last one's place, not the first one's.
    pub last: bool,
    pub kind: Kind,
    pub inputs: Vec<Operand>,
    pub outputs: [(Slot, Kind); 1],
}

impl ArgExtreme {
    fn typed<T: Ranked>(&self, frame: &mut Frame<'_>) -> Result<()> {
        let mut out = frame.take::<i64>();
        let columns = arms::<T>(frame, &self.inputs)?;
        let known = uniform(&columns).is_some();
        let rows = if known { out.len().min(1) } else { out.len() };
        let mut best = vec![T::default(); rows];
        arg_extreme(
            &columns,
            (self.largest, self.last, self.nan),
            &mut best,
            &mut out[..rows],
        );
        let first = out.first().copied().unwrap_or_default();
        if known {
            frame.give_back(out);
            frame.put_uniform(self.outputs[0].0, first.scalar());
        } else {
            frame.put(self.outputs[0].0, out);
        }
        Ok(())
    }
}

impl Kernel for ArgExtreme {
    fn name(&self) -> &'static str {
        "argmax"
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
            Kind::I64 => self.typed::<i64>(frame),
            _ => self.typed::<f64>(frame),
        }
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>()
    }
}

fn arg_extreme<T: Ranked>(
    columns: &[Arm<'_, T>],
    (largest, last, with_nan): (bool, bool, Nan),
    best: &mut [T],
    out: &mut [i64],
) {
    out.fill(0);
    let Some((first, rest)) = columns.split_first() else {
        return;
    };
    for (row, best) in best.iter_mut().enumerate() {
        *best = first.at(row);
    }
    for (place, column) in (1i64..).zip(rest) {
        let step = |x: T, best: &mut T, out: &mut i64| {
            let order = x.order(*best);
            let beyond = match (with_nan, largest) {
                (Nan::Skipped, true) => x > *best,
                (Nan::Skipped, false) => x < *best,
                (Nan::Wins, true) => order.is_gt(),
                // NaN is beyond the smallest as well.
                (Nan::Wins, false) => order.is_lt() != (nan(x) != nan(*best)),
            };
            let take = beyond || (last && order.is_eq());
            *best = if take { x } else { *best };
            *out = if take { place } else { *out };
        };
        match column {
            Arm::One(x) => best
                .iter_mut()
                .zip(out.iter_mut())
                .for_each(|(best, out)| step(*x, best, out)),
            Arm::Many(values) => {
                for ((x, best), out) in values.iter().zip(best.iter_mut()).zip(out.iter_mut()) {
                    step(*x, best, out);
                }
            }
        }
    }
}

#[inline(always)]
fn nan<T: Ranked>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// The first k of each row's values in order, and their places; of equals the earlier place first, as ONNX asks.
pub struct TopK {
    pub largest: bool,
    pub kind: Kind,
    pub inputs: Vec<Operand>,
    /// k values, then k places.
    pub outputs: Vec<(Slot, Kind)>,
}

impl TopK {
    fn typed<T: Ranked>(&self, frame: &mut Frame<'_>) -> Result<()> {
        let k = self.outputs.len() / 2;
        let mut values: Vec<Vec<T>> = (0..k).map(|_| frame.take::<T>()).collect();
        let mut places: Vec<Vec<i64>> = (0..k).map(|_| frame.take::<i64>()).collect();
        let rows = frame.rows();
        let columns = arms::<T>(frame, &self.inputs)?;
        let mut kept: Vec<(T, i64)> = Vec::with_capacity(k + 1);
        for row in 0..rows {
            top(&columns, row, k, self.largest, &mut kept);
            for (rank, (value, place)) in kept.iter().enumerate() {
                values[rank][row] = *value;
                places[rank][row] = *place;
            }
        }
        drop(columns);
        for ((slot, _), values) in self.outputs.iter().zip(values) {
            frame.put(*slot, values);
        }
        for ((slot, _), places) in self.outputs[k..].iter().zip(places) {
            frame.put(*slot, places);
        }
        Ok(())
    }
}

impl Kernel for TopK {
    fn name(&self) -> &'static str {
        "topk"
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
            Kind::I64 => self.typed::<i64>(frame),
            _ => self.typed::<f64>(frame),
        }
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>()
    }
}

/// Insertion into a short sorted list: k is small beside the number of columns, and most values end at one comparison.
fn top<T: Ranked>(
    columns: &[Arm<'_, T>],
    row: usize,
    k: usize,
    largest: bool,
    kept: &mut Vec<(T, i64)>,
) {
    kept.clear();
    for (place, column) in (0i64..).zip(columns) {
        let x = column.at(row);
        let before = |other: T| {
            if largest {
                x.order(other).is_gt()
            } else {
                x.order(other).is_lt()
            }
        };
        if kept.len() == k && !kept.last().is_some_and(|(other, _)| before(*other)) {
            continue;
        }
        let at = kept.partition_point(|(other, _)| !before(*other));
        kept.truncate(k.saturating_sub(1).max(at));
        kept.insert(at, (x, place));
        kept.truncate(k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(row: &[f64]) -> Vec<Arm<'_, f64>> {
        row.iter()
            .map(|value| Arm::Many(std::slice::from_ref(value)))
            .collect()
    }

    fn arg(row: &[f64], largest: bool, last: bool) -> i64 {
        let mut out = [0];
        arg_extreme(
            &columns(row),
            (largest, last, Nan::Wins),
            &mut [0.0],
            &mut out,
        );
        out[0]
    }

    #[test]
    fn places_of_ties_and_nan() {
        assert_eq!(arg(&[1.0, 3.0, 3.0], true, false), 1);
        assert_eq!(arg(&[1.0, 3.0, 3.0], true, true), 2);
        assert_eq!(arg(&[3.0, 1.0, 1.0], false, false), 1);
        assert_eq!(arg(&[1.0, f64::NAN, 3.0, f64::NAN], true, false), 1);
        assert_eq!(arg(&[1.0, f64::NAN, 3.0, f64::NAN], false, false), 1);
        assert_eq!(arg(&[1.0, f64::NAN, 3.0, f64::NAN], false, true), 3);
        assert_eq!(arg(&[-0.0, 0.0], true, false), 0);
    }

    #[test]
    fn the_first_k_in_order() {
        let row = [3.0, 1.0, 2.0, 1.0, f64::NAN];
        let mut kept = Vec::new();
        top(&columns(&row), 0, 3, false, &mut kept);
        assert_eq!(kept, [(1.0, 1), (1.0, 3), (2.0, 2)]);
        top(&columns(&row), 0, 2, true, &mut kept);
        assert!(kept[0].0.is_nan() && kept[1] == (3.0, 0));
        top(&columns(&row), 0, 0, true, &mut kept);
        assert!(kept.is_empty());
    }
}
