//! Operators: encoders.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
