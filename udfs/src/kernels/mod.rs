//! Pure functions over columns.

#[macro_use]
pub(crate) mod dispatch;

pub mod elements;
pub mod elementwise;
pub mod inner;
pub mod label;
pub mod linear;
pub mod math;
pub mod matmul;
pub mod pick;
pub mod real;
pub mod reduce;
pub mod scan;
pub mod softmax;
pub mod svm;
pub mod topk;
