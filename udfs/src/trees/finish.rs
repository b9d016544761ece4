//! From sums of leaves to what the operators answer: base values, transforms, and a classifier's label. All of it as
//! onnxruntime 1.31 does it, also where the specification says nothing (asked case by case).

use super::{Aggregate, Number};
use crate::error::{malformed, Result};
use crate::kernels::math;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl Post {
    pub fn of_number(number: i64) -> Result<Post> {
        match number {
            0 => Ok(Post::None),
            // The specification has these two the other way round; onnxruntime, whose answers people know, has them so.
            1 => Ok(Post::Logistic),
            2 => Ok(Post::Softmax),
            3 => Ok(Post::SoftmaxZero),
            4 => Ok(Post::Probit),
            other => malformed(format!("post transform {other}")),
        }
    }

    pub fn of_name(name: &[u8]) -> Result<Post> {
        match name {
            b"NONE" => Ok(Post::None),
            b"SOFTMAX" => Ok(Post::Softmax),
            b"LOGISTIC" => Ok(Post::Logistic),
            b"SOFTMAX_ZERO" => Ok(Post::SoftmaxZero),
            b"PROBIT" => Ok(Post::Probit),
            other => malformed(format!(
                "post transform {:?}",
                String::from_utf8_lossy(other)
            )),
        }
    }

    /// The scores of one row, each step rounded to `N`.
    pub fn apply<N: Number>(self, scores: &mut [f64]) {
        match self {
            Post::None => {}
            Post::Softmax => softmax::<N>(scores, false),
            Post::SoftmaxZero => softmax::<N>(scores, true),
            Post::Logistic => scores
                .iter_mut()
                .for_each(|score| *score = logistic::<N>(*score)),
            Post::Probit => scores
                .iter_mut()
                .for_each(|score| *score = f64::from(probit(*score as f32))),
        }
    }
}

fn rounded<N: Number>(value: f64) -> f64 {
    N::of(value).double()
}

fn logistic<N: Number>(score: f64) -> f64 {
    let exp = rounded::<N>(math::exp(-score.abs()));
    let value = rounded::<N>(1.0 / rounded::<N>(1.0 + exp));
    if score < 0.0 {
        rounded::<N>(1.0 - value)
    } else {
        value
    }
}

/// `zero`: scores of 0 are no classes; they keep their 0.
fn softmax<N: Number>(scores: &mut [f64], zero: bool) {
    let most =
        scores.iter().copied().fold(
            f64::NEG_INFINITY,
            |most, score| if score > most { score } else { most },
        );
    let none = rounded::<N>(math::exp(-most));
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if zero && score.abs() <= f64::from(0.000_000_1_f32) {
            *score = rounded::<N>(*score * none);
            continue;
        }
        *score = rounded::<N>(math::exp(rounded::<N>(*score - most)));
        sum = rounded::<N>(sum + *score);
    }
    scores
        .iter_mut()
        .for_each(|score| *score = rounded::<N>(*score / sum));
}

/// Winitzki's approximation of the inverse error function in float32, which the operator's scores are made of.
fn probit(value: f32) -> f32 {
    let x = 2.0 * value - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = math::log(f64::from((1.0 - x) * (1.0 + x))) as f32;
    let v = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    let v2 = 1.0 / 0.147 * log;
    let root = (v * v - v2).sqrt();
    std::f32::consts::SQRT_2 * (sign * (-v + root).sqrt())
}

/// Of a regressor, and of `TreeEnsemble`.
#[derive(Debug, Clone)]
pub struct Regression {
    pub trees: usize,
    pub aggregate: Aggregate,
    pub base: Vec<f64>,
    pub post: Post,
}

impl Regression {
    /// The scores of one row. Of several targets one that no leaf touched is 0, whatever its base value; a single one knows
    /// no transform but probit.
    pub fn finish<N: Number>(&self, scores: &mut [f64], scored: &[bool]) {
        for (target, score) in scores.iter_mut().enumerate() {
            if self.aggregate == Aggregate::Average {
                *score = rounded::<N>(*score / rounded::<N>(self.trees as f64));
            }
            if let Some(base) = self.base.get(target) {
                *score = rounded::<N>(*score + *base);
            }
        }
        if scores.len() > 1 {
            let untouched = scores
                .iter_mut()
                .zip(scored)
                .filter(|(_, scored)| !**scored);
            untouched.for_each(|(score, _)| *score = 0.0);
        }
        if scores.len() > 1 || self.post == Post::Probit {
            self.post.apply::<N>(scores);
        }
    }

    /// Whether scores are sums and nothing else happens to them.
    pub fn is_plain(&self) -> bool {
        self.aggregate != Aggregate::Average && self.base.is_empty() && self.post == Post::None
    }
}

/// Of a classifier.
#[derive(Debug, Clone)]
pub struct Classes {
    pub count: usize,
    /// Two classes and weights for one of them only.
    pub binary: bool,
    /// No weight is negative: scores are probabilities then.
    pub positive: bool,
    pub base: Vec<f64>,
    pub post: Post,
}

/// Which label: one of the list, or the number 0 or 1 whatever the labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Class(usize),
    Sign(bool),
}

impl Classes {
    /// `scored`: which classes any leaf added to.
    pub fn finish<N: Number>(&self, scores: &mut [f64], scored: &mut [bool]) -> Label {
        let label = match scores.len() {
            0 => Label::Class(0),
            1 => self.one::<N>(scores),
            2 => return self.two::<N>(scores, scored),
            _ => {
                for ((score, scored), base) in
                    scores.iter_mut().zip(scored.iter_mut()).zip(&self.base)
                {
                    *score = if *scored {
                        rounded::<N>(*score + *base)
                    } else {
                        *base
                    };
                    *scored = true;
                }
                let mut best: Option<(usize, f64)> = None;
                for (class, (score, _)) in scores
                    .iter()
                    .zip(scored)
                    .enumerate()
                    .filter(|(_, (_, scored))| **scored)
                {
                    if best.is_none_or(|(_, most)| *score > most) {
                        best = Some((class, *score));
                    }
                }
                Label::Class(best.map_or(0, |(class, _)| class))
            }
        };
        if scores.len() > 1 {
            self.post.apply::<N>(scores);
        }
        label
    }

    fn one<N: Number>(&self, scores: &mut [f64]) -> Label {
        if let [base] = self.base[..] {
            scores[0] = rounded::<N>(scores[0] + base);
        }
        let label = Label::Sign(scores[0] > 0.0);
        if self.post == Post::Probit {
            self.post.apply::<N>(scores);
        }
        label
    }

    fn two<N: Number>(&self, scores: &mut [f64], scored: &mut [bool]) -> Label {
        let mut single = false;
        match self.base[..] {
            [_, base] if scored[1] => {
                scores[1] = rounded::<N>(base + scores[0]);
                scores[0] = -scores[1];
            }
            [first, second] => {
                scores[1] = rounded::<N>(scores[1] + second);
                scores[0] = rounded::<N>(scores[0] + first);
            }
            [base] => {
                scores[0] = rounded::<N>(scores[0] + base);
                single = !scored[1];
            }
            _ => single = !scored[1],
        }
        let weight = if scored[1] {
            scores[1]
        } else if scored[0] {
            scores[0]
        } else {
            0.0
        };
        let label = match (self.binary, self.positive) {
            (true, true) => Label::Class(usize::from(weight > 0.5)),
            (true, false) => Label::Class(usize::from(weight > 0.0)),
            (false, _) => Label::Sign(weight > 0.0),
        };
        if !single {
            // A class without a score is written as 0.
            scores
                .iter_mut()
                .zip(scored)
                .filter(|(_, scored)| !**scored)
                .for_each(|(score, _)| *score = 0.0);
            self.post.apply::<N>(scores);
            return label;
        }
        let score = scores[0];
        [scores[0], scores[1]] = match (self.post, self.binary && self.positive) {
            (Post::Logistic, _) => [logistic::<N>(-score), logistic::<N>(score)],
            (_, true) => [rounded::<N>(1.0 - score), score],
            (_, false) => [-score, score],
        };
        label
    }
}
