//! The order of steps.

use super::{Kernel, Operand};

/// Each step right after what it reads, one operand after the other: fewer columns are alive at once, and those are
/// still in the cache. The order of a graph's nodes would make a whole tensor before the next operator reads it.
pub(super) fn depth_first(
    steps: Vec<Box<dyn Kernel>>,
    wanted: &[Operand],
    slots: usize,
) -> Vec<Box<dyn Kernel>> {
    let mut maker = vec![usize::MAX; slots];
    for (index, step) in steps.iter().enumerate() {
        for (slot, _) in step.outputs() {
            maker[slot.index()] = index;
        }
    }
    let made_by = |operand: &Operand| match operand {
        Operand::Slot(slot) => maker
            .get(slot.index())
            .copied()
            .filter(|index| *index != usize::MAX),
        Operand::Constant(_) => None,
    };
    let mut order = Vec::with_capacity(steps.len());
    let mut seen = vec![false; steps.len()];
    // A stack of its own (a step and how many of its operands are done): graphs may be deeper than the thread's stack.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for operand in wanted {
        stack.extend(
            made_by(operand)
                .filter(|index| !seen[*index])
                .map(|index| (index, 0)),
        );
        while let Some((index, done)) = stack.pop() {
            if done == 0 {
                if seen[index] {
                    continue;
                }
                seen[index] = true;
            }
            match steps[index].inputs().get(done) {
                Some(operand) => {
                    stack.push((index, done + 1));
                    stack.extend(
                        made_by(operand)
                            .filter(|index| !seen[*index])
                            .map(|index| (index, 0)),
                    );
                }
                None => order.push(index),
            }
        }
    }
    let mut steps: Vec<Option<Box<dyn Kernel>>> = steps.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|index| steps.get_mut(index).and_then(Option::take))
        .collect()
}
