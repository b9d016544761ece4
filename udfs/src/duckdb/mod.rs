//! DuckDB in and out.
