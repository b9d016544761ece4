//! DuckDB in and out: functions, their arguments and results.

pub mod admin;
pub mod bind;
pub mod buffers;
pub mod columns;
pub mod execute;
pub mod handle;
pub mod leading;
pub mod numbers;
pub mod numeric;
pub mod register;
pub mod results;
pub mod session;
pub mod shapes;
pub mod tables;
pub mod take;
pub mod text;
pub mod types;
pub mod values;
pub mod vectors;
