//! sqlml's native engine: registered ONNX models as functions of DuckDB, one binary for every client.

pub mod cache;
pub mod duckdb;
pub mod error;
pub mod explain;
pub mod isa;
pub mod kernels;
pub mod lower;
pub mod model;
pub mod onnx;
pub mod onnxruntime;
pub mod program;
pub mod trees;
