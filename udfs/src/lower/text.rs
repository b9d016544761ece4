//! Operators: text.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
