//! Protocol buffers as they are on the wire, taken apart and written again: of the tests alone, so that what the crate
//! reads is never checked against itself.

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
    Message(Message),
}

/// Fields in the file's order, with their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(pub Vec<(u64, Value)>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn number(mut self, field: u64, value: i64) -> Self {
        self.0.push((field, Value::Number(value as u64)));
        self
    }

    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.0.push((field, Value::Fixed32(value.to_bits())));
        self
    }

    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        self.0.push((field, Value::Bytes(value.as_ref().to_vec())));
        self
    }

    pub fn message(mut self, field: u64, value: Message) -> Self {
        self.0.push((field, Value::Message(value)));
        self
    }

    pub fn packed(self, field: u64, values: &[i64]) -> Self {
        let mut bytes = Vec::new();
        values
            .iter()
            .for_each(|value| varint(*value as u64, &mut bytes));
        self.bytes(field, bytes)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (field, value) in &self.0 {
            match value {
                Value::Number(number) => {
                    varint(field << 3, out);
                    varint(*number, out);
                }
                Value::Fixed64(bits) => {
                    varint(field << 3 | 1, out);
                    out.extend(bits.to_le_bytes());
                }
                Value::Fixed32(bits) => {
                    varint(field << 3 | 5, out);
                    out.extend(bits.to_le_bytes());
                }
                Value::Bytes(bytes) => delimited(*field, bytes, out),
                Value::Message(message) => delimited(*field, &message.to_bytes(), out),
            }
        }
    }
}

pub fn delimited(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend(bytes);
}

pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Messages of ONNX, as far as their fields are messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Leaf,
}

impl Kind {
    fn inner(self, field: u64) -> Option<Kind> {
        Some(match (self, field) {
            (Kind::Model, 7) => Kind::Graph,
            (Kind::Model, 8) => Kind::Leaf,
            (Kind::Graph, 1) => Kind::Node,
            (Kind::Graph, 5) => Kind::Tensor,
            (Kind::Graph, 11..=13) => Kind::ValueInfo,
            (Kind::Node, 5) => Kind::Attribute,
            (Kind::Attribute, 5 | 10) => Kind::Tensor,
            (Kind::Attribute, 6 | 11) => Kind::Graph,
            (Kind::ValueInfo, 2) => Kind::Type,
            (Kind::Type, 1) => Kind::TensorType,
            (Kind::TensorType, 2) => Kind::Shape,
            (Kind::Shape, 1) => Kind::Leaf,
            _ => return None,
        })
    }
}

/// Takes a message apart; None if the bytes are none. What goes deeper than 30 messages stays bytes.
pub fn parse(bytes: &[u8], kind: Kind, depth: usize) -> Option<Message> {
    let mut rest = bytes;
    let mut message = Message::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let (field, value) = (key >> 3, key & 7);
        let value = match value {
            0 => Value::Number(take_varint(&mut rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?)),
            5 => Value::Fixed32(u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                let inside = take(&mut rest, length)?;
                let inner = kind.inner(field).filter(|_| depth > 0);
                match inner.and_then(|inner| parse(inside, inner, depth - 1)) {
                    Some(inner) => Value::Message(inner),
                    None => Value::Bytes(inside.to_vec()),
                }
            }
            _ => return None,
        };
        message.0.push((field, value));
    }
    Some(message)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
