//! The columns of one chunk while a program runs over it.

use super::plan::Plan;
use super::{Arm, Column, Element, Kind, Operand, Scalar, Slot, OTHER};
use crate::error::{Error, Result};
use crate::kernels::scan::{extent_f32, extent_f64, Extent};
use std::any::{Any, TypeId};
use std::collections::HashMap;

/// A column that the program made.
#[derive(Debug, Default)]
pub(super) enum Held {
    #[default]
    Empty,
    Uniform(Scalar),
    /// The input itself.
    Input(Slot),
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    Code(Vec<u32>),
}

/// Buffers that are free again: a program needs as many as columns are alive at once, not as many as it has.
#[derive(Debug, Default)]
pub(super) struct Pools {
    f64: Vec<Vec<f64>>,
    f32: Vec<Vec<f32>>,
    i64: Vec<Vec<i64>>,
    bool: Vec<Vec<bool>>,
    code: Vec<Vec<u32>>,
}

/// Values of kinds that columns have, with the buffers that hold them.
pub trait Buffered: Element {
    #[doc(hidden)]
    fn pool(pools: &mut PoolsOf) -> &mut Vec<Vec<Self>>;
    #[doc(hidden)]
    fn hold(values: Vec<Self>) -> HeldOf;
}

/// Names for the signatures above; nothing outside this module looks into them.
pub struct PoolsOf(Pools);
pub struct HeldOf(Held);

macro_rules! buffered {
    ($type:ty, $pool:ident, $kind:ident) => {
        impl Buffered for $type {
            fn pool(pools: &mut PoolsOf) -> &mut Vec<Vec<Self>> {
                &mut pools.0.$pool
            }
            fn hold(values: Vec<Self>) -> HeldOf {
                HeldOf(Held::$kind(values))
            }
        }
    };
}

buffered!(f64, f64, F64);
buffered!(f32, f32, F32);
buffered!(i64, i64, I64);
buffered!(bool, bool, Bool);
buffered!(u32, code, Code);

/// What a thread keeps between chunks for one plan: no allocation once it is warm.
pub struct State {
    pub(super) slots: Vec<Held>,
    /// How large a column's values are, where somebody asked.
    pub(super) extents: Vec<Option<Extent>>,
    pools: PoolsOf,
    pub(super) scratch: Scratch,
}

/// Working memory of kernels, one value per type: `scratch.get::<Ranks>()`.
#[derive(Default)]
pub struct Scratch(HashMap<TypeId, Box<dyn Any + Send>>);

impl Scratch {
    pub fn get<T: Any + Send + Default>(&mut self) -> &mut T {
        let held = self
            .0
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Box::<T>::default());
        match held.downcast_mut::<T>() {
            Some(value) => value,
            None => unreachable!("values are kept by their type"),
        }
    }
}

impl State {
    pub fn new(slots: usize) -> State {
        let mut held = Vec::new();
        held.resize_with(slots, Held::default);
        State {
            slots: held,
            extents: vec![None; slots],
            pools: PoolsOf(Pools::default()),
            scratch: Scratch::default(),
        }
    }

    /// Buffers that wait for their next use or hold a column.
    #[cfg(test)]
    pub(super) fn buffers(&self) -> usize {
        let pools = &self.pools.0;
        let free = [
            pools.f64.len(),
            pools.f32.len(),
            pools.i64.len(),
            pools.bool.len(),
            pools.code.len(),
        ];
        let empty = |held: &&Held| matches!(held, Held::Empty | Held::Uniform(_) | Held::Input(_));
        free.iter().sum::<usize>() + self.slots.len() - self.slots.iter().filter(empty).count()
    }

    pub(super) fn release(&mut self, slot: Slot) {
        let pools = &mut self.pools.0;
        match std::mem::take(&mut self.slots[slot.index()]) {
            Held::F64(values) => pools.f64.push(values),
            Held::F32(values) => pools.f32.push(values),
            Held::I64(values) => pools.i64.push(values),
            Held::Bool(values) => pools.bool.push(values),
            Held::Code(values) => pools.code.push(values),
            Held::Empty | Held::Uniform(_) | Held::Input(_) => {}
        }
    }
}

pub struct Frame<'a> {
    pub(super) rows: usize,
    pub(super) inputs: &'a [Column<'a>],
    pub(super) state: &'a mut State,
    pub(super) plan: &'a Plan,
}

impl Frame<'_> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether anything reads this column: an output that nobody wants need not be computed.
    pub fn wants(&self, slot: Slot) -> bool {
        self.plan.wants(slot)
    }

    pub fn column(&self, operand: Operand) -> Column<'_> {
        let slot = match operand {
            Operand::Constant(value) => return Column::Uniform(value),
            Operand::Slot(slot) => slot,
        };
        if let Some(input) = self.inputs.get(slot.index()) {
            return *input;
        }
        match &self.state.slots[slot.index()] {
            Held::Uniform(value) => Column::Uniform(*value),
            Held::Input(slot) => self.inputs[slot.index()],
            Held::F64(values) => Column::F64(values),
            Held::F32(values) => Column::F32(values),
            Held::I64(values) => Column::I64(values),
            Held::Bool(values) => Column::Bool(values),
            Held::Code(values) => Column::Code(values),
            Held::Empty => Column::F64(&[]), // read before written: `read` reports it, as no chunk is empty
        }
    }

    /// The column as values of one kind.
    pub fn read<T: Element>(&self, operand: Operand) -> Result<Arm<'_, T>> {
        match T::view(self.column(operand)) {
            Some(Arm::Many(values)) if values.len() != self.rows => Err(Error::Failed(format!(
                "internal: {operand:?} has {} of {} rows",
                values.len(),
                self.rows
            ))),
            Some(arm) => Ok(arm),
            None => Err(Error::Failed(format!(
                "internal: {operand:?} is not {:?}",
                T::KIND
            ))),
        }
    }

    /// A buffer as long as the chunk, with any values in it.
    pub fn take<T: Buffered>(&mut self) -> Vec<T> {
        let mut values = T::pool(&mut self.state.pools).pop().unwrap_or_default();
        values.resize(self.rows, T::default());
        values
    }

    /// A buffer that is not needed after all.
    pub fn give_back<T: Buffered>(&mut self, values: Vec<T>) {
        T::pool(&mut self.state.pools).push(values);
    }

    pub fn put<T: Buffered>(&mut self, slot: Slot, values: Vec<T>) {
        self.hold(slot, T::hold(values).0);
    }

    pub fn put_uniform(&mut self, slot: Slot, value: Scalar) {
        self.hold(slot, Held::Uniform(value));
    }

    /// The operand's values under another slot: free for inputs and uniform columns, a copy otherwise.
    pub fn put_same(&mut self, slot: Slot, operand: Operand) {
        let copied = match self.column(operand) {
            Column::Uniform(value) => Held::Uniform(value),
            _ if self.input(operand).is_some() => Held::Input(self.input(operand).unwrap_or(slot)),
            Column::F64(_) => self.copy::<f64>(operand),
            Column::F32(_) => self.copy::<f32>(operand),
            Column::I64(_) => self.copy::<i64>(operand),
            Column::Bool(_) => self.copy::<bool>(operand),
            Column::Code(_) => self.copy::<u32>(operand),
        };
        self.hold(slot, copied);
    }

    /// How large a column's floating-point values are; looked at once per column and chunk.
    pub fn extent(&mut self, operand: Operand) -> Extent {
        let Operand::Slot(slot) = operand else {
            return extent(self.column(operand));
        };
        let slot = self.input(operand).unwrap_or(slot);
        if let Some(known) = self.state.extents[slot.index()] {
            return known;
        }
        let known = extent(self.column(operand));
        self.state.extents[slot.index()] = Some(known);
        known
    }

    /// The input that an operand is, if it is one.
    fn input(&self, operand: Operand) -> Option<Slot> {
        match operand {
            Operand::Slot(slot) if slot.index() < self.inputs.len() => Some(slot),
            Operand::Slot(slot) => match self.state.slots[slot.index()] {
                Held::Input(input) => Some(input),
                _ => None,
            },
            Operand::Constant(_) => None,
        }
    }

    fn copy<T: Buffered>(&mut self, operand: Operand) -> Held {
        let mut values = self.take::<T>();
        if let Some(Arm::Many(from)) = T::view(self.column(operand)) {
            values.clear();
            values.extend_from_slice(from);
        }
        T::hold(values).0
    }

    fn hold(&mut self, slot: Slot, held: Held) {
        self.state.release(slot);
        self.state.slots[slot.index()] = held;
        self.state.extents[slot.index()] = None;
    }
}

/// Other kinds know no NaN, and nobody asks how large they are.
fn extent(column: Column<'_>) -> Extent {
    match column {
        Column::Uniform(Scalar::F64(value)) => extent_f64(&[value]),
        Column::Uniform(Scalar::F32(value)) => extent_f32(&[value]),
        Column::F64(values) => extent_f64(values),
        Column::F32(values) => extent_f32(values),
        _ => Extent {
            finite: true,
            largest: f64::INFINITY,
        },
    }
}

impl Kind {
    /// A value of the kind, where any will do.
    pub fn zero(self) -> Scalar {
        match self {
            Kind::F64 => Scalar::F64(0.0),
            Kind::F32 => Scalar::F32(0.0),
            Kind::I64 => Scalar::I64(0),
            Kind::Bool => Scalar::Bool(false),
            Kind::Code => Scalar::Code(OTHER),
        }
    }

    /// Bytes per value.
    pub fn size(self) -> usize {
        match self {
            Kind::F64 | Kind::I64 => 8,
            Kind::F32 | Kind::Code => 4,
            Kind::Bool => 1,
        }
    }
}
