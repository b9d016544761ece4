//! Operators that only move values: they cost nothing at run time.

use super::pick;
use super::value::{given, given_constant, given_rows, optional_integers, Block};
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::onnx::{Node, Tensor};
use crate::program::{Builder, Operand};

pub const OPERATORS: &[Entry] = &[
    ("", "Identity", |_, inputs, _| {
        Ok(vec![given(inputs, 0)?.clone()])
    }),
    ("", "Dropout", |_, inputs, _| {
        Ok(vec![given(inputs, 0)?.clone()])
    }),
    ("", "Constant", constant),
    ("", "Concat", concat),
    ("", "Gather", gather),
    ("ai.onnx.ml", "ArrayFeatureExtractor", extract),
    ("", "Slice", slice),
    ("", "Split", split),
    ("", "Reshape", reshape),
    ("", "Transpose", transpose),
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

/// Picks places along one of a block's own dimensions; the places take that dimension's place in `dims`.
fn choose(
    block: &Block,
    at: usize,
    places: &[usize],
    dims: &[usize],
    builder: &mut Builder,
) -> Result<Value> {
    let inner: usize = block.dims[at + 1..].iter().product();
    let outer: usize = block.dims[..at].iter().product();
    let size = block.dims[at];
    let count = outer
        .checked_mul(places.len())
        .and_then(|count| count.checked_mul(inner));
    builder.spend(
        count
            .unwrap_or(usize::MAX)
            .saturating_mul(size_of::<Operand>()),
    )?;
    let mut columns = Vec::with_capacity(count.unwrap_or_default());
    for outer in 0..outer {
        for place in places {
            let start = (outer * size + place) * inner;
            match block.columns.get(start..start + inner) {
                Some(picked) if *place < size => columns.extend_from_slice(picked),
                _ => return unsupported(format!("place {place} of {size}")),
            }
        }
    }
    let mut shape = block.dims[..at].to_vec();
    shape.extend_from_slice(dims);
    shape.extend_from_slice(&block.dims[at + 1..]);
    Block {
        rows: block.rows,
        kind: block.kind,
        dims: shape,
        columns,
    }
    .value(builder)
}

/// Places as ONNX counts them, negative from the end.
fn places(indices: &[i64], size: usize) -> Result<Vec<usize>> {
    let place = |index: &i64| {
        let place = if *index < 0 {
            index.checked_add(size as i64)
        } else {
            Some(*index)
        };
        match place.and_then(|place| usize::try_from(place).ok()) {
            Some(place) if place < size => Ok(place),
            _ => unsupported(format!("index {index} of {size}")),
        }
    };
    indices.iter().map(place).collect()
}

fn gather(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    if let (Value::Constant(data), Value::Rows(indices)) = (given(inputs, 0)?, given(inputs, 1)?) {
        return pick::gather(data, indices, node.int("axis").unwrap_or(0), builder);
    }
    let block = Block::of(given(inputs, 0)?, builder)?;
    let indices = given_constant(inputs, 1)?;
    let at = axis(&block, node.int("axis").unwrap_or(0))?;
    let Some(numbers) = indices.integers() else {
        return unsupported("a Gather by something else than integers");
    };
    let places = places(numbers, block.dims[at])?;
    Ok(vec![choose(&block, at, &places, &indices.dims, builder)?])
}

/// ai.onnx.ml's Gather along the last dimension.
fn extract(_: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    if let (Value::Constant(list), Value::Rows(places)) = (given(inputs, 0)?, given(inputs, 1)?) {
        return pick::by_row(list, places, builder);
    }
    let block = Block::of(given(inputs, 0)?, builder)?;
    let indices = given_constant(inputs, 1)?;
    let (Some(numbers), Some(at)) = (indices.integers(), block.dims.len().checked_sub(1)) else {
        return unsupported("an ArrayFeatureExtractor of this form");
    };
    let places = places(numbers, block.dims[at])?;
    Ok(vec![choose(&block, at, &places, &[places.len()], builder)?])
}

/// Bounds are inputs, or attributes before opset 10.
fn slice(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let mut block = Block::of(given(inputs, 0)?, builder)?;
    let list = |index, name: &str| -> Result<Vec<i64>> {
        Ok(optional_integers(inputs, index)?.unwrap_or_else(|| node.ints(name).to_vec()))
    };
    let (starts, ends, axes, steps) = (
        list(1, "starts")?,
        list(2, "ends")?,
        list(3, "axes")?,
        list(4, "steps")?,
    );
    if starts.len() != ends.len() {
        return unsupported("a Slice with more starts than ends");
    }
    for (index, (start, end)) in starts.iter().zip(&ends).enumerate() {
        let at = axis(&block, axes.get(index).copied().unwrap_or(index as i64))?;
        let step = steps.get(index).copied().unwrap_or(1);
        let size = block.dims[at] as i64;
        let absolute = |bound: i64| {
            if bound < 0 {
                bound.saturating_add(size)
            } else {
                bound
            }
        };
        let places: Vec<usize> = match step {
            1.. => {
                let (start, end) = (
                    absolute(*start).clamp(0, size),
                    absolute(*end).clamp(0, size),
                );
                (start..end)
                    .step_by(step as usize)
                    .map(|place| place as usize)
                    .collect()
            }
            -1 => {
                let (start, end) = (
                    absolute(*start).clamp(-1, size - 1),
                    absolute(*end).clamp(-1, size - 1),
                );
                (end + 1..=start)
                    .rev()
                    .map(|place| place as usize)
                    .collect()
            }
            _ => return unsupported(format!("a Slice by steps of {step}")),
        };
        let value = choose(&block, at, &places, &[places.len()], builder)?;
        block = Block::of(&value, builder)?;
    }
    Ok(vec![block.value(builder)?])
}

/// Sizes are an input, an attribute before opset 13, or equal.
fn split(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let block = Block::of(given(inputs, 0)?, builder)?;
    let at = axis(&block, node.int("axis").unwrap_or(0))?;
    let count = node.outputs.len();
    let equal = || vec![block.dims[at].div_ceil(count.max(1)) as i64; count];
    let mut sizes = optional_integers(inputs, 1)?.unwrap_or_else(|| node.ints("split").to_vec());
    if sizes.is_empty() {
        sizes = equal();
    }
    let (mut values, mut start) = (Vec::new(), 0usize);
    for size in sizes {
        let end = start.saturating_add(usize::try_from(size).unwrap_or_default());
        let places: Vec<usize> = (start.min(block.dims[at])..end.min(block.dims[at])).collect();
        values.push(choose(&block, at, &places, &[places.len()], builder)?);
        start = end;
    }
    Ok(values)
}

/// Rows stay rows: the new shape's first dimension is 0 (the same), or -1 (what is left) with as many columns as before.
fn reshape(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let mut block = Block::of(given(inputs, 0)?, builder)?;
    let shape = optional_integers(inputs, 1)?.unwrap_or_else(|| node.ints("shape").to_vec());
    let wanted = match (block.rows, shape.split_first()) {
        (true, Some((0 | -1, rest))) => rest,
        (false, _) => &shape[..],
        _ => return unsupported(format!("a Reshape of rows to {shape:?}")),
    };
    let mut dims = Vec::new();
    for (index, dim) in wanted.iter().enumerate() {
        dims.push(match dim {
            0 => match block.dims.get(index) {
                Some(same) => *same as i64,
                None => return unsupported(format!("a Reshape to {shape:?}")),
            },
            other => *other,
        });
    }
    let known: i64 = dims
        .iter()
        .filter(|dim| **dim >= 0)
        .fold(1, |product, dim| product.saturating_mul(*dim));
    let count = block.columns.len() as i64;
    let unknown = dims.iter().filter(|dim| **dim == -1).count();
    match unknown {
        0 if known == count => {}
        1 if known > 0 && count % known == 0 && !(block.rows && shape.first() == Some(&-1)) => {
            dims.iter_mut()
                .filter(|dim| **dim == -1)
                .for_each(|dim| *dim = count / known);
        }
        _ => return unsupported(format!("a Reshape of {count} columns to {shape:?}")),
    }
    block.dims = dims
        .iter()
        .filter_map(|dim| usize::try_from(*dim).ok())
        .collect();
    Ok(vec![block.value(builder)?])
}

/// Rows stay first.
fn transpose(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let block = Block::of(given(inputs, 0)?, builder)?;
    let rank = block.rank();
    let order: Vec<i64> = match node.ints("perm") {
        [] => (0..rank as i64).rev().collect(),
        order => order.to_vec(),
    };
    if order.len() != rank || (block.rows && order.first() != Some(&0)) {
        return unsupported("a Transpose that moves the rows");
    }
    let order = order[usize::from(block.rows)..]
        .iter()
        .map(|number| axis(&block, *number))
        .collect::<Result<Vec<_>>>()?;
    let mut strides = vec![1; block.dims.len()];
    for at in (1..strides.len()).rev() {
        strides[at - 1] = strides[at] * block.dims[at];
    }
    let dims: Vec<usize> = order.iter().map(|own| block.dims[*own]).collect();
    let mut columns = Vec::with_capacity(block.columns.len());
    for position in 0..block.columns.len() {
        let (mut rest, mut from) = (position, 0);
        for (dim, own) in dims.iter().zip(&order).rev() {
            from += rest % dim * strides[*own];
            rest /= dim;
        }
        match block.columns.get(from) {
            Some(column) => columns.push(*column),
            None => return unsupported("a Transpose of this form"),
        }
    }
    Ok(vec![Block {
        dims,
        columns,
        ..block
    }
    .value(builder)?])
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
