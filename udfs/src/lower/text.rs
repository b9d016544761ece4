//! LabelEncoder: values by keys, which are texts or numbers.

use super::value::{given_rows, Rows};
use super::{Entry, Value};
use crate::error::{unsupported, Result};
use crate::kernels::label;
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar, Table};
use std::collections::BTreeMap;

pub const OPERATORS: &[Entry] = &[("ai.onnx.ml", "LabelEncoder", label_encoder)];

fn label_encoder(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    if node.attribute("classes_strings").is_some() {
        return first_version(node, rows, builder);
    }
    let keys = list(node, "keys", builder)?;
    let values = list(node, "values", builder)?;
    if keys.len() != values.len() {
        return unsupported(format!(
            "a LabelEncoder with {} keys and {} values",
            keys.len(),
            values.len()
        ));
    }
    let kind = values.first().map(|value| value.kind());
    let default = match kind {
        Some(kind) => default(node, kind, builder)?,
        None => return unsupported("a LabelEncoder without keys"),
    };
    // The first of equal keys counts, as in onnxruntime.
    let mut pairs: Vec<(Scalar, Scalar)> = Vec::with_capacity(keys.len());
    pairs.extend(keys.into_iter().zip(values));
    if builder.opset("ai.onnx.ml") < 4 {
        // A NaN is found from ai.onnx.ml 4 on only.
        pairs.retain(|(key, _)| !key.double().is_some_and(f64::is_nan));
    }
    encode(rows, &pairs, default, builder)
}

/// Opset 1: texts to their places, or back.
fn first_version(node: &Node, rows: &Rows, builder: &mut Builder) -> Result<Vec<Value>> {
    let texts = node
        .texts("classes_strings")
        .iter()
        .map(|text| builder.text(text))
        .collect::<Result<Vec<_>>>()?;
    let places = (0..texts.len() as i64).map(Scalar::I64);
    if rows.kind == Kind::Code {
        // Of equal texts the last counts, as in onnxruntime.
        let mut pairs: Vec<_> = texts.into_iter().zip(places).collect();
        pairs.reverse();
        return encode(
            rows,
            &pairs,
            Scalar::I64(node.int("default_int64").unwrap_or(-1)),
            builder,
        );
    }
    let default = builder.text(node.text("default_string").unwrap_or("_Unused").as_bytes())?;
    let pairs: Vec<_> = places.zip(texts).collect();
    encode(rows, &pairs, default, builder)
}

pub fn encode(
    rows: &Rows,
    pairs: &[(Scalar, Scalar)],
    default: Scalar,
    builder: &mut Builder,
) -> Result<Vec<Value>> {
    if pairs
        .iter()
        .any(|(key, value)| key.kind() != rows.kind || value.kind() != default.kind())
    {
        return unsupported(format!(
            "a LabelEncoder with other keys for {:?}",
            rows.kind
        ));
    }
    let mut columns = Vec::with_capacity(rows.columns.len());
    if rows.kind == Kind::Code {
        let mut entries = BTreeMap::new();
        for (key, value) in pairs {
            if let Scalar::Code(code) = key {
                entries.entry(*code).or_insert(*value);
            }
        }
        let table = Table { default, entries };
        for column in &rows.columns {
            columns.push(builder.look_up(*column, &table)?);
        }
    } else {
        for column in &rows.columns {
            builder.spend(pairs.len().saturating_mul(32))?;
            let slot = builder.slot(default.kind())?;
            builder.push_boxed(label::kernel(*column, slot, pairs, default)?);
            columns.push(Operand::Slot(slot));
        }
    }
    Ok(vec![Value::rows(
        default.kind(),
        rows.dims.clone(),
        columns,
        builder,
    )?])
}

/// `keys_*` or `values_*` in whichever type they are.
fn list(node: &Node, name: &str, builder: &mut Builder) -> Result<Vec<Scalar>> {
    if let Some(tensor) = node.tensor(&format!("{name}_tensor")) {
        return super::value::scalars(tensor, builder);
    }
    let texts = node.texts(&format!("{name}_strings"));
    if !texts.is_empty() {
        return texts.iter().map(|text| builder.text(text)).collect();
    }
    let integers = node.ints(&format!("{name}_int64s"));
    if !integers.is_empty() {
        return Ok(integers.iter().map(|value| Scalar::I64(*value)).collect());
    }
    Ok(node
        .floats(&format!("{name}_floats"))
        .iter()
        .map(|value| Scalar::F32(*value))
        .collect())
}

fn default(node: &Node, kind: Kind, builder: &mut Builder) -> Result<Scalar> {
    if let Some(tensor) = node.tensor("default_tensor") {
        match super::value::scalars(tensor, builder)?.first() {
            Some(value) if value.kind() == kind => return Ok(*value),
            // A tensor of another type is ignored by onnxruntime; an answer that nobody could predict is not given here.
            _ => {
                return unsupported(
                    "a LabelEncoder whose default is of another type than its values",
                )
            }
        }
    }
    Ok(match kind {
        Kind::Code => builder.text(node.text("default_string").unwrap_or("_Unused").as_bytes())?,
        Kind::I64 => Scalar::I64(node.int("default_int64").unwrap_or(-1)),
        Kind::F32 => Scalar::F32(node.float("default_float").unwrap_or(-0.0)),
        Kind::F64 => Scalar::F64(f64::from(node.float("default_float").unwrap_or(-0.0))),
        Kind::Bool => return unsupported("a LabelEncoder of truth values"),
    })
}
