//! Operators: linear.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
