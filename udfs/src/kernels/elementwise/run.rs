//! Elementwise operators over columns.

use super::functions::{visit, Visitor};
use super::Op;
use crate::error::{Error, Result};
use crate::isa::Isa;
use crate::program::{Arm, Buffered, Element, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot};

pub(super) struct Elementwise {
    pub op: Op,
    pub inputs: Vec<Operand>,
    pub outputs: [(Slot, Kind); 1],
}

impl Kernel for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        let Some(last) = self.inputs.last() else {
            return Err(Error::Failed(format!("internal: {:?} of nothing", self.op)));
        };
        if self.is_false_everywhere(*last, frame) {
            frame.put_uniform(self.outputs[0].0, Scalar::Bool(false));
            return Ok(());
        }
        let kind = frame.column(*last).kind();
        visit(
            self.op,
            kind,
            Run {
                inputs: &self.inputs,
                slot: self.outputs[0].0,
                frame,
            },
        )?
    }

    fn elementwise(&self) -> Option<Op> {
        Some(self.op)
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>()
    }
}

impl Elementwise {
    /// Whether one look at the column tells that no row passes a test: what checks of a model's inputs nearly always find.
    /// Everything that depends on them then is one value for the whole chunk.
    fn is_false_everywhere(&self, column: Operand, frame: &mut Frame<'_>) -> bool {
        let limit = match self.inputs.first() {
            Some(Operand::Constant(limit)) => limit.double(),
            _ => None,
        };
        match (self.op, limit) {
            (Op::IsNan | Op::IsInf | Op::IsPositiveInf | Op::IsNegativeInf, _) => {
                frame.extent(column).finite
            }
            // NaN is in no extent, and neither reaches nor exceeds anything.
            (Op::SizeReaches, Some(limit)) => frame.extent(column).largest < limit,
            (Op::SizeExceeds, Some(limit)) => frame.extent(column).largest <= limit,
            _ => false,
        }
    }
}

struct Run<'a, 'f> {
    inputs: &'a [Operand],
    slot: Slot,
    frame: &'a mut Frame<'f>,
}

impl Visitor for Run<'_, '_> {
    type Out = Result<()>;

    fn one<T: Element, U: Buffered>(self, f: impl Fn(T) -> U + Copy) -> Result<()> {
        let [one] = self.inputs else {
            return Err(Error::Failed("internal: one operand expected".into()));
        };
        let mut out = self.frame.take::<U>();
        match self.frame.read::<T>(*one)? {
            Arm::One(x) => {
                self.frame.give_back(out);
                self.frame.put_uniform(self.slot, f(x).scalar());
            }
            Arm::Many(xs) => {
                of_one(Isa::current(), &mut out, xs, f);
                self.frame.put(self.slot, out);
            }
        }
        Ok(())
    }

    fn two<T: Element, U: Buffered>(self, f: impl Fn(T, T) -> U + Copy) -> Result<()> {
        let [one, two] = self.inputs else {
            return Err(Error::Failed("internal: two operands expected".into()));
        };
        let isa = Isa::current();
        let mut out = self.frame.take::<U>();
        match (self.frame.read::<T>(*one)?, self.frame.read::<T>(*two)?) {
            (Arm::One(x), Arm::One(y)) => {
                self.frame.give_back(out);
                self.frame.put_uniform(self.slot, f(x, y).scalar());
                return Ok(());
            }
            (Arm::Many(xs), Arm::One(y)) => of_one(isa, &mut out, xs, move |x| f(x, y)),
            (Arm::One(x), Arm::Many(ys)) => of_one(isa, &mut out, ys, move |y| f(x, y)),
            (Arm::Many(xs), Arm::Many(ys)) => of_two(isa, &mut out, xs, ys, f),
        }
        self.frame.put(self.slot, out);
        Ok(())
    }

    fn choose<T: Buffered>(self) -> Result<()> {
        let [condition, one, two] = self.inputs else {
            return Err(Error::Failed("internal: three operands expected".into()));
        };
        if let Arm::One(first) = self.frame.read::<bool>(*condition)? {
            let chosen = if first { *one } else { *two };
            self.frame.put_same(self.slot, chosen);
            return Ok(());
        }
        let isa = Isa::current();
        let mut out = self.frame.take::<T>();
        let (one, two) = (self.frame.read::<T>(*one)?, self.frame.read::<T>(*two)?);
        if let Arm::Many(conditions) = self.frame.read::<bool>(*condition)? {
            match (one, two) {
                (Arm::One(x), Arm::One(y)) => {
                    of_one(isa, &mut out, conditions, move |c| if c { x } else { y })
                }
                (Arm::Many(xs), Arm::One(y)) => of_pair(
                    isa,
                    &mut out,
                    conditions,
                    xs,
                    move |c, x| if c { x } else { y },
                ),
                (Arm::One(x), Arm::Many(ys)) => of_pair(
                    isa,
                    &mut out,
                    conditions,
                    ys,
                    move |c, y| if c { x } else { y },
                ),
                (Arm::Many(xs), Arm::Many(ys)) => of_three(isa, &mut out, conditions, xs, ys),
            }
        }
        self.frame.put(self.slot, out);
        Ok(())
    }
}

for_each_isa! {
    fn of_one<T: Copy, U: Copy, F: Fn(T) -> U>(out: &mut [U], xs: &[T], f: F) {
        for (out, x) in out.iter_mut().zip(xs) {
            *out = f(*x);
        }
    }
}

for_each_isa! {
    fn of_two<T: Copy, U: Copy, F: Fn(T, T) -> U>(out: &mut [U], xs: &[T], ys: &[T], f: F) {
        for ((out, x), y) in out.iter_mut().zip(xs).zip(ys) {
            *out = f(*x, *y);
        }
    }
}

for_each_isa! {
    fn of_pair<T: Copy, F: Fn(bool, T) -> T>(out: &mut [T], conditions: &[bool], xs: &[T], f: F) {
        for ((out, condition), x) in out.iter_mut().zip(conditions).zip(xs) {
            *out = f(*condition, *x);
        }
    }
}

for_each_isa! {
    fn of_three<T: Copy>(out: &mut [T], conditions: &[bool], xs: &[T], ys: &[T]) {
        for (((out, condition), x), y) in out.iter_mut().zip(conditions).zip(xs).zip(ys) {
            *out = if *condition { *x } else { *y };
        }
    }
}
