//! Tree ensembles: what a model says (`Ensemble`), and how rows are scored.

pub mod classic;
pub mod ensemble;
pub mod read;

pub use ensemble::{Aggregate, Branch, Ensemble, Leaf, Node, Precision, Test, Tree, Weight};
