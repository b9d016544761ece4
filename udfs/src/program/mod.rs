//! A model as steps over columns.
//!
//! An ONNX tensor of shape [N, k] is k columns, each written once: joining, picking and reshaping tensors only names
//! columns anew. Constants fold, equal steps are taken once, and what no output needs is never computed.

mod builder;
mod column;
mod frame;
mod fuse;
mod kernel;
mod lookup;
mod order;
mod plan;
mod simpler;
mod table;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use column::{Arm, Column, Element, Kind, Operand, Scalar, Slot, CHUNK};
pub use frame::{Buffered, Frame, Scratch, State};
pub use kernel::Kernel;
pub use plan::{Plan, Program};
pub use table::{Table, Texts, OTHER};

/// A column that the caller gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The graph's name; with `_<column>` behind it where the tensor has several columns.
    pub name: String,
    pub kind: Kind,
    /// For `Kind::Code`: the texts with the codes 1, 2, ...; 0 is any other text.
    pub texts: Vec<Vec<u8>>,
}

/// A tensor that the model gives: one operand per column.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: String,
    pub kind: Kind,
    pub columns: Vec<Operand>,
}
