//! What ai.onnx.ml's classifiers and regressors share: labels, and transforms of their scores.

use super::Value;
use crate::error::{malformed, unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::kernels::pick;
use crate::kernels::softmax::{RowFunction, RowWise};
use crate::kernels::topk::{ArgExtreme, Nan};
use crate::onnx::Node;
use crate::program::{Builder, Kind, Operand, Scalar};

/// The labels of a classifier.
pub enum Classes {
    Texts(Vec<Vec<u8>>),
    Ints(Vec<i64>),
}

impl Classes {
    /// Texts where there are any, as in onnxruntime.
    pub fn of(node: &Node) -> Result<Classes> {
        match (
            node.texts("classlabels_strings"),
            node.ints("classlabels_ints"),
        ) {
            ([], ints) => Ok(Classes::Ints(ints.to_vec())),
            (texts, _) => Ok(Classes::Texts(texts.to_vec())),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Classes::Texts(labels) => labels.len(),
            Classes::Ints(labels) => labels.len(),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Classes::Texts(_) => Kind::Code,
            Classes::Ints(_) => Kind::I64,
        }
    }

    fn scalars(&self, builder: &mut Builder) -> Result<Vec<Scalar>> {
        match self {
            Classes::Texts(labels) => labels.iter().map(|label| builder.text(label)).collect(),
            Classes::Ints(labels) => Ok(labels.iter().map(|label| Scalar::I64(*label)).collect()),
        }
    }

    /// The second label (or 1) where the score is positive, else the first (or 0).
    pub fn by_sign(&self, score: Operand, builder: &mut Builder) -> Result<Value> {
        let (no, yes) = match self.scalars(builder)?.as_slice() {
            [no, yes] => (*no, *yes),
            _ if self.kind() == Kind::Code => (builder.text(b"0")?, builder.text(b"1")?),
            _ => (Scalar::I64(0), Scalar::I64(1)),
        };
        let zero = Operand::Constant(Scalar::F64(0.0));
        let positive = builder.elementwise(Op::Less, &[zero, score])?;
        let label = builder.elementwise(
            Op::Where,
            &[positive, Operand::Constant(yes), Operand::Constant(no)],
        )?;
        Value::rows(self.kind(), vec![], vec![label], builder)
    }

    /// The label at a place (I64).
    pub fn at(&self, place: Operand, builder: &mut Builder) -> Result<Value> {
        let labels = self.scalars(builder)?;
        let mut label = place;
        // Labels 0, 1, 2, ... are the places themselves.
        if labels
            .iter()
            .zip(0..)
            .any(|(label, place)| *label != Scalar::I64(place))
        {
            let slot = builder.slot(self.kind())?;
            builder.push_boxed(pick::kernel(place, slot, &labels));
            label = Operand::Slot(slot);
        }
        Value::rows(self.kind(), vec![], vec![label], builder)
    }

    /// The label of the largest score; of equals the first. A NaN never wins, unless it is the first score.
    pub fn by_largest(&self, scores: &[Operand], builder: &mut Builder) -> Result<Value> {
        if self.len() < scores.len() {
            return malformed(format!(
                "a classifier with {} scores and {} labels",
                scores.len(),
                self.len()
            ));
        }
        let slot = builder.slot(Kind::I64)?;
        builder.push(ArgExtreme {
            largest: true,
            last: false,
            nan: Nan::Skipped,
            kind: Kind::F64,
            inputs: scores.to_vec(),
            outputs: [(slot, Kind::I64)],
        });
        self.at(Operand::Slot(slot), builder)
    }
}

pub fn post_transform(node: &Node) -> &str {
    node.text("post_transform").unwrap_or("NONE")
}

/// Scores (F64) of several classes or targets. A single one only knows PROBIT, as in onnxruntime.
pub fn transform(how: &str, scores: &[Operand], builder: &mut Builder) -> Result<Vec<Operand>> {
    match (how, scores) {
        ("NONE", _) => Ok(scores.to_vec()),
        ("PROBIT", _) => scores.iter().map(|score| probit(*score, builder)).collect(),
        ("LOGISTIC" | "SOFTMAX" | "SOFTMAX_ZERO", [_]) => Ok(scores.to_vec()),
        ("LOGISTIC", _) => scores
            .iter()
            .map(|score| builder.elementwise(Op::Sigmoid, &[*score]))
            .collect(),
        ("SOFTMAX", _) => row_wise(RowFunction::Softmax, Kind::F64, scores, Kind::F64, builder),
        ("SOFTMAX_ZERO", _) => row_wise(
            RowFunction::SoftmaxZero,
            Kind::F64,
            scores,
            Kind::F64,
            builder,
        ),
        _ => unsupported(format!("the post_transform {how}")),
    }
}

/// A function of all columns, of kind `from`, to columns of kind `to`.
pub fn row_wise(
    function: RowFunction,
    from: Kind,
    columns: &[Operand],
    to: Kind,
    builder: &mut Builder,
) -> Result<Vec<Operand>> {
    let outputs = columns
        .iter()
        .map(|_| Ok((builder.slot(to)?, to)))
        .collect::<Result<Vec<_>>>()?;
    let results = outputs
        .iter()
        .map(|(slot, _)| Operand::Slot(*slot))
        .collect();
    builder.push(RowWise {
        function,
        kind: from,
        inputs: columns.to_vec(),
        outputs,
    });
    Ok(results)
}

/// F64 columns as F32: what ai.onnx.ml's models give.
pub fn singles(columns: &[Operand], builder: &mut Builder) -> Result<Vec<Operand>> {
    columns
        .iter()
        .map(|column| builder.elementwise(Op::Cast(Kind::F32), &[*column]))
        .collect()
}

/// The scores of two classes from the one of the second.
pub fn pair(how: &str, score: Operand, builder: &mut Builder) -> Result<Vec<Operand>> {
    if how == "LOGISTIC" {
        let opposite = builder.elementwise(Op::Neg, &[score])?;
        return transform(how, &[opposite, score], builder);
    }
    let score = if how == "PROBIT" {
        probit(score, builder)?
    } else {
        score
    };
    Ok(vec![one_minus(score, builder)?, score])
}

fn one_minus(score: Operand, builder: &mut Builder) -> Result<Operand> {
    builder.elementwise(Op::Sub, &[constant(1.0), score])
}

fn constant(value: f64) -> Operand {
    Operand::Constant(Scalar::F64(value))
}

/// sqrt(2) erfinv(2p - 1) by the approximation that onnxruntime has (Winitzki, a = 0.147), with its float32 value of
/// 2 / (pi a).
pub fn probit(p: Operand, builder: &mut Builder) -> Result<Operand> {
    let twice = builder.elementwise(Op::Mul, &[constant(2.0), p])?;
    let x = builder.elementwise(Op::Sub, &[twice, constant(1.0)])?;
    let below = builder.elementwise(Op::Sub, &[constant(1.0), x])?;
    let above = builder.elementwise(Op::Add, &[constant(1.0), x])?;
    let product = builder.elementwise(Op::Mul, &[below, above])?;
    let log = builder.elementwise(Op::Log, &[product])?;
    let half = builder.elementwise(Op::Mul, &[constant(0.5), log])?;
    let v = builder.elementwise(Op::Add, &[constant(4.330750465393066), half])?;
    let v2 = builder.elementwise(Op::Mul, &[constant(f64::from(1.0f32 / 0.147)), log])?;
    let square = builder.elementwise(Op::Mul, &[v, v])?;
    let inner = builder.elementwise(Op::Sub, &[square, v2])?;
    let root = builder.elementwise(Op::Sqrt, &[inner])?;
    let v3 = builder.elementwise(Op::Sub, &[root, v])?;
    let size = builder.elementwise(Op::Sqrt, &[v3])?;
    let size = builder.elementwise(Op::Mul, &[constant(std::f64::consts::SQRT_2), size])?;
    let minus = builder.elementwise(Op::Neg, &[size])?;
    let negative = builder.elementwise(Op::Less, &[x, constant(0.0)])?;
    builder.elementwise(Op::Where, &[negative, minus, size])
}
