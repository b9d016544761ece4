//! One value per row from several columns, and their places.

use super::value::{given, given_rows, optional_integers, Block};
use super::{Entry, Rows, Value};
use crate::error::{unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::kernels::reduce::{Reduce, Reduction};
use crate::kernels::topk::{ArgExtreme, Nan, TopK};
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar, Slot, Table};
use std::collections::BTreeMap;

pub const OPERATORS: &[Entry] = &[
    ("", "ReduceL1", |node, inputs, builder| {
        reduce(Reduction::L1, node, inputs, builder)
    }),
    ("", "ReduceL2", |node, inputs, builder| {
        reduce(Reduction::L2, node, inputs, builder)
    }),
    ("", "ReduceLogSum", |node, inputs, builder| {
        reduce(Reduction::LogSum, node, inputs, builder)
    }),
    ("", "ReduceLogSumExp", |node, inputs, builder| {
        reduce(Reduction::LogSumExp, node, inputs, builder)
    }),
    ("", "ReduceMax", |node, inputs, builder| {
        reduce(Reduction::Max, node, inputs, builder)
    }),
    ("", "ReduceMean", |node, inputs, builder| {
        reduce(Reduction::Mean, node, inputs, builder)
    }),
    ("", "ReduceMin", |node, inputs, builder| {
        reduce(Reduction::Min, node, inputs, builder)
    }),
    ("", "ReduceProd", |node, inputs, builder| {
        reduce(Reduction::Prod, node, inputs, builder)
    }),
    ("", "ReduceSum", |node, inputs, builder| {
        reduce(Reduction::Sum, node, inputs, builder)
    }),
    ("", "ReduceSumSquare", |node, inputs, builder| {
        reduce(Reduction::SumSquare, node, inputs, builder)
    }),
    ("", "ArgMax", |node, inputs, builder| {
        arg(true, node, inputs, builder)
    }),
    ("", "ArgMin", |node, inputs, builder| {
        arg(false, node, inputs, builder)
    }),
    ("", "TopK", top_k),
];

/// Which of a value's own dimensions an axis is; the rows themselves are none.
pub fn own_axis(rows: &Rows, axis: i64) -> Result<usize> {
    own_dimension(true, rows.dims.len(), axis)
}

/// `rows`: whether a first dimension, the rows, comes before the own ones.
fn own_dimension(rows: bool, own: usize, axis: i64) -> Result<usize> {
    let rank = own as i64 + i64::from(rows);
    let absolute = if axis < 0 { axis + rank } else { axis };
    match usize::try_from(absolute - i64::from(rows)) {
        Ok(found) if found < own => Ok(found),
        _ => unsupported(format!("axis {axis} of a tensor of rank {rank}")),
    }
}

fn constants(columns: &[Operand]) -> Option<Vec<Scalar>> {
    let value = |column: &Operand| match column {
        Operand::Constant(value) => Some(*value),
        Operand::Slot(_) => None,
    };
    columns.iter().map(value).collect()
}

/// The columns in groups that differ only along the given dimensions, and the dimensions that are left.
fn groups(
    (all, columns): (&[usize], &[Operand]),
    reduced: &[usize],
    keep: bool,
) -> (Vec<usize>, Vec<Vec<Operand>>) {
    let mut groups: BTreeMap<usize, Vec<Operand>> = BTreeMap::new();
    for (position, column) in columns.iter().enumerate() {
        let (mut rest, mut stride, mut group) = (position, 1, 0);
        for (own, dim) in all.iter().enumerate().rev() {
            if !reduced.contains(&own) {
                group += rest % dim * stride;
                stride *= dim;
            }
            rest /= dim;
        }
        groups.entry(group).or_default().push(*column);
    }
    let dim = |(own, dim): (usize, &usize)| match (reduced.contains(&own), keep) {
        (true, true) => Some(1),
        (true, false) => None,
        (false, _) => Some(*dim),
    };
    (
        all.iter().enumerate().filter_map(dim).collect(),
        groups.into_values().collect(),
    )
}

fn reduce(
    how: Reduction,
    node: &Node,
    inputs: &[Value],
    builder: &mut Builder,
) -> Result<Vec<Value>> {
    let block = Block::of(given(inputs, 0)?, builder)?;
    let axes = optional_integers(inputs, 1)?.unwrap_or_else(|| node.ints("axes").to_vec());
    if axes.is_empty() {
        if node.int("noop_with_empty_axes").unwrap_or(0) == 1 {
            return Ok(vec![given(inputs, 0)?.clone()]);
        }
        return unsupported(format!("a {} over all rows", node.op));
    }
    let float = matches!(how, Reduction::L2 | Reduction::LogSum)
        || matches!(how, Reduction::LogSumExp | Reduction::Mean);
    match block.kind {
        Kind::F64 | Kind::F32 => {}
        Kind::I64 if !float => {}
        kind => return unsupported(format!("{} of {kind:?}", node.op)),
    }
    let own = |axis: &i64| own_dimension(block.rows, block.dims.len(), *axis);
    let reduced = axes.iter().map(own).collect::<Result<Vec<_>>>()?;
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    let (dims, groups) = groups((&block.dims, &block.columns), &reduced, keep);
    let mut columns = Vec::with_capacity(groups.len());
    for group in &groups {
        columns.push(reduce_columns(how, group, block.kind, builder)?);
    }
    let block = Block {
        dims,
        columns,
        ..block
    };
    Ok(vec![block.value(builder)?])
}

/// The reduction of columns of one kind, in order.
pub fn reduce_columns(
    how: Reduction,
    columns: &[Operand],
    kind: Kind,
    builder: &mut Builder,
) -> Result<Operand> {
    builder.spend(columns.len().saturating_mul(size_of::<Operand>()))?;
    if let Some(values) = constants(columns) {
        return match Reduce::of_constants(how, kind, &values) {
            Some(value) => Ok(Operand::Constant(value)),
            None => unsupported(format!("{how:?} of {kind:?}")),
        };
    }
    let mut columns = columns.to_vec();
    if matches!(how, Reduction::Max | Reduction::Min) {
        columns = extremes_of_texts(how, &columns, builder)?;
    }
    if let ([column], Reduction::Max | Reduction::Min) = (columns.as_slice(), how) {
        return Ok(*column);
    }
    let slot = builder.slot(kind)?;
    builder.push(Reduce::new(how, columns, slot, kind));
    Ok(Operand::Slot(slot))
}

/// Min and Max do not depend on the order: all functions of one text become one, and all constants one.
fn extremes_of_texts(
    how: Reduction,
    columns: &[Operand],
    builder: &mut Builder,
) -> Result<Vec<Operand>> {
    let op = if how == Reduction::Max {
        Op::Max
    } else {
        Op::Min
    };
    let mut rest = Vec::new();
    let mut constant: Option<Operand> = None;
    let mut by_text: BTreeMap<Slot, Vec<Operand>> = BTreeMap::new();
    for column in columns {
        match (column, builder.table(*column)) {
            (Operand::Constant(_), _) => {
                constant = Some(match constant {
                    Some(other) => builder.elementwise(op, &[other, *column])?,
                    None => *column,
                });
            }
            (_, Some((input, _))) => by_text.entry(input).or_default().push(*column),
            _ => rest.push(*column),
        }
    }
    for (input, group) in by_text {
        let tables: Vec<&Table> = group
            .iter()
            .filter_map(|column| builder.table(*column).map(|(_, table)| table))
            .collect();
        match extreme_table(op, &tables)? {
            Some(table) => rest.push(builder.table_operand(input, table)?),
            None => rest.extend(group),
        }
    }
    rest.extend(constant);
    Ok(rest)
}

/// None where the columns' values for unknown texts differ: 10,000 such columns would take 10^8 steps.
fn extreme_table(op: Op, tables: &[&Table]) -> Result<Option<Table>> {
    let Some((first, others)) = tables.split_first() else {
        return Ok(None);
    };
    let default = first.default;
    if others
        .iter()
        .any(|table| table.default.bits() != default.bits())
    {
        return Ok(None);
    }
    let mut entries: BTreeMap<u32, (Scalar, usize)> = BTreeMap::new();
    for (code, value) in tables.iter().flat_map(|table| &table.entries) {
        let known = match entries.get(code) {
            Some((known, count)) => (
                crate::kernels::elementwise::evaluate(op, &[*known, *value])?,
                count + 1,
            ),
            None => (*value, 1),
        };
        entries.insert(*code, known);
    }
    // Columns without an entry for a text have their common value there.
    let finish = |(code, (value, count)): (u32, (Scalar, usize))| {
        let all = count == tables.len();
        let value = if all {
            value
        } else {
            crate::kernels::elementwise::evaluate(op, &[value, default])?
        };
        Ok((code, value))
    };
    Ok(Some(Table {
        default,
        entries: entries.into_iter().map(finish).collect::<Result<_>>()?,
    }))
}

fn arg(largest: bool, node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    if !matches!(rows.kind, Kind::F64 | Kind::F32 | Kind::I64) {
        return unsupported(format!("{} of {:?}", node.op, rows.kind));
    }
    let axis = own_axis(rows, node.int("axis").unwrap_or(0))?;
    let (dims, groups) = groups(
        (&rows.dims, &rows.columns),
        &[axis],
        node.int("keepdims").unwrap_or(1) != 0,
    );
    let last = node.int("select_last_index").unwrap_or(0) != 0;
    let mut columns = Vec::with_capacity(groups.len());
    for inputs in groups {
        let slot = builder.slot(Kind::I64)?;
        let outputs = [(slot, Kind::I64)];
        builder.push(ArgExtreme {
            largest,
            last,
            nan: Nan::Wins,
            kind: rows.kind,
            inputs,
            outputs,
        });
        columns.push(Operand::Slot(slot));
    }
    Ok(vec![Value::rows(Kind::I64, dims, columns, builder)?])
}

/// Values and places of the k largest or smallest of each row.
fn top_k(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    let k = match optional_integers(inputs, 1)?.as_deref() {
        Some([k]) => *k,
        None => node.int("k").unwrap_or(0),
        _ => return unsupported("a TopK of several k"),
    };
    let axis = own_axis(rows, node.int("axis").unwrap_or(-1))?;
    let sorted = node.int("sorted").unwrap_or(1) != 0;
    let k = usize::try_from(k).ok().filter(|k| *k <= rows.columns.len());
    let (Some(k), 1, 0, true) = (k, rows.dims.len(), axis, sorted) else {
        return unsupported("a TopK of this form");
    };
    if !matches!(rows.kind, Kind::F64 | Kind::F32 | Kind::I64) {
        return unsupported(format!("TopK of {:?}", rows.kind));
    }
    let kinds = std::iter::repeat_n(rows.kind, k).chain(std::iter::repeat_n(Kind::I64, k));
    let outputs = kinds
        .map(|kind| Ok((builder.slot(kind)?, kind)))
        .collect::<Result<Vec<_>>>()?;
    let operands: Vec<Operand> = outputs
        .iter()
        .map(|(slot, _)| Operand::Slot(*slot))
        .collect();
    let largest = node.int("largest").unwrap_or(1) != 0;
    builder.push(TopK {
        largest,
        kind: rows.kind,
        inputs: rows.columns.clone(),
        outputs,
    });
    let (values, places) = operands.split_at(k);
    Ok(vec![
        Value::matrix(rows.kind, values.to_vec(), builder)?,
        Value::matrix(Kind::I64, places.to_vec(), builder)?,
    ])
}
