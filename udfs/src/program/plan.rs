//! A finished program, and the part of it that a caller's wishes need.

use super::{Column, Frame, Input, Kernel, Operand, Output, Slot, State, Texts};
use crate::error::{Error, Result};

pub struct Program {
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) steps: Vec<Box<dyn Kernel>>,
    pub(super) slots: usize,
    pub(super) texts: Texts,
}

/// The steps for some outputs, in order.
pub struct Plan {
    steps: Vec<Planned>,
    outputs: Vec<Slot>,
    wanted: Vec<bool>,
}

struct Planned {
    step: usize,
    /// Columns that nothing reads after this step.
    last_read: Vec<Slot>,
}

impl Plan {
    pub(super) fn wants(&self, slot: Slot) -> bool {
        self.wanted.get(slot.index()).copied().unwrap_or_default()
    }
}

impl Program {
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    pub fn steps(&self) -> &[Box<dyn Kernel>] {
        &self.steps
    }

    /// The texts behind the codes of `Kind::Code` outputs.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Memory held, roughly: for the cache.
    pub fn bytes(&self) -> usize {
        let steps: usize = self.steps.iter().map(|step| 128 + step.bytes()).sum();
        let texts: usize = self
            .inputs
            .iter()
            .flat_map(|input| &input.texts)
            .map(|text| 64 + text.len())
            .sum();
        steps + texts + 48 * self.slots
    }

    /// What must run for these columns.
    pub fn plan(&self, wanted: &[Operand]) -> Plan {
        let mut alive = vec![false; self.slots];
        let outputs: Vec<Slot> = slots(wanted).collect();
        for slot in &outputs {
            alive[slot.index()] = true;
        }
        let mut read = alive.clone();
        let mut steps = Vec::new();
        for (index, step) in self.steps.iter().enumerate().rev() {
            if !step.outputs().iter().any(|(slot, _)| alive[slot.index()]) {
                continue;
            }
            let mut last_read = Vec::new();
            for slot in slots(step.inputs()) {
                if !read[slot.index()] {
                    read[slot.index()] = true;
                    last_read.push(slot);
                }
                alive[slot.index()] = true;
            }
            // An output that nobody wants is free again at once.
            let unread = step
                .outputs()
                .iter()
                .map(|(slot, _)| *slot)
                .filter(|slot| !read[slot.index()]);
            last_read.extend(unread.collect::<Vec<_>>());
            last_read.retain(|slot| slot.index() >= self.inputs.len());
            steps.push(Planned {
                step: index,
                last_read,
            });
        }
        steps.reverse();
        Plan {
            steps,
            outputs,
            wanted: alive,
        }
    }

    pub fn state(&self) -> State {
        State::new(self.slots)
    }

    /// Runs the plan over one chunk; the frame then holds the wanted columns. Inputs as `inputs()` says, `rows` long each.
    pub fn run<'a>(
        &'a self,
        plan: &'a Plan,
        state: &'a mut State,
        rows: usize,
        inputs: &'a [Column<'a>],
    ) -> Result<Frame<'a>> {
        self.run_watched(plan, state, rows, inputs, |_| {})
    }

    /// Like `run`, telling after each step of the plan which of `steps()` it was: for tools that measure.
    pub fn run_watched<'a>(
        &'a self,
        plan: &'a Plan,
        state: &'a mut State,
        rows: usize,
        inputs: &'a [Column<'a>],
        mut done: impl FnMut(usize),
    ) -> Result<Frame<'a>> {
        self.check(rows, inputs)?;
        for slot in &plan.outputs {
            state.release(*slot);
        }
        state.extents.fill(None);
        let mut scratch = std::mem::take(&mut state.scratch);
        let mut frame = Frame {
            rows,
            inputs,
            state,
            plan,
        };
        let mut outcome = Ok(());
        for planned in &plan.steps {
            if rows == 0 {
                // Kernels compute what is the same for all rows once, into the first of them.
                for (slot, kind) in self.steps[planned.step].outputs() {
                    frame.put_uniform(*slot, kind.zero());
                }
                continue;
            }
            outcome = self.steps[planned.step].run(&mut frame, &mut scratch);
            if outcome.is_err() {
                break;
            }
            for slot in &planned.last_read {
                frame.state.release(*slot);
            }
            done(planned.step);
        }
        frame.state.scratch = scratch;
        outcome.map(|()| frame)
    }

    fn check(&self, rows: usize, inputs: &[Column<'_>]) -> Result<()> {
        if inputs.len() != self.inputs.len() {
            let (given, expected) = (inputs.len(), self.inputs.len());
            return Err(Error::Failed(format!(
                "{given} columns, {expected} expected"
            )));
        }
        for (input, column) in self.inputs.iter().zip(inputs) {
            if column.kind() != input.kind || column.rows().is_some_and(|own| own != rows) {
                let found = (column.kind(), column.rows());
                return Err(Error::Failed(format!(
                    "input {}: {found:?} for {rows} rows",
                    input.name
                )));
            }
        }
        Ok(())
    }
}

fn slots(operands: &[Operand]) -> impl Iterator<Item = Slot> + '_ {
    operands.iter().filter_map(|operand| match operand {
        Operand::Slot(slot) => Some(*slot),
        Operand::Constant(_) => None,
    })
}
