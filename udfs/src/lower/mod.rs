//! ONNX graph -> program: one function per operator, by name in the tables of the operator families.

mod arithmetic;
mod cast;
mod classes;
mod compare;
mod control;
mod elements;
mod encoders;
mod linear;
mod nn;
mod pick;
pub(crate) mod product;
mod reduce;
mod scaling;
mod shape;
mod svm;
mod text;
mod trees;
mod value;

use crate::error::{malformed, unsupported, Error, Result};
use crate::onnx::{Graph, Node, Port};
use crate::program::{Builder, Kind, Operand, Program, Scalar};
use std::collections::HashMap;

pub use value::{Rows, Value};

/// Gives the values of a node's outputs for the values of its inputs (`Value::Absent` where one is left out at the end or between).
pub type Lowering = fn(&Node, &[Value], &mut Builder) -> Result<Vec<Value>>;

/// Domain ("" is ONNX itself), operator, function.
pub type Entry = (&'static str, &'static str, Lowering);

/// What is made so far, by name.
type Values<'g> = HashMap<&'g str, Value>;

/// Every operator that has a native form.
pub const LOWERINGS: &[&[Entry]] = &[
    arithmetic::OPERATORS,
    cast::OPERATORS,
    compare::OPERATORS,
    elements::OPERATORS,
    encoders::OPERATORS,
    linear::OPERATORS,
    nn::OPERATORS,
    reduce::OPERATORS,
    scaling::OPERATORS,
    shape::OPERATORS,
    svm::OPERATORS,
    text::OPERATORS,
    trees::OPERATORS,
];

/// `bytes`: the size of the model's file.
pub fn lower(graph: &Graph, bytes: usize) -> Result<Program> {
    lower_and(graph, bytes, |_, _| Ok(()))
}

/// And what else is made of the graph's tensors, which are given by name.
pub fn lower_and<'g>(
    graph: &'g Graph,
    bytes: usize,
    also: impl FnOnce(&HashMap<&'g str, Value>, &mut Builder) -> Result<()>,
) -> Result<Program> {
    let mut builder = Builder::new(graph.opsets.clone(), bytes);
    let mut values = Values::new();
    for (name, tensor) in &graph.constants {
        values.insert(name, Value::Constant(tensor.clone()));
    }
    inputs(&graph.inputs, &mut builder, &mut values)?;
    nodes(graph, &mut builder, &mut values)?;
    also(&values, &mut builder)?;
    for port in &graph.outputs {
        let Some(value) = values.get(port.name.as_str()) else {
            return malformed(format!("nothing makes the output {}", port.name));
        };
        let (kind, columns) = output(value, &port.name, &mut builder)?;
        builder.output(port.name.clone(), kind, columns);
    }
    Ok(builder.finish())
}

/// Lowers the nodes in order into `values`.
fn nodes<'g>(graph: &'g Graph, builder: &mut Builder, values: &mut Values<'g>) -> Result<()> {
    graph
        .nodes
        .iter()
        .try_for_each(|node| one(node, graph, builder, values))
}

/// Lowers one node. What has no native form becomes `Unknown`: it counts only once something needs it.
fn one<'g>(
    node: &'g Node,
    graph: &'g Graph,
    builder: &mut Builder,
    values: &mut Values<'g>,
) -> Result<()> {
    let mut operands = Vec::with_capacity(node.inputs.len());
    for name in &node.inputs {
        match values.get(name.as_str()) {
            _ if name.is_empty() => operands.push(Value::Absent),
            Some(value) => operands.push(value.clone()),
            None => {
                return malformed(format!(
                    "{} reads {name}, which nothing before it makes",
                    node.op
                ))
            }
        }
    }
    let why = operands.iter().find_map(|operand| match operand {
        Value::Unknown(why) => Some(why.clone()),
        _ => None,
    });
    let made = match (control::lowering(node), why) {
        (Some(lowering), _) => lowering(node, &operands, builder, graph, values),
        (None, Some(why)) => unsupported(&*why),
        (None, None) => lowering(node).and_then(|lowering| lowering(node, &operands, builder)),
    };
    let (made, why) = match made {
        Ok(made) => (made, format!("further outputs of {}", node.op)),
        Err(Error::Unsupported(why)) => (Vec::new(), why),
        Err(error) => return Err(error),
    };
    let unknown = Value::Unknown(why.into());
    for (index, name) in node.outputs.iter().enumerate() {
        let value = made.get(index).unwrap_or(&unknown).clone();
        if !name.is_empty() && values.insert(name, value).is_some() {
            return malformed(format!("{name} is made twice"));
        }
    }
    Ok(())
}

fn lowering(node: &Node) -> Result<Lowering> {
    let entries = LOWERINGS.iter().flat_map(|family| family.iter());
    for (domain, op, lowering) in entries {
        if *op == node.op && *domain == node.domain {
            return Ok(*lowering);
        }
    }
    let dot = if node.domain.is_empty() { "" } else { "." };
    unsupported(format!("operator {}{dot}{}", node.domain, node.op))
}

fn inputs<'g>(ports: &'g [Port], builder: &mut Builder, values: &mut Values<'g>) -> Result<()> {
    let mut shapes = Vec::new();
    let mut count = 0;
    for port in ports {
        let kind = kind(port.element).map_or_else(
            || unsupported(format!("inputs of type {}", port.element)),
            Ok,
        )?;
        let dims = match port.dims.as_deref() {
            Some([_, rest @ ..]) => rest.iter().copied().collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let Some(dims) = dims else {
            return unsupported(format!("input {} of unknown shape", port.name));
        };
        let width = crate::onnx::volume(&dims);
        let Some(width) = width.filter(|width| *width <= 1 << 16) else {
            return unsupported(format!("input {} of shape {dims:?}", port.name));
        };
        for column in 0..width {
            let name = if width == 1 {
                port.name.clone()
            } else {
                format!("{}_{column}", port.name)
            };
            builder.input(name, kind)?;
        }
        shapes.push((port, kind, dims, count..count + width));
        count += width;
    }
    for (port, kind, dims, range) in shapes {
        let columns = range
            .map(|index| builder.input_operand(index))
            .collect::<Result<Vec<_>>>()?;
        if values
            .insert(&port.name, Value::rows(kind, dims, columns, builder)?)
            .is_some()
        {
            return malformed(format!("two inputs named {}", port.name));
        }
    }
    Ok(())
}

fn output(value: &Value, name: &str, builder: &mut Builder) -> Result<(Kind, Vec<Operand>)> {
    match value {
        Value::Rows(rows) => Ok((rows.kind, rows.columns.clone())),
        // One row of constants stands for every row.
        Value::Constant(tensor) if tensor.dims.first().is_none_or(|rows| *rows == 1) => {
            let scalars = value::scalars(tensor, builder)?;
            let kind = scalars
                .first()
                .map_or(Kind::F64, |scalar: &Scalar| scalar.kind());
            Ok((kind, scalars.into_iter().map(Operand::Constant).collect()))
        }
        Value::Unknown(why) => unsupported(&**why),
        _ => unsupported(format!("the constant output {name}")),
    }
}

/// Of TensorProto.DataType.
pub fn kind(element: i64) -> Option<Kind> {
    match element {
        1 => Some(Kind::F32),
        11 => Some(Kind::F64),
        2..=7 | 12 | 13 => Some(Kind::I64),
        8 => Some(Kind::Code),
        9 => Some(Kind::Bool),
        _ => None,
    }
}
