//! Pure functions over columns.

pub mod elementwise;
pub mod linear;
pub mod math;
pub mod matmul;
pub mod reduce;
pub mod scan;
pub mod softmax;
pub mod svm;
pub mod topk;
