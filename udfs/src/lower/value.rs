//! What an ONNX value is while its graph is lowered.

use crate::error::{unsupported, Result};
use crate::onnx::{volume, Data, Tensor};
use crate::program::{Builder, Kind, Operand, Scalar};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub enum Value {
    /// An optional input that is left out.
    Absent,
    Constant(Arc<Tensor>),
    Rows(Arc<Rows>),
    /// Made by something without a native form, which only matters if somebody reads it: why.
    Unknown(Arc<str>),
}

/// A tensor whose first dimension is the rows that are scored.
#[derive(Debug, Clone)]
pub struct Rows {
    pub kind: Kind,
    /// The dimensions after the first: [k] for [N, k], [] for [N].
    pub dims: Vec<usize>,
    /// One per position in `dims`, in row-major order.
    pub columns: Vec<Operand>,
}

impl Value {
    pub fn rows(
        kind: Kind,
        dims: Vec<usize>,
        columns: Vec<Operand>,
        builder: &mut Builder,
    ) -> Result<Value> {
        builder.spend(
            columns
                .len()
                .saturating_mul(size_of::<Operand>())
                .saturating_add(64),
        )?;
        if volume(&dims) != Some(columns.len()) {
            return unsupported(format!("{} columns in the shape {dims:?}", columns.len()));
        }
        Ok(Value::Rows(Arc::new(Rows {
            kind,
            dims,
            columns,
        })))
    }

    /// [N, k]
    pub fn matrix(kind: Kind, columns: Vec<Operand>, builder: &mut Builder) -> Result<Value> {
        Value::rows(kind, vec![columns.len()], columns, builder)
    }

    pub fn constant(tensor: Tensor, builder: &mut Builder) -> Result<Value> {
        builder.spend(tensor.data.len().saturating_mul(8).saturating_add(64))?;
        Ok(Value::Constant(Arc::new(tensor)))
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Value::Absent)
    }

    /// The kind of its values; none for an absent one.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Value::Absent | Value::Unknown(_) => None,
            Value::Rows(rows) => Some(rows.kind),
            Value::Constant(tensor) => Some(match tensor.data {
                Data::F32(_) => Kind::F32,
                Data::F64(_) => Kind::F64,
                Data::I64(_) => Kind::I64,
                Data::Bool(_) => Kind::Bool,
                Data::Text(_) => Kind::Code,
            }),
        }
    }

    /// The tensor of a constant.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }
}

/// The input at a place, for operators that cannot do without it.
pub fn given(inputs: &[Value], index: usize) -> Result<&Value> {
    match inputs.get(index) {
        Some(Value::Absent) | None => unsupported(format!("an operator without its input {index}")),
        Some(Value::Unknown(why)) => unsupported(&**why),
        Some(value) => Ok(value),
    }
}

/// The input's columns, for operators that need rows.
pub fn given_rows(inputs: &[Value], index: usize) -> Result<&Rows> {
    match given(inputs, index)? {
        Value::Rows(rows) => Ok(rows),
        _ => unsupported(format!("a constant as input {index}")),
    }
}

/// The input's tensor, for operators that need a constant there.
pub fn given_constant(inputs: &[Value], index: usize) -> Result<&Tensor> {
    match given(inputs, index)? {
        Value::Constant(tensor) => Ok(tensor),
        _ => unsupported(format!("an input {index} that depends on the row")),
    }
}

/// The optional input's integers; none if it is left out.
pub fn optional_integers(inputs: &[Value], index: usize) -> Result<Option<Vec<i64>>> {
    match inputs.get(index) {
        Some(Value::Absent) | None => Ok(None),
        Some(_) => match given_constant(inputs, index)?.integers() {
            Some(values) => Ok(Some(values.to_vec())),
            None => unsupported(format!("input {index} that is no integers")),
        },
    }
}

/// A constant's values, texts as codes.
pub fn scalars(tensor: &Tensor, builder: &mut Builder) -> Result<Vec<Scalar>> {
    builder.spend(tensor.data.len().saturating_mul(size_of::<Scalar>()))?;
    Ok(match &tensor.data {
        Data::F32(values) => values.iter().map(|value| Scalar::F32(*value)).collect(),
        Data::F64(values) => values.iter().map(|value| Scalar::F64(*value)).collect(),
        Data::I64(values) => values.iter().map(|value| Scalar::I64(*value)).collect(),
        Data::Bool(values) => values.iter().map(|value| Scalar::Bool(*value)).collect(),
        Data::Text(values) => values
            .iter()
            .map(|value| builder.text(value))
            .collect::<Result<_>>()?,
    })
}

/// Rows and constants alike, for operators that only move or combine values.
#[derive(Debug, Clone)]
pub struct Block {
    /// Whether a first dimension, the rows, comes before `dims`.
    pub rows: bool,
    pub kind: Kind,
    pub dims: Vec<usize>,
    pub columns: Vec<Operand>,
}

impl Block {
    pub fn of(value: &Value, builder: &mut Builder) -> Result<Block> {
        match value {
            Value::Absent => unsupported("an operator without one of its inputs"),
            Value::Unknown(why) => unsupported(&**why),
            Value::Rows(rows) => {
                builder.spend(rows.columns.len().saturating_mul(size_of::<Operand>()))?;
                Ok(Block {
                    rows: true,
                    kind: rows.kind,
                    dims: rows.dims.clone(),
                    columns: rows.columns.clone(),
                })
            }
            Value::Constant(tensor) => {
                let columns = scalars(tensor, builder)?
                    .into_iter()
                    .map(Operand::Constant)
                    .collect();
                let kind = value.kind().unwrap_or(Kind::F64);
                Ok(Block {
                    rows: false,
                    kind,
                    dims: tensor.dims.clone(),
                    columns,
                })
            }
        }
    }

    pub fn rank(&self) -> usize {
        self.dims.len() + usize::from(self.rows)
    }

    pub fn value(self, builder: &mut Builder) -> Result<Value> {
        if self.rows {
            return Value::rows(self.kind, self.dims, self.columns, builder);
        }
        let mut scalars = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            match column {
                Operand::Constant(value) => scalars.push(*value),
                Operand::Slot(_) => return unsupported("a constant that depends on the row"),
            }
        }
        let data = match self.kind {
            Kind::F64 => Data::F64(scalars.iter().filter_map(|value| value.double()).collect()),
            Kind::F32 => Data::F32(
                scalars
                    .iter()
                    .filter_map(|value| value.double())
                    .map(|value| value as f32)
                    .collect(),
            ),
            Kind::I64 => Data::I64(scalars.iter().filter_map(|value| of(*value)).collect()),
            Kind::Bool => Data::Bool(scalars.iter().filter_map(|value| of(*value)).collect()),
            Kind::Code => {
                let codes = scalars.iter().filter_map(|value| of::<u32>(*value));
                Data::Text(codes.map(|code| builder.text_of(code).to_vec()).collect())
            }
        };
        Value::constant(Tensor::new(self.dims, data)?, builder)
    }
}

fn of<T: crate::program::Element>(value: Scalar) -> Option<T> {
    T::of(value)
}
