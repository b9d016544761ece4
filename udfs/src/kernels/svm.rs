//! Support vector machines: kernel functions of all support vectors, and what is made of them.

use super::math;
use super::matmul::{gather_tile, TILE_ROWS};
use crate::error::Result;
use crate::isa::Isa;
use crate::program::{Column, Frame, Kernel, Kind, Operand, Scratch, Slot};

/// A row each of 16 rows that are computed together.
type Lanes = [f64; TILE_ROWS];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Similarity {
    Linear,
    Poly { gamma: f64, coef0: f64, degree: f64 },
    Rbf { gamma: f64 },
    Sigmoid { gamma: f64, coef0: f64 },
}

#[derive(Debug)]
pub struct Vectors {
    pub similarity: Similarity,
    /// Features per vector; one at least.
    pub features: usize,
    /// Vector after vector.
    pub values: Vec<f64>,
}

impl Vectors {
    fn count(&self) -> usize {
        self.values.len() / self.features
    }
}

#[derive(Debug)]
pub enum Decision {
    /// The sum of coefficient x similarity, and the constant: one column.
    Sum {
        coefficients: Vec<f64>,
        constant: f64,
    },
    /// One against one: a column per pair of classes (0-1, 0-2, ..., 1-2, ...), the place of the class with the most votes
    /// (I64), then, with `probability`, a column per class.
    Pairs(Pairs),
}

#[derive(Debug)]
pub struct Pairs {
    /// Support vectors of each class, in order; they are all there are.
    pub per_class: Vec<usize>,
    /// [classes - 1, vectors]
    pub coefficients: Vec<f64>,
    /// Per pair.
    pub rho: Vec<f64>,
    /// Per pair: A and B of Platt's sigmoid.
    pub probability: Vec<(f64, f64)>,
}

pub struct Svm {
    pub vectors: Vectors,
    pub decision: Decision,
    pub inputs: Vec<Operand>,
    pub outputs: Vec<(Slot, Kind)>,
}

#[derive(Default)]
struct Work {
    packed: Vec<Lanes>,
    similarities: Vec<Lanes>,
    results: Vec<Lanes>,
}

impl Kernel for Svm {
    fn name(&self) -> &'static str {
        "svm"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let rows = frame.rows();
        let work = scratch.get::<Work>();
        let mut results: Vec<Vec<f64>> = self.outputs.iter().map(|_| frame.take::<f64>()).collect();
        let columns: Vec<Column<'_>> = self
            .inputs
            .iter()
            .map(|operand| frame.column(*operand))
            .collect();
        for start in (0..rows).step_by(TILE_ROWS) {
            let length = TILE_ROWS.min(rows - start);
            gather_tile(&columns, start, length, &mut work.packed);
            similarities(
                Isa::current(),
                &self.vectors,
                &work.packed,
                &mut work.similarities,
            );
            self.decide(&work.similarities, &mut work.results);
            for (result, lanes) in results.iter_mut().zip(&work.results) {
                result[start..start + length].copy_from_slice(&lanes[..length]);
            }
        }
        for ((slot, kind), values) in self.outputs.iter().zip(results) {
            if *kind == Kind::I64 {
                let mut places = frame.take::<i64>();
                for (place, value) in places.iter_mut().zip(&values) {
                    *place = *value as i64;
                }
                frame.give_back(values);
                frame.put(*slot, places);
            } else {
                frame.put(*slot, values);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let decision = match &self.decision {
            Decision::Sum { coefficients, .. } => coefficients.len(),
            Decision::Pairs(pairs) => {
                pairs.coefficients.len() + pairs.rho.len() + 2 * pairs.probability.len()
            }
        };
        (self.vectors.values.len() + decision) * size_of::<f64>()
    }
}

impl Svm {
    fn decide(&self, similarities: &[Lanes], results: &mut Vec<Lanes>) {
        results.clear();
        match &self.decision {
            Decision::Sum {
                coefficients,
                constant,
            } => {
                let mut sum = [0.0; TILE_ROWS];
                add(coefficients, similarities, &mut sum);
                sum.iter_mut().for_each(|sum| *sum += constant);
                results.push(sum);
            }
            Decision::Pairs(pairs) => pairs.decide(similarities, results),
        }
    }
}

fn add(coefficients: &[f64], similarities: &[Lanes], sum: &mut Lanes) {
    for (coefficient, similarities) in coefficients.iter().zip(similarities) {
        for (sum, similarity) in sum.iter_mut().zip(similarities) {
            *sum += coefficient * similarity;
        }
    }
}

for_each_isa! {
    fn similarities(vectors: &Vectors, packed: &[Lanes], out: &mut Vec<Lanes>) {
        out.clear();
        out.reserve(vectors.count());
        for vector in vectors.values.chunks_exact(vectors.features) {
            let mut sum = [0.0; TILE_ROWS];
            if let Similarity::Rbf { gamma } = vectors.similarity {
                for (x, value) in packed.iter().zip(vector) {
                    for (sum, x) in sum.iter_mut().zip(x) {
                        *sum += (x - value) * (x - value);
                    }
                }
                sum.iter_mut().for_each(|sum| *sum = math::exp(-gamma * *sum));
            } else {
                for (x, value) in packed.iter().zip(vector) {
                    for (sum, x) in sum.iter_mut().zip(x) {
                        *sum += x * value;
                    }
                }
            }
            match vectors.similarity {
                Similarity::Poly { gamma, coef0, degree } => {
                    sum.iter_mut().for_each(|sum| *sum = math::pow(gamma * *sum + coef0, degree));
                }
                Similarity::Sigmoid { gamma, coef0 } => {
                    sum.iter_mut().for_each(|sum| *sum = math::tanh(gamma * *sum + coef0));
                }
                Similarity::Linear | Similarity::Rbf { .. } => {}
            }
            out.push(sum);
        }
    }
}

impl Pairs {
    fn decide(&self, similarities: &[Lanes], results: &mut Vec<Lanes>) {
        let classes = self.per_class.len();
        let vectors = similarities.len();
        let starts: Vec<usize> = self
            .per_class
            .iter()
            .scan(0, |next, count| {
                Some(std::mem::replace(next, *next + count))
            })
            .collect();
        let mut votes = vec![[0u32; TILE_ROWS]; classes];
        let slice = |row: usize, class: usize| {
            let range = starts[class]..starts[class] + self.per_class[class];
            (
                &self.coefficients[row * vectors..][range.clone()],
                &similarities[range],
            )
        };
        let mut rho = self.rho.iter();
        for one in 0..classes {
            for two in one + 1..classes {
                let mut sum = [0.0; TILE_ROWS];
                let (coefficients, values) = slice(two - 1, one);
                add(coefficients, values, &mut sum);
                let (coefficients, values) = slice(one, two);
                add(coefficients, values, &mut sum);
                let rho = rho.next().copied().unwrap_or_default();
                for (lane, sum) in sum.iter_mut().enumerate() {
                    *sum += rho;
                    votes[if *sum > 0.0 { one } else { two }][lane] += 1;
                }
                results.push(sum);
            }
        }
        let mut places = [0.0; TILE_ROWS];
        for (lane, place) in places.iter_mut().enumerate() {
            // Of equals the first.
            let best = (0..classes).rev().max_by_key(|class| votes[*class][lane]);
            *place = best.unwrap_or_default() as f64;
        }
        results.push(places);
        if !self.probability.is_empty() {
            self.probabilities(results);
        }
    }

    fn probabilities(&self, results: &mut Vec<Lanes>) {
        let classes = self.per_class.len();
        let mut columns = vec![[0.0; TILE_ROWS]; classes];
        let mut pairwise = vec![0.0; classes * classes];
        for lane in 0..TILE_ROWS {
            let pairs = (0..classes).flat_map(|one| (one + 1..classes).map(move |two| (one, two)));
            for (((one, two), (a, b)), score) in pairs.zip(&self.probability).zip(results.iter()) {
                const LEAST: f64 = 1e-7;
                let p = math::sigmoid(-(score[lane] * a + b)).clamp(LEAST, 1.0 - LEAST);
                pairwise[one * classes + two] = p;
                pairwise[two * classes + one] = 1.0 - p;
            }
            for (column, p) in columns.iter_mut().zip(coupled(classes, &pairwise)) {
                column[lane] = p;
            }
        }
        results.extend(columns);
    }
}

/// Class probabilities from those of pairs: the second method of Wu, Lin and Weng (2004), as libsvm and onnxruntime have
/// it, with their stopping rule.
fn coupled(classes: usize, r: &[f64]) -> Vec<f64> {
    let at = |i: usize, j: usize| i * classes + j;
    let mut q = vec![0.0; classes * classes];
    for i in 0..classes {
        for j in (0..classes).filter(|j| *j != i) {
            q[at(i, i)] += r[at(j, i)] * r[at(j, i)];
            q[at(i, j)] = -r[at(j, i)] * r[at(i, j)];
        }
    }
    let mut p = vec![1.0 / classes as f64; classes];
    let mut qp = vec![0.0; classes];
    for _ in 0..100 {
        let mut pqp = 0.0;
        for i in 0..classes {
            qp[i] = (0..classes).fold(0.0, |sum, j| sum + q[at(i, j)] * p[j]);
            pqp += p[i] * qp[i];
        }
        let error = qp
            .iter()
            .fold(0.0f64, |error, qp| error.max((qp - pqp).abs()));
        if error < 0.005 / classes as f64 {
            break;
        }
        for i in 0..classes {
            let diff = (pqp - qp[i]) / q[at(i, i)];
            p[i] += diff;
            pqp = (pqp + diff * (diff * q[at(i, i)] + 2.0 * qp[i])) / (1.0 + diff) / (1.0 + diff);
            for j in 0..classes {
                qp[j] = (qp[j] + diff * q[at(i, j)]) / (1.0 + diff);
                p[j] /= 1.0 + diff;
            }
        }
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_classes_keep_their_probability() {
        let p = coupled(2, &[0.0, 0.7, 0.3, 0.0]);
        assert!((p[0] - 0.7).abs() < 0.01 && (p[0] + p[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn votes_of_equals_go_to_the_first() {
        // Three classes with one vector each, every pair decided by its constant: 0 beats 1, 1 beats 2, 2 beats 0.
        let pairs = Pairs {
            per_class: vec![1, 1, 1],
            coefficients: vec![0.0; 6],
            rho: vec![1.0, -1.0, 1.0],
            probability: vec![],
        };
        let mut results = Vec::new();
        pairs.decide(&[[0.0; TILE_ROWS]; 3], &mut results);
        assert_eq!(results.len(), 4);
        assert_eq!(results[3][0], 0.0);
    }
}
