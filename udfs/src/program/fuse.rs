//! Steps that another one does while it has the values in registers.

use super::{Kernel, Operand, Slot};

/// Hands elementwise steps of one column over to the step that makes this column, where nothing else reads it.
///
/// `steps` in the order in which they run; `outputs` are the program's.
pub(super) fn fuse(
    steps: Vec<Box<dyn Kernel>>,
    outputs: &[Operand],
    slots: usize,
) -> Vec<Box<dyn Kernel>> {
    let mut readers = vec![0usize; slots];
    for operand in steps.iter().flat_map(|step| step.inputs()).chain(outputs) {
        if let Operand::Slot(slot) = operand {
            readers[slot.index()] += 1;
        }
    }
    let mut makers: Vec<Option<usize>> = vec![None; slots];
    let mut kept: Vec<Box<dyn Kernel>> = Vec::with_capacity(steps.len());
    for step in steps {
        if let Some((slot, maker, made)) = taken_over(&*step, &readers, &makers) {
            let op = step.elementwise();
            if op.is_some_and(|op| kept[maker].absorb(slot, op, step.inputs(), made)) {
                makers[made.index()] = Some(maker);
                continue;
            }
        }
        for (slot, _) in step.outputs() {
            makers[slot.index()] = Some(kept.len());
        }
        kept.push(step);
    }
    kept
}

/// The one column that a step reads, who makes it, and what the step makes of it.
fn taken_over(
    step: &dyn Kernel,
    readers: &[usize],
    makers: &[Option<usize>],
) -> Option<(Slot, usize, Slot)> {
    step.elementwise()?;
    let mut read = step.inputs().iter().filter_map(|operand| match operand {
        Operand::Slot(slot) => Some(*slot),
        Operand::Constant(_) => None,
    });
    let (slot, made) = (read.next()?, step.outputs().first()?.0);
    let alone = read.next().is_none() && readers[slot.index()] == 1;
    alone.then_some((slot, makers[slot.index()]?, made))
}
