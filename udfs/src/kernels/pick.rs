//! A constant by the row's index.

use crate::error::{Error, Result};
use crate::program::{Arm, Buffered, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot};

struct Pick<T> {
    inputs: [Operand; 1],
    outputs: [(Slot, Kind); 1],
    values: Vec<T>,
}

/// `values` are of one kind.
pub fn kernel(index: Operand, slot: Slot, values: &[Scalar]) -> Box<dyn Kernel> {
    match values.first().map(|value| value.kind()) {
        Some(Kind::F32) => typed::<f32>(index, slot, values),
        Some(Kind::I64) => typed::<i64>(index, slot, values),
        Some(Kind::Bool) => typed::<bool>(index, slot, values),
        Some(Kind::Code) => typed::<u32>(index, slot, values),
        Some(Kind::F64) | None => typed::<f64>(index, slot, values),
    }
}

fn typed<T: Buffered>(index: Operand, slot: Slot, values: &[Scalar]) -> Box<dyn Kernel> {
    let values = values
        .iter()
        .map(|value| T::of(*value).unwrap_or_default())
        .collect();
    Box::new(Pick {
        inputs: [index],
        outputs: [(slot, T::KIND)],
        values,
    })
}

impl<T: Buffered> Pick<T> {
    fn value(&self, index: i64) -> Result<T> {
        let count = self.values.len();
        let place = if index < 0 {
            index.wrapping_add(count as i64)
        } else {
            index
        };
        let found = usize::try_from(place)
            .ok()
            .and_then(|place| self.values.get(place));
        found
            .copied()
            .ok_or_else(|| Error::Failed(format!("the model asks for place {index} of {count}")))
    }
}

impl<T: Buffered> Kernel for Pick<T> {
    fn name(&self) -> &'static str {
        "pick"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        let mut out = frame.take::<T>();
        match frame.read::<i64>(self.inputs[0])? {
            Arm::One(index) => {
                let value = self.value(index)?;
                frame.give_back(out);
                frame.put_uniform(self.outputs[0].0, value.scalar());
            }
            Arm::Many(indices) => {
                for (out, index) in out.iter_mut().zip(indices) {
                    *out = self.value(*index)?;
                }
                frame.put(self.outputs[0].0, out);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.len() * T::KIND.size()
    }
}
