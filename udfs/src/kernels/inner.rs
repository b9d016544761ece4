//! Programs inside a program: over some of the rows, or again and again.

use crate::error::Result;
use crate::program::{Arm, Buffered, Column, Frame, Kernel, Kind, Operand, Plan, Program};
use crate::program::{Scalar, Scratch, Slot, State};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Inner {
    program: Program,
    plan: Plan,
    outputs: Vec<Operand>,
    /// Names this program's working memory in a thread's scratch.
    id: u64,
}

#[derive(Default)]
struct States(HashMap<u64, State>);

/// A column's values apart from any chunk.
enum Owned {
    Uniform(Scalar),
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    Code(Vec<u32>),
}

impl Owned {
    /// The values of some rows; of all without `rows`.
    fn of(column: Column<'_>, rows: Option<&[usize]>) -> Owned {
        fn picked<T: Copy>(values: &[T], rows: Option<&[usize]>) -> Vec<T> {
            match rows {
                Some(rows) => rows
                    .iter()
                    .filter_map(|row| values.get(*row))
                    .copied()
                    .collect(),
                None => values.to_vec(),
            }
        }
        match column {
            Column::Uniform(value) => Owned::Uniform(value),
            Column::F64(values) => Owned::F64(picked(values, rows)),
            Column::F32(values) => Owned::F32(picked(values, rows)),
            Column::I64(values) => Owned::I64(picked(values, rows)),
            Column::Bool(values) => Owned::Bool(picked(values, rows)),
            Column::Code(values) => Owned::Code(picked(values, rows)),
        }
    }

    fn column(&self) -> Column<'_> {
        match self {
            Owned::Uniform(value) => Column::Uniform(*value),
            Owned::F64(values) => Column::F64(values),
            Owned::F32(values) => Column::F32(values),
            Owned::I64(values) => Column::I64(values),
            Owned::Bool(values) => Column::Bool(values),
            Owned::Code(values) => Column::Code(values),
        }
    }
}

impl Inner {
    pub fn new(program: Program) -> Inner {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let outputs: Vec<Operand> = program
            .outputs()
            .iter()
            .flat_map(|output| output.columns.clone())
            .collect();
        let plan = program.plan(&outputs);
        Inner {
            program,
            plan,
            outputs,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn run(
        &self,
        columns: &[Column<'_>],
        rows: usize,
        scratch: &mut Scratch,
    ) -> Result<Vec<Owned>> {
        let states = &mut scratch.get::<States>().0;
        let state = states
            .entry(self.id)
            .or_insert_with(|| self.program.state());
        let frame = self.program.run(&self.plan, state, rows, columns)?;
        Ok(self
            .outputs
            .iter()
            .map(|output| Owned::of(frame.column(*output), None))
            .collect())
    }
}

/// New values for the rows of a mask; the others keep the base's.
pub struct Chosen {
    inner: Inner,
    /// The mask, the base, then what the inner program reads.
    inputs: Vec<Operand>,
    outputs: Vec<(Slot, Kind)>,
}

impl Chosen {
    pub fn new(
        inner: Inner,
        mask: Operand,
        base: &[Operand],
        read: &[Operand],
        slots: &[Slot],
        kind: Kind,
    ) -> Chosen {
        let inputs = [&[mask], base, read].concat();
        let outputs = slots.iter().map(|slot| (*slot, kind)).collect();
        Chosen {
            inner,
            inputs,
            outputs,
        }
    }
}

impl Kernel for Chosen {
    fn name(&self) -> &'static str {
        "some rows"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let (base, read) = self.inputs[1..].split_at(self.outputs.len());
        let rows: Vec<usize> = match frame.read::<bool>(self.inputs[0])? {
            Arm::One(all) => (0..if all { frame.rows() } else { 0 }).collect(),
            Arm::Many(mask) => (0..mask.len()).filter(|row| mask[*row]).collect(),
        };
        if rows.is_empty() {
            for (base, (slot, _)) in base.iter().zip(&self.outputs) {
                frame.put_same(*slot, *base);
            }
            return Ok(());
        }
        let read: Vec<Owned> = read
            .iter()
            .map(|column| Owned::of(frame.column(*column), Some(&rows)))
            .collect();
        let columns: Vec<Column<'_>> = read.iter().map(Owned::column).collect();
        let values = self.inner.run(&columns, rows.len(), scratch)?;
        for ((base, (slot, kind)), values) in base.iter().zip(&self.outputs).zip(&values) {
            let values = values.column();
            match kind {
                Kind::F64 => put::<f64>(frame, *slot, *base, &rows, values)?,
                Kind::F32 => put::<f32>(frame, *slot, *base, &rows, values)?,
                Kind::I64 => put::<i64>(frame, *slot, *base, &rows, values)?,
                Kind::Bool => put::<bool>(frame, *slot, *base, &rows, values)?,
                Kind::Code => put::<u32>(frame, *slot, *base, &rows, values)?,
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.inner.program.bytes() + self.inputs.len() * size_of::<Operand>()
    }
}

fn put<T: Buffered>(
    frame: &mut Frame<'_>,
    slot: Slot,
    base: Operand,
    rows: &[usize],
    values: Column<'_>,
) -> Result<()> {
    let mut out = frame.take::<T>();
    match frame.read::<T>(base)? {
        Arm::One(value) => out.fill(value),
        Arm::Many(values) => out.copy_from_slice(values),
    }
    match T::view(values) {
        Some(Arm::One(value)) => rows.iter().for_each(|row| out[*row] = value),
        Some(Arm::Many(values)) => rows
            .iter()
            .zip(values)
            .for_each(|(row, value)| out[*row] = *value),
        None => {}
    }
    frame.put(slot, out);
    Ok(())
}

/// A body run once per step, its outputs being its own next inputs.
pub struct Repeated {
    inner: Inner,
    /// What the body captures; the states; for each step, what it scans.
    inputs: Vec<Operand>,
    outputs: Vec<(Slot, Kind)>,
    captured: usize,
    scanned: usize,
    length: usize,
}

impl Repeated {
    pub fn new(
        inner: Inner,
        captured: &[Operand],
        own: &[Operand],
        outputs: Vec<(Slot, Kind)>,
        scanned: usize,
        length: usize,
    ) -> Repeated {
        let inputs = [captured, own].concat();
        Repeated {
            inner,
            inputs,
            outputs,
            captured: captured.len(),
            scanned,
            length,
        }
    }
}

impl Kernel for Repeated {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let (captured, rest) = self.inputs.split_at(self.captured);
        let (states, scanned) = rest.split_at(self.outputs.len());
        let own = |operands: &[Operand]| -> Vec<Owned> {
            operands
                .iter()
                .map(|operand| Owned::of(frame.column(*operand), None))
                .collect()
        };
        let mut states = own(states);
        for step in 0..self.length {
            let now = &scanned[step * self.scanned..(step + 1) * self.scanned];
            let mut columns: Vec<Column<'_>> = captured
                .iter()
                .map(|operand| frame.column(*operand))
                .collect();
            columns.extend(states.iter().map(Owned::column));
            columns.extend(now.iter().map(|operand| frame.column(*operand)));
            let next = self.inner.run(&columns, frame.rows(), scratch)?;
            drop(columns);
            states = next;
        }
        for (state, (slot, _)) in states.into_iter().zip(&self.outputs) {
            match state {
                Owned::Uniform(value) => frame.put_uniform(*slot, value),
                Owned::F64(values) => frame.put(*slot, values),
                Owned::F32(values) => frame.put(*slot, values),
                Owned::I64(values) => frame.put(*slot, values),
                Owned::Bool(values) => frame.put(*slot, values),
                Owned::Code(values) => frame.put(*slot, values),
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.inner.program.bytes() + self.inputs.len() * size_of::<Operand>()
    }
}
