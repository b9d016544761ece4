//! One step of a program.

use super::{Frame, Kind, Operand, Scratch, Slot};
use crate::error::Result;
use crate::kernels::elementwise::Op;

/// Reads some columns, writes others. Everything it needs is checked when it is made: running fails only for what rows hold.
pub trait Kernel: Send + Sync {
    /// For `sqlml_describe`.
    fn name(&self) -> &'static str;

    fn inputs(&self) -> &[Operand];

    fn outputs(&self) -> &[(Slot, Kind)];

    /// Puts a column into every output slot that `frame.wants`; into the others as it likes.
    ///
    /// The pattern: `let mut out = frame.take::<f64>()`, then read with `frame.read::<f64>(operand)?`, then
    /// `frame.put(slot, out)`. Where all operands are uniform, `frame.put_uniform` keeps everything after it cheap.
    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()>;

    /// Memory that it holds, beyond its own size.
    fn bytes(&self) -> usize {
        0
    }

    /// The operator, of a step that is one elementwise operator and nothing else.
    fn elementwise(&self) -> Option<Op> {
        None
    }

    /// Takes over what an elementwise step makes of one of the outputs, which nothing else reads: from then on `made` is
    /// that output. The values stay the same, bit for bit; false where it does not do that.
    fn absorb(&mut self, _output: Slot, _op: Op, _operands: &[Operand], _made: Slot) -> bool {
        false
    }
}
