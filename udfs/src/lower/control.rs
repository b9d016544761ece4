//! Operators that hold graphs of their own.

use super::Value;
use crate::error::Result;
use crate::onnx::Node;
use crate::program::Builder;
use std::collections::HashMap;

/// Like `super::Lowering`, with the values that an inner graph may read.
pub type Lowering = fn(&Node, &[Value], &mut Builder, &HashMap<&str, Value>) -> Result<Vec<Value>>;

pub fn lowering(_: &Node) -> Option<Lowering> {
    None
}
