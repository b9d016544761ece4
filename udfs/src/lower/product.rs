//! Columns times constant weights, one-hot columns as lookups.

use crate::error::Result;
use crate::kernels::matmul::{MatMul, Part, Weights};
use crate::program::{Builder, Kind, Operand, Scalar, Slot, Table};
use std::collections::BTreeMap;

/// What a product's columns become: runs of dense columns, and runs of functions of one text in which at most one column
/// is not zero for any text.
enum Run {
    Dense {
        first: usize,
        columns: Vec<Operand>,
    },
    /// By the text's code: the column that is not zero, and its value.
    Hot {
        input: Slot,
        entries: BTreeMap<u32, (usize, f64)>,
    },
}

/// `weight(input, output)`; `bias` is empty or one per output. Sums are taken in the order of the columns.
///
/// Columns and results are of kind F64 or F32.
pub fn product(
    columns: &[Operand],
    outputs: usize,
    weight: &dyn Fn(usize, usize) -> f64,
    bias: Vec<f64>,
    kind: Kind,
    builder: &mut Builder,
) -> Result<Vec<Operand>> {
    builder.spend(
        columns
            .len()
            .saturating_mul(outputs.saturating_add(8))
            .saturating_mul(8),
    )?;
    let mut parts = Vec::new();
    let mut inputs = Vec::new();
    for run in runs(columns, outputs, weight, builder) {
        match run {
            Run::Dense { first, columns } => {
                parts.push(Part::Dense(Weights::new(columns.len(), outputs, |i, j| {
                    weight(first + i, j)
                })));
                inputs.extend(columns);
            }
            Run::Hot { input, entries } => {
                let (part, operand) = lookup(input, &entries, outputs, weight, builder)?;
                parts.push(part);
                inputs.push(operand);
            }
        }
    }
    let slots = (0..outputs)
        .map(|_| Ok((builder.slot(kind)?, kind)))
        .collect::<Result<Vec<_>>>()?;
    let results = slots.iter().map(|(slot, _)| Operand::Slot(*slot)).collect();
    builder.push(MatMul::new(parts, bias, inputs, slots));
    Ok(results)
}

fn runs(
    columns: &[Operand],
    outputs: usize,
    weight: &dyn Fn(usize, usize) -> f64,
    builder: &Builder,
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let hot = hot_entries(*column, builder)
            .filter(|_| (0..outputs).all(|j| weight(index, j).is_finite()));
        match (hot, runs.last_mut()) {
            (
                Some((input, entries)),
                Some(Run::Hot {
                    input: known,
                    entries: all,
                }),
            ) if *known == input && entries.iter().all(|(code, _)| !all.contains_key(code)) => {
                all.extend(
                    entries
                        .into_iter()
                        .map(|(code, value)| (code, (index, value))),
                );
            }
            (Some((input, entries)), _) => {
                let entries = entries
                    .into_iter()
                    .map(|(code, value)| (code, (index, value)))
                    .collect();
                runs.push(Run::Hot { input, entries });
            }
            (None, Some(Run::Dense { columns, .. })) => columns.push(*column),
            (None, _) => runs.push(Run::Dense {
                first: index,
                columns: vec![*column],
            }),
        }
    }
    runs
}

/// The texts for which a column is not zero, if it is zero for all texts that the model does not know.
fn hot_entries(column: Operand, builder: &Builder) -> Option<(Slot, Vec<(u32, f64)>)> {
    let (input, table) = builder.table(column)?;
    if table.default.double()? != 0.0 {
        return None;
    }
    let value = |(code, value): (&u32, &Scalar)| Some((*code, value.double()?));
    let entries = table
        .entries
        .iter()
        .map(value)
        .collect::<Option<Vec<_>>>()?;
    // Zero times a finite weight adds nothing to a sum; see kernels::matmul.
    Some((
        input,
        entries
            .into_iter()
            .filter(|(_, value)| *value != 0.0)
            .collect(),
    ))
}

fn lookup(
    input: Slot,
    entries: &BTreeMap<u32, (usize, f64)>,
    outputs: usize,
    weight: &dyn Fn(usize, usize) -> f64,
    builder: &mut Builder,
) -> Result<(Part, Operand)> {
    if outputs == 1 {
        // The product itself as a column; times 1.0 it stays what it is.
        let products = entries
            .iter()
            .map(|(code, (index, value))| (*code, Scalar::F64(value * weight(*index, 0))));
        let table = Table {
            default: Scalar::F64(0.0),
            entries: products.collect(),
        };
        let operand = builder.table_operand(input, table)?;
        return Ok((Part::Dense(Weights::new(1, 1, |_, _| 1.0)), operand));
    }
    builder.spend(entries.len().saturating_mul(outputs).saturating_mul(8))?;
    let column = |j: usize| {
        let products = entries
            .values()
            .map(|(index, value)| value * weight(*index, j));
        std::iter::once(0.0).chain(products).collect()
    };
    let tables = (0..outputs).map(column).collect();
    let places = entries
        .keys()
        .zip(1i64..)
        .map(|(code, place)| (*code, Scalar::I64(place)));
    let table = Table {
        default: Scalar::I64(0),
        entries: places.collect(),
    };
    Ok((Part::Rows(tables), builder.table_operand(input, table)?))
}
