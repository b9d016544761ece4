//! Operators that only move values: they cost nothing at run time.

use super::value::{given, given_rows, optional_integers, Block};
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::onnx::{Node, Tensor};
use crate::program::Builder;

pub const OPERATORS: &[Entry] = &[
    ("", "Identity", |_, inputs, _| {
        Ok(vec![given(inputs, 0)?.clone()])
    }),
    ("", "Dropout", |_, inputs, _| {
        Ok(vec![given(inputs, 0)?.clone()])
    }),
    ("", "Constant", constant),
    ("", "Concat", concat),
    ("", "Flatten", flatten),
    ("", "Squeeze", squeeze),
    ("", "Unsqueeze", unsqueeze),
];

fn constant(node: &Node, _: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    use crate::onnx::{Attribute, Data};
    let tensor = match node.attributes.first() {
        Some((_, Attribute::Tensor(tensor))) => tensor.clone(),
        Some((_, Attribute::Float(value))) => Tensor::scalar(Data::F32(vec![*value]))?,
        Some((_, Attribute::Int(value))) => Tensor::scalar(Data::I64(vec![*value]))?,
        Some((_, Attribute::Text(value))) => Tensor::scalar(Data::Text(vec![value.clone()]))?,
        Some((_, Attribute::Floats(values))) => {
            Tensor::new(vec![values.len()], Data::F32(values.clone()))?
        }
        Some((_, Attribute::Ints(values))) => {
            Tensor::new(vec![values.len()], Data::I64(values.clone()))?
        }
        Some((_, Attribute::Texts(values))) => {
            Tensor::new(vec![values.len()], Data::Text(values.clone()))?
        }
        _ => return unsupported("a constant of another form"),
    };
    Ok(vec![Value::constant(tensor, builder)?])
}

/// Which of a block's own dimensions an axis is; the rows themselves are none.
fn axis(block: &Block, axis: i64) -> Result<usize> {
    let rank = block.rank() as i64;
    let absolute = if axis < 0 { axis + rank } else { axis };
    let own = absolute - i64::from(block.rows);
    match usize::try_from(own) {
        Ok(own) if own < block.dims.len() => Ok(own),
        _ => unsupported(format!("axis {axis} of a tensor of rank {rank}")),
    }
}

fn concat(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let blocks = inputs
        .iter()
        .map(|value| Block::of(value, builder))
        .collect::<Result<Vec<_>>>()?;
    let Some(first) = blocks.first() else {
        return unsupported("a Concat of nothing");
    };
    let at = axis(first, node.int("axis").unwrap_or(0))?;
    let (before, after) = (&first.dims[..at], &first.dims[at + 1..]);
    let fits = |block: &Block| {
        block.rows == first.rows
            && block.kind == first.kind
            && block.dims.len() == first.dims.len()
            && block.dims[..at] == *before
            && block.dims[at + 1..] == *after
    };
    if !blocks.iter().all(fits) {
        return unsupported("a Concat of shapes or types that do not fit");
    }
    let inner: usize = after.iter().product();
    let mut columns = Vec::with_capacity(blocks.iter().map(|block| block.columns.len()).sum());
    for outer in 0..before.iter().product() {
        for block in &blocks {
            let width = block.dims[at] * inner;
            columns.extend_from_slice(&block.columns[outer * width..(outer + 1) * width]);
        }
    }
    let mut dims = first.dims.clone();
    dims[at] = blocks.iter().map(|block| block.dims[at]).sum();
    let block = Block {
        rows: first.rows,
        kind: first.kind,
        dims,
        columns,
    };
    Ok(vec![block.value(builder)?])
}

/// Rows stay rows; the rest becomes one dimension.
fn flatten(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    if node.int("axis").unwrap_or(1) != 1 {
        return unsupported("a Flatten that joins rows");
    }
    Ok(vec![Value::matrix(
        rows.kind,
        rows.columns.clone(),
        builder,
    )?])
}

/// Axes are an input, or an attribute before opset 13; none means all that are 1.
fn axes(node: &Node, inputs: &[Value]) -> Result<Vec<i64>> {
    Ok(optional_integers(inputs, 1)?.unwrap_or_else(|| node.ints("axes").to_vec()))
}

fn squeeze(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let mut block = Block::of(given(inputs, 0)?, builder)?;
    let given = axes(node, inputs)?;
    let mut gone = given
        .iter()
        .map(|number| axis(&block, *number))
        .collect::<Result<Vec<_>>>()?;
    if given.is_empty() {
        gone = (0..block.dims.len())
            .filter(|own| block.dims[*own] == 1)
            .collect();
    }
    if gone.iter().any(|own| block.dims[*own] != 1) {
        return unsupported("a Squeeze of a dimension that is not 1");
    }
    let mut index = 0;
    block.dims.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    Ok(vec![block.value(builder)?])
}

fn unsqueeze(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let mut block = Block::of(given(inputs, 0)?, builder)?;
    let axes = axes(node, inputs)?;
    let rank = (block.rank() + axes.len()) as i64;
    let mut own: Vec<i64> = axes
        .iter()
        .map(|axis| if *axis < 0 { axis + rank } else { *axis })
        .collect();
    own.sort_unstable();
    for axis in own {
        match usize::try_from(axis - i64::from(block.rows)) {
            Ok(at) if at <= block.dims.len() => block.dims.insert(at, 1),
            _ => return unsupported(format!("an Unsqueeze at {axis}")),
        }
    }
    Ok(vec![block.value(builder)?])
}
