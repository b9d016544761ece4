//! Constants of a model.

use super::wire::{chunks, Reader};
use crate::error::{malformed, unsupported, Result};

#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    pub data: Data,
}

/// The values in row-major order. Integers of every width are kept as i64.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<Vec<u8>>),
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Data::F32(values) => values.len(),
            Data::F64(values) => values.len(),
            Data::I64(values) => values.len(),
            Data::Bool(values) => values.len(),
            Data::Text(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tensor {
    pub fn new(dims: Vec<usize>, data: Data) -> Result<Tensor> {
        let count = dims
            .iter()
            .try_fold(1usize, |product, dim| product.checked_mul(*dim));
        if count != Some(data.len()) {
            return malformed(format!(
                "a tensor of shape {dims:?} with {} values",
                data.len()
            ));
        }
        Ok(Tensor { dims, data })
    }

    pub fn scalar(data: Data) -> Result<Tensor> {
        Tensor::new(vec![], data)
    }

    /// The values as doubles; None for text.
    pub fn doubles(&self) -> Option<Vec<f64>> {
        Some(match &self.data {
            Data::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::F64(values) => values.clone(),
            Data::I64(values) => values.iter().map(|value| *value as f64).collect(),
            Data::Bool(values) => values
                .iter()
                .map(|value| f64::from(u8::from(*value)))
                .collect(),
            Data::Text(_) => return None,
        })
    }

    /// The values as integers; None for anything else.
    pub fn integers(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(values) => Some(values),
            _ => None,
        }
    }
}

/// How many values a tensor of this shape has. An empty one may not be huge in another dimension: loops over it would not end.
pub fn volume(dims: &[usize]) -> Option<usize> {
    let sized = dims
        .iter()
        .filter(|dim| **dim != 0)
        .try_fold(1usize, |product, dim| product.checked_mul(*dim))?;
    match dims.contains(&0) {
        true => (sized <= 1 << 16).then_some(0),
        false => Some(sized),
    }
}

/// TensorProto: name and value.
pub fn read(bytes: &[u8]) -> Result<(String, Tensor)> {
    let (mut name, mut kind, mut dims) = (String::new(), 0, Vec::new());
    let (mut floats, mut doubles, mut integers, mut texts) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut raw: Option<&[u8]> = None;
    let mut reader = Reader::new(bytes);
    while let Some((field, payload)) = reader.field()? {
        match field {
            1 => payload.push_integers(&mut dims)?,
            2 => kind = payload.number()?,
            4 => payload.push_floats(&mut floats)?,
            5 | 7 | 11 => payload.push_integers(&mut integers)?,
            6 => texts.push(payload.bytes()?.to_vec()),
            8 => name = payload.text()?,
            9 => raw = Some(payload.bytes()?),
            10 => payload.push_doubles(&mut doubles)?,
            14 if payload.number()? != 0 => {
                return malformed(format!(
                    "the values of {name} are in another file, and a model has to be one"
                ))
            }
            _ => {}
        }
    }
    let data = match (kind, raw) {
        (1, None) => Data::F32(floats),
        (11, None) => Data::F64(doubles),
        (2..=7 | 12 | 13, None) => Data::I64(integers),
        (9, None) => Data::Bool(integers.iter().map(|value| *value != 0).collect()),
        (8, _) => Data::Text(texts),
        (_, Some(raw)) => from_raw(kind, raw)?,
        _ => return unsupported(format!("tensor type {kind}")),
    };
    let dims = dims
        .iter()
        .map(|dim| usize::try_from(*dim))
        .collect::<std::result::Result<Vec<_>, _>>();
    match dims {
        Ok(dims) => Ok((name, Tensor::new(dims, data)?)),
        Err(_) => malformed("a tensor with a negative dimension"),
    }
}

fn from_raw(kind: i64, raw: &[u8]) -> Result<Data> {
    Ok(match kind {
        1 => Data::F32(chunks(raw)?.map(f32::from_le_bytes).collect()),
        11 => Data::F64(chunks(raw)?.map(f64::from_le_bytes).collect()),
        2 => Data::I64(raw.iter().map(|value| i64::from(*value)).collect()),
        3 => Data::I64(raw.iter().map(|value| i64::from(*value as i8)).collect()),
        4 => Data::I64(
            chunks(raw)?
                .map(|value| i64::from(u16::from_le_bytes(value)))
                .collect(),
        ),
        5 => Data::I64(
            chunks(raw)?
                .map(|value| i64::from(i16::from_le_bytes(value)))
                .collect(),
        ),
        6 => Data::I64(
            chunks(raw)?
                .map(|value| i64::from(i32::from_le_bytes(value)))
                .collect(),
        ),
        7 | 13 => Data::I64(chunks(raw)?.map(i64::from_le_bytes).collect()),
        9 => Data::Bool(raw.iter().map(|value| *value != 0).collect()),
        12 => Data::I64(
            chunks(raw)?
                .map(|value| i64::from(u32::from_le_bytes(value)))
                .collect(),
        ),
        other => return unsupported(format!("tensor type {other}")),
    })
}
