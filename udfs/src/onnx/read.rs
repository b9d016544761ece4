//! ModelProto -> Graph.

use super::wire::{Payload, Reader};
use super::{tensor, Attribute, Graph, Node, Port};
use crate::error::{malformed, unsupported, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Graphs inside graphs (If, Loop, Scan): the only recursion, so it has an end.
const DEPTH: usize = 4;

pub fn model(bytes: &[u8]) -> Result<Graph> {
    let (mut found, mut opsets) = (None, Vec::new());
    let mut notes = HashMap::new();
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            7 => found = Some(payload.bytes()?),
            8 => opsets.push(opset(payload.bytes()?)?),
            14 => notes.extend(note(payload.bytes()?)?),
            25 => return unsupported("functions defined inside the model"),
            _ => {}
        }
    }
    let Some(body) = found else {
        return malformed("there is no graph in it");
    };
    let mut graph = graph(body, DEPTH)?;
    graph.opsets = opsets.into_iter().collect();
    graph.notes = notes;
    Ok(graph)
}

/// An entry of the model's metadata, if it is one of ours.
fn note(bytes: &[u8]) -> Result<Option<(String, String)>> {
    let (mut key, mut value) = (&[][..], &[][..]);
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => key = payload.bytes()?,
            2 => value = payload.bytes()?,
            _ => {}
        }
    }
    let ours = key.starts_with(b"sqlml.");
    Ok(
        match (std::str::from_utf8(key), std::str::from_utf8(value)) {
            (Ok(key), Ok(value)) if ours => Some((key.into(), value.into())),
            _ => None,
        },
    )
}

fn opset(bytes: &[u8]) -> Result<(String, i64)> {
    let (mut domain, mut version) = (String::new(), 0);
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => domain = payload.text()?,
            2 => version = payload.number()?,
            _ => {}
        }
    }
    Ok((
        if domain == "ai.onnx" {
            String::new()
        } else {
            domain
        },
        version,
    ))
}

fn graph(bytes: &[u8], depth: usize) -> Result<Graph> {
    let mut graph = Graph::default();
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => graph.nodes.push(node(payload.bytes()?, depth)?),
            5 => {
                let (name, value) = tensor::read(payload.bytes()?)?;
                if graph
                    .constants
                    .insert(name.clone(), Arc::new(value))
                    .is_some()
                {
                    return malformed(format!("two constants named {name}"));
                }
            }
            11 => graph.inputs.push(port(payload.bytes()?)?),
            12 => graph.outputs.push(port(payload.bytes()?)?),
            15 => return unsupported("sparse constants"),
            _ => {}
        }
    }
    // Before IR version 4 every constant is an input, too.
    graph
        .inputs
        .retain(|input| !graph.constants.contains_key(&input.name));
    Ok(graph)
}

fn node(bytes: &[u8], depth: usize) -> Result<Node> {
    let mut node = Node::default();
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => node.inputs.push(payload.text()?),
            2 => node.outputs.push(payload.text()?),
            4 => node.op = payload.text()?,
            5 => node.attributes.push(attribute(payload.bytes()?, depth)?),
            7 => node.domain = payload.text()?,
            _ => {}
        }
    }
    if node.domain == "ai.onnx" {
        node.domain.clear();
    }
    if node.op.is_empty() || node.outputs.is_empty() {
        return malformed("a node without an operator or without an output");
    }
    Ok(node)
}

fn attribute(bytes: &[u8], depth: usize) -> Result<(String, Attribute)> {
    let (mut name, mut kind) = (String::new(), 0);
    let (mut float, mut integer, mut text, mut tensor_value) = (None, None, None, None);
    let (mut floats, mut integers, mut texts, mut inner) =
        (Vec::new(), Vec::new(), Vec::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => name = payload.text()?,
            2 => float = Some(payload.float()?),
            3 => integer = Some(payload.number()?),
            4 => text = Some(payload.bytes()?.to_vec()),
            5 => tensor_value = Some(tensor::read(payload.bytes()?)?.1),
            6 if depth == 0 => return unsupported(format!("graphs nested deeper than {DEPTH}")),
            6 => inner = Some(graph(payload.bytes()?, depth - 1)?),
            7 => payload.push_floats(&mut floats)?,
            8 => payload.push_integers(&mut integers)?,
            9 => texts.push(payload.bytes()?.to_vec()),
            20 => kind = payload.number()?,
            _ => {}
        }
    }
    let value = match kind {
        1 => Attribute::Float(float.unwrap_or_default()),
        2 => Attribute::Int(integer.unwrap_or_default()),
        3 => Attribute::Text(text.unwrap_or_default()),
        6 => Attribute::Floats(floats),
        7 => Attribute::Ints(integers),
        8 => Attribute::Texts(texts),
        // Tensors, graphs and files written before the type was required.
        _ => match (tensor_value, inner, float, integer, text) {
            (Some(value), ..) => Attribute::Tensor(value),
            (_, Some(value), ..) => Attribute::Graph(Box::new(value)),
            (_, _, Some(value), ..) => Attribute::Float(value),
            (_, _, _, Some(value), _) => Attribute::Int(value),
            (_, _, _, _, Some(value)) => Attribute::Text(value),
            _ if !floats.is_empty() => Attribute::Floats(floats),
            _ if !integers.is_empty() => Attribute::Ints(integers),
            _ if !texts.is_empty() => Attribute::Texts(texts),
            _ => Attribute::Other,
        },
    };
    Ok((name, value))
}

/// ValueInfoProto.
fn port(bytes: &[u8]) -> Result<Port> {
    let mut port = Port::default();
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => port.name = payload.text()?,
            2 => {
                if let Some(tensor) = only(payload, 1)? {
                    tensor_type(tensor.bytes()?, &mut port)?;
                }
            }
            _ => {}
        }
    }
    Ok(port)
}

fn tensor_type(bytes: &[u8], port: &mut Port) -> Result<()> {
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => port.element = payload.number()?,
            2 => {
                let mut dims = Vec::new();
                let mut shape = Reader::new(payload.bytes()?);
                while let Some((field, dim)) = shape.field()? {
                    if field == 1 {
                        let size = only(dim, 1)?.map(Payload::number).transpose()?;
                        dims.push(size.and_then(|size| usize::try_from(size).ok()));
                    }
                }
                port.dims = Some(dims);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The last field with this number in a message.
fn only(message: Payload<'_>, number: u64) -> Result<Option<Payload<'_>>> {
    let mut found = None;
    let mut reader = Reader::new(message.bytes()?);
    while let Some((field, payload)) = reader.field()? {
        if field == number {
            found = Some(payload);
        }
    }
    Ok(found)
}
