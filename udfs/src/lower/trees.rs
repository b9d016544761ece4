//! Operators: trees.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
