//! Scoring a chunk in onnxruntime: the columns as it takes them, its tensors as columns.

use super::results::Answer;
use super::shapes::Shape;
use crate::error::{Error, Result};
use crate::onnxruntime::{self, Session, Tensor, Values};
use crate::program::{Column, Scalar};

/// The outputs that a shape shows, by their place in the graph.
pub struct Wanted {
    outputs: Vec<usize>,
    error: bool,
    index: bool,
}

/// The outputs of one chunk, as columns.
pub struct Found {
    error: Option<Vec<i64>>,
    index: Option<Vec<i64>>,
    numbers: Vec<Vec<f64>>,
}

/// None if the graph has no such outputs; how wide they are shows when it runs.
pub fn wanted(shape: Shape, session: &Session) -> Option<Wanted> {
    let numeric = || {
        (0..session.outputs().len())
            .filter(|place| is_numeric(session, *place))
            .collect::<Vec<_>>()
    };
    let named = |name: &str| {
        session
            .output(name)
            .filter(|place| is_numeric(session, *place))
    };
    let (prediction, probabilities) = (named("prediction"), named("probabilities"));
    let numbers = match shape {
        Shape::Class(0) => Vec::new(),
        Shape::Class(_) | Shape::ClassMany | Shape::Probabilities => vec![probabilities?],
        Shape::Value(_) | Shape::ValueMany => vec![prediction?],
        Shape::Number => vec![probabilities
            .or(prediction)
            .or_else(|| numeric().last().copied())?],
        Shape::Explanation => return None,
        Shape::Outputs => numeric(),
    };
    let error = named("error").filter(|_| shape != Shape::Outputs);
    let index = prediction.filter(|_| shape.has_index());
    if shape.has_index() && index.is_none() {
        return None;
    }
    let outputs = error.into_iter().chain(index).chain(numbers).collect();
    Some(Wanted {
        outputs,
        error: error.is_some(),
        index: index.is_some(),
    })
}

fn is_numeric(session: &Session, place: usize) -> bool {
    session
        .outputs()
        .get(place)
        .is_some_and(|port| port.kind.is_numeric())
}

/// `texts`: for each column the texts behind its codes.
pub fn run(
    session: &Session,
    wanted: &Wanted,
    columns: &[Column<'_>],
    texts: &[&[Vec<u8>]],
    rows: usize,
) -> Result<Found> {
    let text = |column: usize, code: u32| -> &[u8] {
        texts
            .get(column)
            .and_then(|texts| texts.get(code as usize))
            .map_or(&[], Vec::as_slice)
    };
    let spelt: Vec<Vec<&[u8]>> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| match column {
            Column::Code(codes) => codes.iter().map(|code| text(index, *code)).collect(),
            _ => Vec::new(),
        })
        .collect();
    let given: Vec<onnxruntime::Column<'_>> = columns
        .iter()
        .zip(&spelt)
        .enumerate()
        .map(|(index, (column, spelt))| match column {
            Column::F64(values) => onnxruntime::Column::F64(values),
            Column::F32(values) => onnxruntime::Column::F32(values),
            Column::I64(values) => onnxruntime::Column::I64(values),
            Column::Bool(values) => onnxruntime::Column::Bool(values),
            Column::Code(_) => onnxruntime::Column::Text(spelt),
            Column::Uniform(Scalar::Code(code)) => onnxruntime::Column::OneText(text(index, *code)),
            Column::Uniform(Scalar::I64(value)) => onnxruntime::Column::Whole(*value),
            Column::Uniform(Scalar::Bool(value)) => onnxruntime::Column::Whole(i64::from(*value)),
            Column::Uniform(value) => {
                onnxruntime::Column::Number(value.double().unwrap_or(f64::NAN))
            }
        })
        .collect();
    let mut tensors = session.run(&given, rows, &wanted.outputs)?.into_iter();
    let error = if wanted.error {
        tensors.next().map(integers)
    } else {
        None
    };
    let index = if wanted.index {
        tensors.next().map(integers)
    } else {
        None
    };
    Ok(Found {
        error,
        index,
        numbers: tensors.flat_map(doubles).collect(),
    })
}

impl Found {
    pub fn error(&self) -> Option<Column<'_>> {
        self.error.as_deref().map(Column::I64)
    }

    pub fn answer(&self, shape: Shape) -> Result<Answer<'_>> {
        let mut numbers: Vec<Column<'_>> = self
            .numbers
            .iter()
            .map(|values| Column::F64(values))
            .collect();
        let fits = match shape {
            Shape::Class(count) | Shape::Value(count) => numbers.len() == count,
            Shape::Number => {
                numbers.drain(..numbers.len().saturating_sub(1));
                numbers.len() == 1
            }
            _ => true,
        };
        match fits {
            true => Ok(Answer {
                index: self.index.as_deref().map(Column::I64),
                numbers,
            }),
            false => Err(Error::Failed(format!(
                "the model gives {} numbers, {} another count",
                numbers.len(),
                shape.name()
            ))),
        }
    }
}

/// The first column.
fn integers(tensor: Tensor) -> Vec<i64> {
    let step = tensor.width.max(1);
    match tensor.values {
        Values::I64(values) => values.into_iter().step_by(step).collect(),
        Values::F64(values) => values
            .into_iter()
            .step_by(step)
            .map(|value| value as i64)
            .collect(),
    }
}

/// Row after row into column after column.
fn doubles(tensor: Tensor) -> Vec<Vec<f64>> {
    let width = tensor.width;
    let column = |index: usize| -> Vec<f64> {
        match &tensor.values {
            Values::F64(values) => values.iter().skip(index).step_by(width).copied().collect(),
            Values::I64(values) => values
                .iter()
                .skip(index)
                .step_by(width)
                .map(|value| *value as f64)
                .collect(),
        }
    };
    (0..width).map(column).collect()
}
