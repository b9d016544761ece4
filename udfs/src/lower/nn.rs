//! Operators: nn.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
