//! Operators: svm.

use super::Entry;

pub const OPERATORS: &[Entry] = &[];
