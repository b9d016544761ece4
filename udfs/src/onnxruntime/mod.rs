//! The fallback: a graph with an operator that has no kernel here runs in onnxruntime, where that is to be found.
//!
//! `Session::load` takes the model's bytes, `Session::run` one chunk: a column per input of width one, as our converters
//! write them, or as many columns as a wider input has. A session serves all of DuckDB's threads at once.

mod answer;
mod api;
mod give;
mod library;
mod run;
mod session;
#[cfg(test)]
mod tests;

pub use answer::{Tensor, Values};
pub use give::Column;
pub use library::{opened, VARIABLE};
pub use session::{Kind, Port, Session};
