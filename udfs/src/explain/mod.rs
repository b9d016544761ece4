//! Contributions per input column.
