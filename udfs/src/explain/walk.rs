//! TreeSHAP over blocks of rows.
//!
//! With the players of a path in any order, a leaf of value v gives player i
//!   v (o_i - z_i) * integral over t from 0 to 1 of prod over j != i of (z_j (1 - t) + o_j t),
//! where o_j is 1 if the row meets every decision of player j on the path and 0 if not, and z_j is the share of the
//! training weight that did: the weights of the Shapley value are such integrals, |S|! (d-1-|S|)! / d! that of
//! t^|S| (1-t)^(d-1-|S|). The integrand is a polynomial, so Gauss-Legendre points give it exactly, the product over a path
//! grows from the root down, the sum over leaves from the leaves up, and player i is taken out of it by one division at
//! the edge that brought it in: two passes over the edges with a few multiplications per point (Yu et al. 2022, "Linear
//! TreeSHAP", have the same structure with other points). All rows of a block do the same operations in the same order.

use super::paths::{Edge, PathTree, Split, NONE};
use super::quadrature::{gauss, points};
use crate::kernels::dispatch::for_each_isa;
use crate::trees::{contains, Test};

/// Rows of a block.
pub const LANES: usize = 64;
pub type Lanes = [f64; LANES];
type Mask = [u64; LANES];
const ZERO: Lanes = [0.0; LANES];

/// Everything that one thread needs for any tree of at most this depth, number of points and of outputs.
pub struct Walker {
    points: Vec<f64>,
    weights: Vec<f64>,
    /// What a row that does not meet a feature's decisions gets of the leaves: -w / (1 - t).
    cold: Vec<f64>,
    levels: Vec<Level>,
    down: Vec<Lanes>,
    up: Vec<Lanes>,
    outputs: usize,
    stack: Vec<usize>,
}

#[derive(Clone)]
struct Level {
    /// Which rows meet all decisions so far of the feature of the edge.
    mask: Mask,
    /// And the parent's decision alone, yes.
    yes: Mask,
    /// Per point: the factor of a row that does, one over it, and its coefficient.
    hot: Vec<f64>,
    inverse: Vec<f64>,
    coefficient: Vec<f64>,
}

impl Walker {
    pub fn new(features: usize, depth: usize, outputs: usize) -> Walker {
        let count = points(features);
        let (points, weights) = gauss(count);
        let cold = points
            .iter()
            .zip(&weights)
            .map(|(t, w)| -w / (1.0 - t))
            .collect();
        let level = Level {
            mask: [0; LANES],
            yes: [0; LANES],
            hot: vec![0.0; count],
            inverse: vec![0.0; count],
            coefficient: vec![0.0; count],
        };
        Walker {
            levels: vec![level; depth + 1],
            down: vec![ZERO; (depth + 1) * count],
            up: vec![ZERO; (depth + 1) * count * outputs],
            points,
            weights,
            cold,
            outputs,
            stack: Vec::with_capacity(depth),
        }
    }

    /// Adds the contributions of the tree; `sums` are the accounts [targets x columns].
    #[inline(always)]
    pub fn run(
        &mut self,
        tree: &PathTree,
        inputs: &[Lanes],
        sets: &[Vec<f64>],
        sums: &mut [Lanes],
        columns: usize,
    ) {
        let count = self.points.len();
        for lanes in &mut self.down[..count] {
            *lanes = [1.0; LANES];
        }
        let mut stack = std::mem::take(&mut self.stack);
        for (place, edge) in tree.edges.iter().enumerate() {
            let level = edge.level as usize;
            while stack.len() >= level {
                if let Some(done) = stack.pop() {
                    self.close(tree, &tree.edges[done], sums, columns);
                }
            }
            self.enter(edge, &tree.splits[edge.split as usize], inputs, sets);
            if edge.leaf == NONE {
                self.inner(edge);
                stack.push(place);
            } else {
                self.leaf(tree, edge, sums, columns);
            }
        }
        while let Some(done) = stack.pop() {
            self.close(tree, &tree.edges[done], sums, columns);
        }
        self.stack = stack;
    }

    /// The rows that take the edge, and what is the same for all rows.
    #[inline(always)]
    fn enter(&mut self, edge: &Edge, split: &Split, inputs: &[Lanes], sets: &[Vec<f64>]) {
        let level = edge.level as usize;
        if edge.yes {
            let above = if edge.above == NONE {
                None
            } else {
                Some(self.levels[edge.above as usize].mask)
            };
            let here = &mut self.levels[level];
            decide(split, &inputs[split.feature as usize], sets, &mut here.yes);
            here.mask = here.yes;
            if let Some(above) = above {
                for (m, a) in here.mask.iter_mut().zip(&above) {
                    *m &= a;
                }
            }
        } else {
            let above = if edge.above == NONE {
                None
            } else {
                Some(self.levels[edge.above as usize].mask)
            };
            let here = &mut self.levels[level];
            for (m, y) in here.mask.iter_mut().zip(&here.yes) {
                *m = !y;
            }
            if let Some(above) = above {
                for (m, a) in here.mask.iter_mut().zip(&above) {
                    *m &= a;
                }
            }
        }
        let here = &mut self.levels[level];
        let z = edge.share;
        for k in 0..self.points.len() {
            let hot = z + (1.0 - z) * self.points[k];
            let inverse = 1.0 / hot;
            here.hot[k] = hot;
            here.inverse[k] = inverse;
            here.coefficient[k] = self.weights[k] * (1.0 - z) * inverse;
        }
    }

    /// The product down to an inner node.
    #[inline(always)]
    fn inner(&mut self, edge: &Edge) {
        let (level, count) = (edge.level as usize, self.points.len());
        let (before, after) = self.down.split_at_mut(level * count);
        let (before, after) = (&before[(level - 1) * count..], &mut after[..count]);
        let mask = self.levels[level].mask;
        let above = if edge.above == NONE {
            None
        } else {
            Some(&self.levels[edge.above as usize])
        };
        for k in 0..count {
            let hot = self.levels[level].hot[k];
            let cold = edge.share * (1.0 - self.points[k]);
            match above {
                None => {
                    for i in 0..LANES {
                        after[k][i] = before[k][i] * select(mask[i], hot, cold);
                    }
                }
                Some(above) => {
                    let (hot, cold) = (hot * above.inverse[k], cold * above.inverse[k]);
                    for i in 0..LANES {
                        let factor = select(above.mask[i], select(mask[i], hot, cold), edge.ratio);
                        after[k][i] = before[k][i] * factor;
                    }
                }
            }
        }
        for lanes in &mut self.up[level * count * self.outputs..(level + 1) * count * self.outputs]
        {
            *lanes = ZERO;
        }
    }

    #[inline(always)]
    fn leaf(&mut self, tree: &PathTree, edge: &Edge, sums: &mut [Lanes], columns: usize) {
        let (level, count) = (edge.level as usize, self.points.len());
        let before = &self.down[(level - 1) * count..level * count];
        let here = &self.levels[level];
        let above = if edge.above == NONE {
            None
        } else {
            Some(&self.levels[edge.above as usize])
        };
        for output in 0..tree.scores.len() {
            let value = tree.values[edge.leaf as usize * tree.scores.len() + output];
            let mut total = ZERO;
            let start = ((level - 1) * self.outputs + output) * count;
            let up = &mut self.up[start..start + count];
            for k in 0..count {
                let hot = here.hot[k];
                let cold = edge.share * (1.0 - self.points[k]);
                let (gain, loss) = (here.coefficient[k], self.cold[k]);
                match above {
                    None => {
                        let (hot, cold) = (hot * value, cold * value);
                        for i in 0..LANES {
                            let said = before[k][i] * select(here.mask[i], hot, cold);
                            total[i] += said * select(here.mask[i], gain, loss);
                            up[k][i] += said;
                        }
                    }
                    Some(above) => {
                        let (hot, cold) = (
                            hot * above.inverse[k] * value,
                            cold * above.inverse[k] * value,
                        );
                        let ratio = edge.ratio * value;
                        let (gain, loss) =
                            (gain - above.coefficient[k], loss - above.coefficient[k]);
                        for i in 0..LANES {
                            let met = above.mask[i];
                            let said =
                                before[k][i] * select(met, select(here.mask[i], hot, cold), ratio);
                            total[i] += said * select(met, select(here.mask[i], gain, loss), 0.0);
                            up[k][i] += said;
                        }
                    }
                }
            }
            let account = &mut sums[tree.scores[output] as usize * columns + edge.column as usize];
            for i in 0..LANES {
                account[i] += total[i];
            }
        }
    }

    /// Everything below the edge is known.
    #[inline(always)]
    fn close(&mut self, tree: &PathTree, edge: &Edge, sums: &mut [Lanes], columns: usize) {
        let (level, count) = (edge.level as usize, self.points.len());
        let here = &self.levels[level];
        let above = if edge.above == NONE {
            None
        } else {
            Some(&self.levels[edge.above as usize])
        };
        for output in 0..tree.scores.len() {
            let (parents, own) = self.up.split_at_mut(level * self.outputs * count);
            let own = &own[output * count..(output + 1) * count];
            let start = ((level - 1) * self.outputs + output) * count;
            let parents = &mut parents[start..start + count];
            let mut total = ZERO;
            for k in 0..count {
                let (gain, loss) = (here.coefficient[k], self.cold[k]);
                match above {
                    None => {
                        for i in 0..LANES {
                            total[i] += own[k][i] * select(here.mask[i], gain, loss);
                            parents[k][i] += own[k][i];
                        }
                    }
                    Some(above) => {
                        let (gain, loss) =
                            (gain - above.coefficient[k], loss - above.coefficient[k]);
                        for i in 0..LANES {
                            let met = above.mask[i];
                            total[i] +=
                                own[k][i] * select(met, select(here.mask[i], gain, loss), 0.0);
                            parents[k][i] += own[k][i];
                        }
                    }
                }
            }
            let account = &mut sums[tree.scores[output] as usize * columns + edge.column as usize];
            for i in 0..LANES {
                account[i] += total[i];
            }
        }
    }
}

#[inline(always)]
fn select(mask: u64, yes: f64, no: f64) -> f64 {
    f64::from_bits((yes.to_bits() & mask) | (no.to_bits() & !mask))
}

#[inline(always)]
fn decide(split: &Split, x: &Lanes, sets: &[Vec<f64>], out: &mut Mask) {
    let (t, missing) = (split.value, split.missing_true);
    macro_rules! each {
        ($test:expr) => {
            for i in 0..LANES {
                let x = x[i];
                let holds: bool = $test(x, t) | (missing & x.is_nan());
                out[i] = 0_u64.wrapping_sub(u64::from(holds));
            }
        };
    }
    match split.test {
        Test::Leq => each!(|x: f64, t: f64| x <= t),
        Test::Lt => each!(|x: f64, t: f64| x < t),
        Test::Gte => each!(|x: f64, t: f64| x >= t),
        Test::Gt => each!(|x: f64, t: f64| x > t),
        Test::Eq => each!(|x: f64, t: f64| x == t),
        Test::Neq => each!(|x: f64, t: f64| x != t),
        Test::Member(set) => {
            let set = &sets[set as usize];
            each!(|x: f64, _: f64| contains(set, x))
        }
    }
}

for_each_isa! {
    /// Adds the contributions of all trees for one block of rows to `sums` [scores x columns].
    pub fn walk(
        walker: &mut Walker,
        trees: &[PathTree],
        inputs: &[Lanes],
        sets: &[Vec<f64>],
        sums: &mut [Lanes],
        columns: usize,
    ) {
        for tree in trees {
            walker.run(tree, inputs, sets, sums, columns);
        }
    }
}
