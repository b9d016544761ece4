//! Operators: reduce.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
