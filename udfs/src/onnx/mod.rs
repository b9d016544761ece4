//! ONNX files as plain values.
//!
//! Reading allocates in proportion to bytes that are there, never to sizes that are claimed: at most 64 times the file
//! (a node of eight bytes becomes a `Node`); a large model's tensors are kept in their own size.

mod read;
mod tensor;
mod wire;

use crate::error::Result;
use std::collections::HashMap;
use std::sync::Arc;

pub use tensor::{volume, Data, Tensor};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// In the file's order. A node that uses what a later one makes is refused when the graph is lowered: no cycles.
    pub nodes: Vec<Node>,
    pub constants: HashMap<String, Arc<Tensor>>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Version by domain; "" is ONNX itself.
    pub opsets: HashMap<String, i64>,
    /// What sqlml's converters note beside the graph: keys that begin with "sqlml.".
    pub notes: HashMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    pub op: String,
    pub domain: String,
    /// "" where an optional input is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(String, Attribute)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Float(f32),
    Int(i64),
    Text(Vec<u8>),
    Tensor(Tensor),
    Graph(Box<Graph>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<Vec<u8>>),
    Other,
}

/// An input or output.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Port {
    pub name: String,
    /// TensorProto.DataType: 1 float, 7 int64, 8 string, 9 bool, 11 double; 0 if it is no tensor.
    pub element: i64,
    /// None where the shape is not known; None inside for a dimension with a name.
    pub dims: Option<Vec<Option<usize>>>,
}

impl Graph {
    pub fn read(bytes: &[u8]) -> Result<Graph> {
        read::model(bytes)
    }

    /// Version of a domain's operators; 0 where the file does not say.
    pub fn opset(&self, domain: &str) -> i64 {
        self.opsets.get(domain).copied().unwrap_or_default()
    }
}

impl Node {
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name)? {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attribute(name)? {
            Attribute::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attribute(name)? {
            Attribute::Text(value) => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self.attribute(name)? {
            Attribute::Tensor(value) => Some(value),
            _ => None,
        }
    }

    pub fn graph(&self, name: &str) -> Option<&Graph> {
        match self.attribute(name)? {
            Attribute::Graph(value) => Some(value),
            _ => None,
        }
    }

    /// Empty where there is none.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.attribute(name) {
            Some(Attribute::Ints(values)) => values,
            _ => &[],
        }
    }

    pub fn floats(&self, name: &str) -> &[f32] {
        match self.attribute(name) {
            Some(Attribute::Floats(values)) => values,
            _ => &[],
        }
    }

    pub fn texts(&self, name: &str) -> &[Vec<u8>] {
        match self.attribute(name) {
            Some(Attribute::Texts(values)) => values,
            _ => &[],
        }
    }

    /// `name` as floats, or `name_as_tensor` in double: ai.onnx.ml writes doubles beside.
    pub fn doubles(&self, name: &str) -> Vec<f64> {
        let tensor = self
            .tensor(&format!("{name}_as_tensor"))
            .and_then(Tensor::doubles);
        tensor.unwrap_or_else(|| {
            self.floats(name)
                .iter()
                .map(|value| f64::from(*value))
                .collect()
        })
    }
}
