//! ONNX models by hand.

use super::wire::Message;

pub const FLOAT: i64 = 1;
pub const UINT8: i64 = 2;
pub const INT64: i64 = 7;
pub const STRING: i64 = 8;
pub const BOOL: i64 = 9;
pub const DOUBLE: i64 = 11;

pub const ML: &str = "ai.onnx.ml";

#[derive(Clone)]
pub enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    Bool(&'a [bool]),
    Text(&'a [&'a str]),
}

/// `raw` as onnx's own numpy helper writes it, else in the typed field.
pub fn tensor(name: &str, dims: &[i64], values: Values, raw: bool) -> Message {
    let mut message = Message::new().packed(1, dims);
    let kind = match values {
        Values::F32(_) => FLOAT,
        Values::F64(_) => DOUBLE,
        Values::I64(_) => INT64,
        Values::U8(_) => UINT8,
        Values::Bool(_) => BOOL,
        Values::Text(_) => STRING,
    };
    message = message.number(2, kind);
    let bytes: Vec<u8> = match &values {
        Values::F32(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::F64(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::I64(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::U8(values) => values.to_vec(),
        Values::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
        Values::Text(_) => vec![],
    };
    message = match &values {
        Values::Text(texts) => texts
            .iter()
            .fold(message, |message, text| message.bytes(6, text)),
        _ if raw => message.bytes(9, bytes),
        Values::F32(_) => message.bytes(4, bytes),
        Values::F64(_) => message.bytes(10, bytes),
        Values::I64(values) => message.packed(7, values),
        Values::U8(values) => message.packed(
            5,
            &values
                .iter()
                .map(|value| i64::from(*value))
                .collect::<Vec<_>>(),
        ),
        Values::Bool(values) => message.packed(
            5,
            &values
                .iter()
                .map(|value| i64::from(*value))
                .collect::<Vec<_>>(),
        ),
    };
    message.bytes(8, name)
}

fn attribute(name: &str, kind: i64) -> Message {
    Message::new().bytes(1, name).number(20, kind)
}

/// A node that is put together by and by.
pub struct Node(Message);

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let mut message = Message::new();
    message = inputs
        .iter()
        .fold(message, |message, name| message.bytes(1, name));
    message = outputs
        .iter()
        .fold(message, |message, name| message.bytes(2, name));
    Node(message.bytes(4, op))
}

/// The same of the domain ai.onnx.ml.
pub fn ml(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    Node(node(op, inputs, outputs).0.bytes(7, ML))
}

impl From<Message> for Node {
    fn from(message: Message) -> Node {
        Node(message)
    }
}

impl Node {
    fn with(self, attribute: Message) -> Node {
        Node(self.0.message(5, attribute))
    }

    pub fn float(self, name: &str, value: f32) -> Node {
        self.with(attribute(name, 1).float(2, value))
    }

    pub fn int(self, name: &str, value: i64) -> Node {
        self.with(attribute(name, 2).number(3, value))
    }

    pub fn text(self, name: &str, value: &str) -> Node {
        self.with(attribute(name, 3).bytes(4, value))
    }

    pub fn tensor(self, name: &str, value: Message) -> Node {
        self.with(attribute(name, 4).message(5, value))
    }

    pub fn graph(self, name: &str, value: Message) -> Node {
        self.with(attribute(name, 5).message(6, value))
    }

    pub fn floats(self, name: &str, values: &[f32]) -> Node {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.with(attribute(name, 6).bytes(7, bytes))
    }

    pub fn ints(self, name: &str, values: &[i64]) -> Node {
        self.with(attribute(name, 7).packed(8, values))
    }

    pub fn texts(self, name: &str, values: &[&str]) -> Node {
        let message = attribute(name, 8);
        self.with(
            values
                .iter()
                .fold(message, |message, text| message.bytes(9, text)),
        )
    }

    pub fn doubles(self, name: &str, values: &[f64]) -> Node {
        self.tensor(
            name,
            tensor(name, &[values.len() as i64], Values::F64(values), true),
        )
    }

    pub fn message(self) -> Message {
        self.0
    }
}

/// A tensor [N, width] that goes in or comes out.
pub fn port(name: &str, element: i64, width: i64) -> Message {
    let dims = Message::new()
        .message(1, Message::new().bytes(2, "N"))
        .message(1, Message::new().number(1, width));
    let of_tensor = Message::new().number(1, element).message(2, dims);
    Message::new()
        .bytes(1, name)
        .message(2, Message::new().message(1, of_tensor))
}

#[derive(Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    pub fn node(mut self, node: Node) -> Graph {
        self.nodes.push(node.message());
        self
    }

    pub fn constant(mut self, name: &str, dims: &[i64], values: Values) -> Graph {
        self.constants.push(tensor(name, dims, values, true));
        self
    }

    pub fn input(mut self, name: &str, element: i64, width: i64) -> Graph {
        self.inputs.push(port(name, element, width));
        self
    }

    pub fn output(mut self, name: &str, element: i64, width: i64) -> Graph {
        self.outputs.push(port(name, element, width));
        self
    }

    pub fn message(self) -> Message {
        let mut message = Message::new();
        message = self
            .nodes
            .into_iter()
            .fold(message, |message, node| message.message(1, node));
        message = message.bytes(2, "graph");
        message = self
            .constants
            .into_iter()
            .fold(message, |message, value| message.message(5, value));
        message = self
            .inputs
            .into_iter()
            .fold(message, |message, value| message.message(11, value));
        self.outputs
            .into_iter()
            .fold(message, |message, value| message.message(12, value))
    }

    /// A whole model; ai.onnx.ml in the version asked for.
    pub fn model(self, ml_version: i64) -> Message {
        let opset = |domain: &str, version| Message::new().bytes(1, domain).number(2, version);
        Message::new()
            .number(1, 10)
            .bytes(2, "hostile")
            .message(7, self.message())
            .message(8, opset("", 21))
            .message(8, opset(ML, ml_version))
    }
}
