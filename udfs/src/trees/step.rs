//! Forests as steps of a program.

use super::finish::{Classes, Label, Regression};
use super::forest::{Feature, Forest};
use super::leaves::Number;
use super::work::Work;
use crate::error::{Error, Result};
use crate::program::{Column, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot, CHUNK};

pub struct RegressorStep<N> {
    forest: Forest<N>,
    inputs: Vec<Operand>,
    outputs: Vec<(Slot, Kind)>,
    /// The targets that a leaf adds to, in every row unless the forest is walked.
    touched: Vec<bool>,
    finish: Regression,
}

impl<N: Number> RegressorStep<N> {
    pub fn new(
        forest: Forest<N>,
        inputs: Vec<Operand>,
        slots: Vec<Slot>,
        kind: Kind,
        touched: Vec<bool>,
        finish: Regression,
    ) -> RegressorStep<N> {
        let outputs = slots.into_iter().map(|slot| (slot, kind)).collect();
        RegressorStep {
            forest,
            inputs,
            outputs,
            touched,
            finish,
        }
    }

    pub fn forest(&self) -> &Forest<N> {
        &self.forest
    }
}

impl<N: Number> Kernel for RegressorStep<N> {
    fn name(&self) -> &'static str {
        "trees"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let work = scratch.get::<Work<N>>();
        let (rows, uniform) = score(&self.forest, &self.inputs, frame, work)?;
        if !self.finish.is_plain() {
            let mut scores = vec![0.0; self.outputs.len()];
            let mut scored = self.touched.clone();
            for row in 0..rows {
                for (target, score) in scores.iter_mut().enumerate() {
                    let at = target * CHUNK + row;
                    *score = work.sums[at].double();
                    if self.forest.is_walked() {
                        scored[target] = work.scored[at];
                    }
                }
                self.finish.finish::<N>(&mut scores, &scored);
                scores
                    .iter()
                    .enumerate()
                    .for_each(|(target, score)| work.sums[target * CHUNK + row] = N::of(*score));
            }
        }
        for (target, (slot, kind)) in self.outputs.iter().enumerate() {
            if frame.wants(*slot) {
                put(frame, (*slot, *kind), work.sums(target, rows), uniform);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.forest.bytes() + size_of_val(self.inputs.as_slice())
    }
}

pub struct ClassifierStep<N> {
    forest: Forest<N>,
    inputs: Vec<Operand>,
    /// The label, then the scores.
    outputs: Vec<(Slot, Kind)>,
    /// Those of the classes, then those for "not positive" and "positive".
    labels: Vec<Scalar>,
    touched: Vec<bool>,
    finish: Classes,
}

impl<N: Number> ClassifierStep<N> {
    /// `touched`: the classes that a leaf adds to, in every row unless the forest is walked.
    pub fn new(
        forest: Forest<N>,
        inputs: Vec<Operand>,
        label: (Slot, Vec<Scalar>),
        scores: Vec<Slot>,
        touched: Vec<bool>,
        finish: Classes,
    ) -> ClassifierStep<N> {
        let kind = label.1.first().map_or(Kind::I64, |label| label.kind());
        let scores = scores.into_iter().map(|slot| (slot, Kind::F32));
        let outputs = std::iter::once((label.0, kind)).chain(scores).collect();
        ClassifierStep {
            forest,
            inputs,
            outputs,
            labels: label.1,
            touched,
            finish,
        }
    }

    pub fn forest(&self) -> &Forest<N> {
        &self.forest
    }

    fn label(&self, label: Label) -> Scalar {
        let at = match label {
            Label::Class(class) => class,
            Label::Sign(positive) => self.finish.count + usize::from(positive),
        };
        self.labels.get(at).copied().unwrap_or(Scalar::I64(0))
    }
}

impl<N: Number> Kernel for ClassifierStep<N> {
    fn name(&self) -> &'static str {
        "trees"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let work = scratch.get::<Work<N>>();
        let (rows, uniform) = score(&self.forest, &self.inputs, frame, work)?;
        let mut labels = Vec::with_capacity(rows);
        let (mut scores, mut scored) = (vec![0.0; self.finish.count], self.touched.clone());
        for row in 0..rows {
            for (class, score) in scores.iter_mut().enumerate() {
                let at = class * CHUNK + row;
                *score = work.sums[at].double();
                scored[class] = if self.forest.is_walked() {
                    work.scored[at]
                } else {
                    self.touched[class]
                };
            }
            labels.push(self.label(self.finish.finish::<N>(&mut scores, &mut scored)));
            scores
                .iter()
                .enumerate()
                .for_each(|(class, score)| work.sums[class * CHUNK + row] = N::of(*score));
        }
        let (slot, kind) = self.outputs[0];
        match (uniform, kind) {
            (true, _) => frame.put_uniform(slot, labels.first().copied().unwrap_or(Scalar::I64(0))),
            (false, Kind::Code) => place(frame, slot, &labels, |label| {
                if let Scalar::Code(code) = label {
                    code
                } else {
                    0
                }
            }),
            (false, _) => place(frame, slot, &labels, |label| {
                if let Scalar::I64(number) = label {
                    number
                } else {
                    0
                }
            }),
        }
        for (class, (slot, kind)) in self.outputs[1..].iter().enumerate() {
            if frame.wants(*slot) {
                put(frame, (*slot, *kind), work.sums(class, rows), uniform);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.forest.bytes()
            + size_of_val(self.inputs.as_slice())
            + size_of_val(self.labels.as_slice())
    }
}

/// How many rows were scored, and whether the one stands for all.
fn score<N: Number>(
    forest: &Forest<N>,
    inputs: &[Operand],
    frame: &Frame<'_>,
    work: &mut Work<N>,
) -> Result<(usize, bool)> {
    let mut features = Vec::with_capacity(inputs.len());
    for input in inputs {
        features.push(match frame.column(*input) {
            Column::Uniform(value) => match value.double() {
                Some(value) => Feature::One(value),
                None => return Err(Error::Failed("internal: trees over a text".into())),
            },
            Column::F64(values) if values.len() == frame.rows() => Feature::F64(values),
            Column::F32(values) if values.len() == frame.rows() => Feature::F32(values),
            _ => {
                return Err(Error::Failed(format!(
                    "internal: {input:?} is no column of numbers"
                )))
            }
        });
    }
    let uniform = features
        .iter()
        .all(|feature| matches!(feature, Feature::One(_)));
    let rows = if uniform {
        frame.rows().min(1)
    } else {
        frame.rows()
    };
    forest.run(&features, rows, work);
    Ok((rows, uniform))
}

fn put<N: Number>(frame: &mut Frame<'_>, (slot, kind): (Slot, Kind), sums: &[N], uniform: bool) {
    let first = sums.first().map_or(0.0, |sum| sum.double());
    match (uniform, kind) {
        (true, Kind::F64) => frame.put_uniform(slot, Scalar::F64(first)),
        (true, _) => frame.put_uniform(slot, Scalar::F32(first as f32)),
        (false, Kind::F64) => place(frame, slot, sums, |sum| sum.double()),
        (false, _) => place(frame, slot, sums, |sum| sum.double() as f32),
    }
}

fn place<T: Copy, U: crate::program::Buffered>(
    frame: &mut Frame<'_>,
    slot: Slot,
    values: &[T],
    of: impl Fn(T) -> U,
) {
    let mut out = frame.take::<U>();
    out.iter_mut()
        .zip(values)
        .for_each(|(out, value)| *out = of(*value));
    frame.put(slot, out);
}
