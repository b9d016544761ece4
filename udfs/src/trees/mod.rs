//! Tree ensembles: what a model says (`Ensemble`), and how rows are scored (`Forest`).

pub mod attributes;
pub mod classic;
pub mod ensemble;
pub mod read;

mod chase;
#[cfg(target_arch = "x86_64")]
mod chase_x86;
mod descend;
#[cfg(target_arch = "x86_64")]
mod descend_avx2;
#[cfg(target_arch = "x86_64")]
mod descend_x86;
mod finish;
mod float32;
mod forest;
mod leaves;
#[cfg(target_arch = "x86_64")]
mod leaves_x86;
mod lines;
#[cfg(test)]
mod list_tests;
mod plain;
mod rank;
#[cfg(target_arch = "x86_64")]
mod rank_avx2;
#[cfg(target_arch = "x86_64")]
mod rank_avx512;
mod select;
#[cfg(target_arch = "x86_64")]
mod select_x86;
#[cfg(test)]
mod shape_tests;
mod step;
mod steps;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod together_x86;
mod walk;
mod work;

pub use ensemble::{
    contains, Aggregate, Branch, Ensemble, Leaf, Node, Precision, Test, Tree, Weight,
};
pub use finish::{Classes, Label, Post, Regression};
pub use forest::{Feature, Forest};
pub use leaves::Number;
pub use step::{ClassifierStep, RegressorStep};
pub use work::Work;
