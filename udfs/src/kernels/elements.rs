//! Columns by an index that depends on the row.

use super::real::arms;
use crate::error::{Error, Result};
use crate::program::{Buffered, Frame, Kernel, Kind, Operand, Scratch, Slot};
use std::marker::PhantomData;

/// The column that each row's index names.
struct Gather<T> {
    /// The columns, then the index.
    inputs: Vec<Operand>,
    outputs: [(Slot, Kind); 1],
    values: PhantomData<fn() -> T>,
}

/// The columns with some values replaced, where each row's indices name them; later ones win.
struct Scatter<T> {
    /// The columns, then the indices, then as many updates.
    inputs: Vec<Operand>,
    outputs: Vec<(Slot, Kind)>,
    values: PhantomData<fn() -> T>,
}

macro_rules! of_kind {
    ($kind:expr, $make:ident, $($argument:expr),*) => {
        match $kind {
            Kind::F64 => $make::<f64>($($argument),*),
            Kind::F32 => $make::<f32>($($argument),*),
            Kind::I64 => $make::<i64>($($argument),*),
            Kind::Bool => $make::<bool>($($argument),*),
            Kind::Code => $make::<u32>($($argument),*),
        }
    };
}

pub fn gather(columns: &[Operand], index: Operand, slot: Slot, kind: Kind) -> Box<dyn Kernel> {
    let inputs = [columns, &[index]].concat();
    of_kind!(kind, gather_typed, inputs, slot)
}

fn gather_typed<T: Buffered>(inputs: Vec<Operand>, slot: Slot) -> Box<dyn Kernel> {
    let outputs = [(slot, T::KIND)];
    Box::new(Gather::<T> {
        inputs,
        outputs,
        values: PhantomData,
    })
}

pub fn scatter(
    columns: &[Operand],
    indices: &[Operand],
    updates: &[Operand],
    slots: &[Slot],
    kind: Kind,
) -> Box<dyn Kernel> {
    let inputs = [columns, indices, updates].concat();
    of_kind!(kind, scatter_typed, inputs, slots)
}

fn scatter_typed<T: Buffered>(inputs: Vec<Operand>, slots: &[Slot]) -> Box<dyn Kernel> {
    let outputs = slots.iter().map(|slot| (*slot, T::KIND)).collect();
    Box::new(Scatter::<T> {
        inputs,
        outputs,
        values: PhantomData,
    })
}

fn place(index: i64, count: usize) -> Result<usize> {
    let wrapped = if index < 0 {
        index.wrapping_add(count as i64)
    } else {
        index
    };
    match usize::try_from(wrapped) {
        Ok(place) if place < count => Ok(place),
        _ => Err(Error::Failed(format!(
            "the model asks for column {index} of {count}"
        ))),
    }
}

impl<T: Buffered> Kernel for Gather<T> {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        let mut out = frame.take::<T>();
        if let Some((index, columns)) = self.inputs.split_last() {
            let (columns, index) = (arms::<T>(frame, columns)?, frame.read::<i64>(*index)?);
            for (row, out) in out.iter_mut().enumerate() {
                *out = columns[place(index.at(row), columns.len())?].at(row);
            }
        }
        frame.put(self.outputs[0].0, out);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>()
    }
}

impl<T: Buffered> Kernel for Scatter<T> {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        let count = self.outputs.len();
        let mut outs: Vec<Vec<T>> = self.outputs.iter().map(|_| frame.take::<T>()).collect();
        let (columns, rest) = self.inputs.split_at(count);
        let (indices, updates) = rest.split_at(rest.len() / 2);
        for (out, column) in outs.iter_mut().zip(arms::<T>(frame, columns)?) {
            for (row, out) in out.iter_mut().enumerate() {
                *out = column.at(row);
            }
        }
        let updates = arms::<T>(frame, updates)?;
        for (index, update) in arms::<i64>(frame, indices)?.iter().zip(&updates) {
            for row in 0..frame.rows() {
                outs[place(index.at(row), count)?][row] = update.at(row);
            }
        }
        for (out, (slot, _)) in outs.into_iter().zip(&self.outputs) {
            frame.put(*slot, out);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.inputs.len() * size_of::<Operand>() + self.outputs.len() * 8
    }
}
