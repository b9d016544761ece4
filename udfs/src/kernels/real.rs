//! float32 and float64 under one name, and columns of operands.

use crate::error::Result;
use crate::program::{Arm, Buffered, Element, Frame, Kind, Operand, Slot};

/// A floating-point column's value. Everything is computed in double; a float32 result is rounded once, at the end,
/// which is nearer to the true value than any order of float32 steps.
pub trait Real: Buffered {
    fn wide(self) -> f64;
    fn narrow(value: f64) -> Self;
}

impl Real for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn narrow(value: f64) -> f64 {
        value
    }
}

impl Real for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn narrow(value: f64) -> f32 {
        value as f32
    }
}

/// The columns that operands stand for.
pub fn arms<'f, T: Element>(frame: &'f Frame<'_>, operands: &[Operand]) -> Result<Vec<Arm<'f, T>>> {
    operands
        .iter()
        .map(|operand| frame.read::<T>(*operand))
        .collect()
}

/// The values of all columns if every one is uniform.
pub fn uniform<T: Copy>(arms: &[Arm<'_, T>]) -> Option<Vec<T>> {
    let value = |arm: &Arm<'_, T>| match arm {
        Arm::One(value) => Some(*value),
        Arm::Many(_) => None,
    };
    arms.iter().map(value).collect()
}

/// Puts computed doubles into a column of a floating-point kind.
pub fn put(frame: &mut Frame<'_>, (slot, kind): (Slot, Kind), values: Vec<f64>) {
    if kind == Kind::F32 {
        let mut rounded = frame.take::<f32>();
        for (rounded, value) in rounded.iter_mut().zip(&values) {
            *rounded = *value as f32;
        }
        frame.give_back(values);
        frame.put(slot, rounded);
    } else {
        frame.put(slot, values);
    }
}

/// Puts one value for all rows into a column of a floating-point kind.
pub fn put_uniform(frame: &mut Frame<'_>, (slot, kind): (Slot, Kind), value: f64) {
    let scalar = if kind == Kind::F32 {
        (value as f32).scalar()
    } else {
        value.scalar()
    };
    frame.put_uniform(slot, scalar);
}
