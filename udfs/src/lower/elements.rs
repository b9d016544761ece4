//! Columns by an index that depends on the row.

use super::value::given_rows;
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::kernels::elements;
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand};

pub const OPERATORS: &[Entry] = &[
    ("", "GatherElements", gather),
    ("", "ScatterElements", scatter),
];

/// Of [N, k] along the columns.
fn gather(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (data, indices) = (given_rows(inputs, 0)?, given_rows(inputs, 1)?);
    along_columns(node, data.dims.len(), indices.dims.len(), indices.kind)?;
    let mut columns = Vec::with_capacity(indices.columns.len());
    for index in &indices.columns {
        let slot = builder.slot(data.kind)?;
        builder.spend(data.columns.len().saturating_mul(size_of::<Operand>()))?;
        builder.push_boxed(elements::gather(&data.columns, *index, slot, data.kind));
        columns.push(Operand::Slot(slot));
    }
    let made = Value::rows(data.kind, indices.dims.clone(), columns, builder)?;
    Ok(vec![made])
}

fn scatter(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let (data, indices) = (given_rows(inputs, 0)?, given_rows(inputs, 1)?);
    let updates = given_rows(inputs, 2)?;
    along_columns(node, data.dims.len(), indices.dims.len(), indices.kind)?;
    if node.text("reduction").unwrap_or("none") != "none"
        || updates.kind != data.kind
        || updates.columns.len() != indices.columns.len()
    {
        return unsupported("a ScatterElements of this form");
    }
    let mut slots = Vec::with_capacity(data.columns.len());
    for _ in &data.columns {
        slots.push(builder.slot(data.kind)?);
    }
    builder.push_boxed(elements::scatter(
        &data.columns,
        &indices.columns,
        &updates.columns,
        &slots,
        data.kind,
    ));
    let columns = slots.into_iter().map(Operand::Slot).collect();
    let made = Value::rows(data.kind, data.dims.clone(), columns, builder)?;
    Ok(vec![made])
}

fn along_columns(node: &Node, data: usize, indices: usize, kind: Kind) -> Result<()> {
    let axis = node.int("axis").unwrap_or(0);
    if (axis != 1 && axis != -1) || data != 1 || indices != 1 || kind != Kind::I64 {
        return unsupported(format!("{} along axis {axis}", node.op));
    }
    Ok(())
}
