//! What each input column contributes to a row's raw score: path-dependent TreeSHAP for what a model adds up of trees.
//!
//! base + the contributions is the raw score, the base being what the trees say on average over the rows that they were
//! trained on. Where the model computes in double, both sides agree within 1e-9; one that adds its leaves in float32
//! (XGBoost) has a raw score of that precision, while contributions are always added in double.

mod covers;
mod kernel;
mod paths;
mod quadrature;
mod request;
#[cfg(test)]
mod tests;
mod walk;

use crate::error::{malformed, unsupported, Result};
use crate::lower::{lower_and, Value};
use crate::onnx::{Graph, Port};
use crate::program::{Arm, Frame, Operand, Program};
pub use request::{read as read_request, Request};

/// A model's graph up to its raw scores, and what they are made of.
pub struct Explainer {
    pub program: Program,
    request: Request,
    error: Operand,
    /// The class, where only its score is wanted.
    prediction: Option<Operand>,
    scores: Vec<Operand>,
    bases: Vec<f64>,
    /// Per score and column, of each ensemble.
    contributions: Vec<Vec<Operand>>,
}

impl Explainer {
    pub fn load(bytes: &[u8], request: Request) -> Result<Explainer> {
        let mut graph = Graph::read(bytes)?;
        let names = ["error", "prediction", request.score.as_str()];
        graph.outputs = names
            .iter()
            .map(|name| Port {
                name: (*name).into(),
                ..Port::default()
            })
            .collect();
        let size = (request.positions.len(), request.columns);
        let mut bases = request.constants.clone();
        let mut contributions = Vec::new();
        let program = lower_and(&graph, bytes.len(), |values, builder| {
            for asked in &request.ensembles {
                let Some(node) = kernel::maker(&graph, &asked.tensor) else {
                    return malformed(format!("no trees make {}", asked.tensor));
                };
                let Some(note) = graph.notes.get(&format!("sqlml.covers.{}", asked.tensor)) else {
                    return unsupported("explaining trees without their training weights");
                };
                let given = node
                    .inputs
                    .first()
                    .and_then(|name| values.get(name.as_str()));
                let Some(Value::Rows(rows)) = given else {
                    return unsupported("explaining trees of constants");
                };
                let made = kernel::Explain::lower(node, note, asked, size, rows, builder)?;
                for (base, more) in bases.iter_mut().zip(&made.base) {
                    *base += more;
                }
                contributions.push(made.contributions);
            }
            for (i, columns) in contributions.iter().enumerate() {
                let slots = columns.iter().filter(|c| matches!(c, Operand::Slot(_)));
                let name = format!("sqlml explained {i}");
                builder.output(name, crate::program::Kind::F64, slots.copied().collect());
            }
            Ok(())
        })?;
        let columns = |name: &str| {
            program
                .output(name)
                .map(|output| output.columns.clone())
                .unwrap_or_default()
        };
        let score = columns(&request.score);
        let scores: Option<Vec<Operand>> = request
            .positions
            .iter()
            .map(|at| score.get(*at).copied())
            .collect();
        let (Some(scores), Some(error)) = (scores, columns("error").first().copied()) else {
            return malformed("a request for scores that are not there");
        };
        let prediction = columns("prediction")
            .first()
            .copied()
            .filter(|_| request.predicted);
        if request.predicted && prediction.is_none() {
            return malformed("a request for the predicted class of a model without classes");
        }
        Ok(Explainer {
            program,
            request,
            error,
            prediction,
            scores,
            bases,
            contributions,
        })
    }

    /// What a plan must give for `rows`.
    pub fn wanted(&self) -> Vec<Operand> {
        let mut wanted = vec![self.error];
        wanted.extend(self.prediction);
        wanted.extend(&self.scores);
        wanted.extend(self.contributions.iter().flatten());
        wanted
    }

    /// How many numbers a row's answer has: base, score and contributions of each score, or the class and those of its.
    pub fn width(&self) -> usize {
        let block = 2 + self.request.columns;
        if self.request.predicted {
            1 + block
        } else {
            block * self.scores.len()
        }
    }

    /// The answers one after another, and per row whether it has one.
    pub fn answers(&self, frame: &Frame<'_>) -> Result<(Vec<f64>, Vec<bool>)> {
        let rows = frame.rows();
        let error = frame.read::<i64>(self.error)?;
        let prediction = self
            .prediction
            .map(|operand| frame.read::<i64>(operand))
            .transpose()?;
        let scores = self
            .scores
            .iter()
            .map(|operand| frame.read::<f64>(*operand))
            .collect::<Result<Vec<_>>>();
        let scores = match scores {
            Ok(scores) => scores.into_iter().map(Number::Double).collect(),
            Err(_) => {
                let single = |operand: &Operand| frame.read::<f32>(*operand).map(Number::Single);
                self.scores.iter().map(single).collect::<Result<Vec<_>>>()?
            }
        };
        let parts: Vec<Vec<Arm<'_, f64>>> = self
            .contributions
            .iter()
            .map(|columns| {
                columns
                    .iter()
                    .map(|operand| frame.read::<f64>(*operand))
                    .collect()
            })
            .collect::<Result<_>>()?;
        let mut answers = Vec::with_capacity(rows * self.width());
        let mut there = Vec::with_capacity(rows);
        for row in 0..rows {
            let fine = error.at(row) == 0;
            there.push(fine);
            if !fine {
                continue;
            }
            let mut wanted = 0..self.scores.len();
            if let Some(prediction) = &prediction {
                let class = usize::try_from(prediction.at(row))
                    .unwrap_or(usize::MAX)
                    .min(self.scores.len() - 1);
                answers.push(class as f64);
                wanted = class..class + 1;
            }
            for k in wanted {
                answers.extend([self.bases[k], scores[k].at(row)]);
                for column in k * self.request.columns..(k + 1) * self.request.columns {
                    answers.push(parts.iter().map(|part| part[column].at(row)).sum());
                }
            }
        }
        Ok((answers, there))
    }
}

enum Number<'a> {
    Double(Arm<'a, f64>),
    Single(Arm<'a, f32>),
}

impl Number<'_> {
    fn at(&self, row: usize) -> f64 {
        match self {
            Number::Double(values) => values.at(row),
            Number::Single(values) => f64::from(values.at(row)),
        }
    }
}
