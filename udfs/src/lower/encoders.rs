//! Encoders and maps of ai.onnx.ml; LabelEncoder is in `text`.

use super::linear::floating;
use super::text;
use super::value::{given, given_rows};
use super::{Entry, Value};
use crate::error::{malformed, unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar};
use std::collections::HashSet;

pub const OPERATORS: &[Entry] = &[
    ("ai.onnx.ml", "CategoryMapper", category_mapper),
    ("ai.onnx.ml", "OneHotEncoder", one_hot_encoder),
    ("ai.onnx.ml", "ZipMap", zip_map),
    ("ai.onnx.ml", "FeatureVectorizer", feature_vectorizer),
];

/// Texts and integers that stand for each other. Of equal keys the last counts.
fn category_mapper(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    let (texts, integers) = (node.texts("cats_strings"), node.ints("cats_int64s"));
    if texts.len() != integers.len() {
        return malformed(format!(
            "a CategoryMapper of {} texts and {} integers",
            texts.len(),
            integers.len()
        ));
    }
    let mut pairs = Vec::with_capacity(texts.len());
    for (text, integer) in texts.iter().zip(integers).rev() {
        let (text, integer) = (builder.text(text)?, Scalar::I64(*integer));
        pairs.push(if rows.kind == Kind::Code {
            (text, integer)
        } else {
            (integer, text)
        });
    }
    let default = match rows.kind {
        Kind::Code => Scalar::I64(node.int("default_int64").unwrap_or(-1)),
        _ => builder.text(node.text("default_string").unwrap_or("_Unused").as_bytes())?,
    };
    text::encode(rows, &pairs, default, builder)
}

/// [N, k] -> [N, k, categories], [N] -> [N, categories]. Of equal categories the last counts.
fn one_hot_encoder(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    if node.int("zeros").unwrap_or(1) == 0 {
        return unsupported("a OneHotEncoder that fails for an unknown category");
    }
    let (texts, integers) = (node.texts("cats_strings"), node.ints("cats_int64s"));
    let categories = match rows.kind {
        Kind::Code => texts
            .iter()
            .map(|text| builder.text(text))
            .collect::<Result<Vec<_>>>()?,
        _ => integers
            .iter()
            .map(|category| Scalar::I64(*category))
            .collect(),
    };
    if categories.is_empty() {
        return unsupported("a OneHotEncoder without categories of its input's type");
    }
    let categories = without_repeated(&categories);
    let mut columns = Vec::new();
    for column in &rows.columns {
        let value = match rows.kind {
            Kind::Code | Kind::I64 => *column,
            Kind::F64 | Kind::F32 => whole(*column, builder)?,
            Kind::Bool => return unsupported("a OneHotEncoder of truth values"),
        };
        for category in &categories {
            let test = match category {
                Some(category) => {
                    builder.elementwise(Op::Equal, &[value, Operand::Constant(*category)])?
                }
                None => Operand::Constant(Scalar::Bool(false)),
            };
            columns.push(builder.elementwise(Op::Cast(Kind::F32), &[test])?);
        }
    }
    let dims = rows
        .dims
        .iter()
        .copied()
        .chain([categories.len()])
        .collect();
    Ok(vec![Value::rows(Kind::F32, dims, columns, builder)?])
}

/// None in the place of a category that comes again later.
fn without_repeated(categories: &[Scalar]) -> Vec<Option<Scalar>> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Option<Scalar>> = categories
        .iter()
        .rev()
        .map(|category| seen.insert(category.bits()).then_some(*category))
        .collect();
    kept.reverse();
    kept
}

/// A floating-point number's whole part; for NaN the integer that a cast gives on x86-64.
fn whole(column: Operand, builder: &mut Builder) -> Result<Operand> {
    let integer = builder.elementwise(Op::Cast(Kind::I64), &[column])?;
    let nan = builder.elementwise(Op::IsNan, &[column])?;
    builder.elementwise(
        Op::Where,
        &[nan, Operand::Constant(Scalar::I64(i64::MIN)), integer],
    )
}

/// A matrix with a name for each column; its columns are what callers read.
fn zip_map(node: &Node, inputs: &[Value], _: &mut Builder) -> Result<Vec<Value>> {
    let rows = given_rows(inputs, 0)?;
    let names = node.texts("classlabels_strings").len() + node.ints("classlabels_int64s").len();
    if rows.dims != [names] {
        return unsupported(format!("a ZipMap of {names} names over {:?}", rows.dims));
    }
    Ok(vec![given(inputs, 0)?.clone()])
}

/// Values side by side as floats, each cut or filled with zeros to its stated width.
fn feature_vectorizer(node: &Node, inputs: &[Value], builder: &mut Builder) -> Result<Vec<Value>> {
    let widths = node.ints("inputdimensions");
    if widths.len() != inputs.len() {
        return malformed(format!(
            "a FeatureVectorizer with {} widths for {} inputs",
            widths.len(),
            inputs.len()
        ));
    }
    let mut columns = Vec::new();
    for (index, width) in widths.iter().enumerate() {
        let rows = given_rows(inputs, index)?;
        let Some(width) = usize::try_from(*width)
            .ok()
            .filter(|width| *width <= 1 << 16)
        else {
            return unsupported(format!("a FeatureVectorizer of width {width}"));
        };
        builder.spend(width.saturating_mul(size_of::<Operand>()))?;
        let (_, own) = floating(rows, Kind::F32, builder)?;
        for column in own.iter().take(width) {
            columns.push(builder.elementwise(Op::Cast(Kind::F32), &[*column])?);
        }
        columns.extend((own.len()..width).map(|_| Operand::Constant(Scalar::F32(0.0))));
    }
    Ok(vec![Value::matrix(Kind::F32, columns, builder)?])
}
