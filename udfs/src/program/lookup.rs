//! Tables at run time: the value by the text's code.

use super::{Buffered, Element, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot, Table};
use crate::error::Result;

pub(super) struct Lookup<T> {
    inputs: [Operand; 1],
    outputs: [(Slot, Kind); 1],
    /// By code; the first is for all texts without a code.
    values: Vec<T>,
}

/// `texts`: the column's own codes 1, 2, ... as codes of the whole model.
pub(super) fn lookup(from: Slot, to: Slot, table: &Table, texts: &[u32]) -> Box<dyn Kernel> {
    match table.kind() {
        Kind::F64 => typed::<f64>(from, to, table, texts),
        Kind::F32 => typed::<f32>(from, to, table, texts),
        Kind::I64 => typed::<i64>(from, to, table, texts),
        Kind::Bool => typed::<bool>(from, to, table, texts),
        Kind::Code => typed::<u32>(from, to, table, texts),
    }
}

fn typed<T: Buffered>(from: Slot, to: Slot, table: &Table, texts: &[u32]) -> Box<dyn Kernel> {
    let value = |scalar: Scalar| T::of(scalar).unwrap_or_default();
    let mut values = vec![value(table.default)];
    values.extend(texts.iter().map(|code| value(table.value(*code))));
    Box::new(Lookup {
        inputs: [Operand::Slot(from)],
        outputs: [(to, T::KIND)],
        values,
    })
}

impl<T: Buffered> Kernel for Lookup<T> {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        let slot = self.outputs[0].0;
        let Some(rest) = self.values.first().copied() else {
            return Ok(());
        };
        let value = |code: u32| self.values.get(code as usize).copied().unwrap_or(rest);
        let mut out = frame.take::<T>();
        match frame.read::<u32>(self.inputs[0])? {
            super::Arm::One(code) => {
                frame.give_back(out);
                frame.put_uniform(slot, Element::scalar(value(code)));
            }
            super::Arm::Many(codes) => {
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = value(*code);
                }
                frame.put(slot, out);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.len() * T::KIND.size()
    }
}
