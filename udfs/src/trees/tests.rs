//! Forests against the plainest possible walk, over hostile numbers and every kind of tree.

use super::*;
use crate::isa::Isa;
use crate::program::CHUNK;
use std::sync::Arc;

/// Marsaglia's xorshift.
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const HOSTILE: [f64; 18] = [
    0.0,
    -0.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1e-45,
    -1e-46,
    3.4028234663852886e38,
    3.4028235677973366e38,
    -3.4028235677973366e38,
    0.1,
    16777217.0,
    1.0,
];

struct Shape {
    trees: usize,
    branches: usize,
    features: usize,
    targets: usize,
    /// How many different thresholds a feature has, about.
    thresholds: usize,
    tests: &'static [Test],
    copies: bool,
    /// All trees are complete and as large as they may be.
    full: bool,
}

fn number(random: &mut Random, shape: &Shape) -> f64 {
    match random.below(12) {
        0 => random.pick(&HOSTILE),
        1 => (random.uniform() * 200.0 - 100.0).exp(),
        2 => f64::from(random.uniform() as f32).next_up(),
        _ => (random.below(shape.thresholds) as f64) * 0.37 - 3.0,
    }
}

/// A tree that grows at random leaves; `balanced` grows the oldest.
fn tree(random: &mut Random, shape: &Shape, balanced: bool, sets: usize) -> Tree {
    let mut nodes = vec![Node::Leaf(Leaf {
        first: 0,
        count: 0,
        hits: f64::NAN,
    })];
    let mut open = std::collections::VecDeque::from([0usize]);
    let count = if shape.full {
        shape.branches
    } else {
        random.below(shape.branches + 1)
    };
    for _ in 0..count {
        let at = if balanced {
            open.pop_front()
        } else {
            open.remove(random.below(open.len()))
        }
        .unwrap();
        let (yes, no) = (nodes.len(), nodes.len() + 1);
        let test = match random.pick(shape.tests) {
            Test::Member(_) => Test::Member(random.below(sets) as u32),
            test => test,
        };
        let leaf = Node::Leaf(Leaf {
            first: 0,
            count: 0,
            hits: f64::NAN,
        });
        nodes.extend([leaf, leaf]);
        open.extend([yes, no]);
        nodes[at] = Node::Branch(Branch {
            feature: random.below(shape.features) as u32,
            test,
            value: number(random, shape),
            missing_true: random.below(3) == 0,
            yes: yes as u32,
            no: no as u32,
            hits: f64::NAN,
        });
    }
    let mut weights = Vec::new();
    let one_target = random.below(shape.targets) as u32;
    let every = random.below(2) == 0;
    for node in &mut nodes {
        if let Node::Leaf(leaf) = node {
            leaf.first = weights.len() as u32;
            let targets = if every {
                0..shape.targets as u32
            } else {
                one_target..one_target + 1
            };
            weights.extend(targets.map(|target| Weight {
                target,
                value: random.uniform() * 10.0 - 5.0,
            }));
            leaf.count = weights.len() as u32 - leaf.first;
        }
    }
    Tree { nodes, weights }
}

fn ensemble(random: &mut Random, shape: &Shape, precision: Precision) -> Ensemble {
    let sets: Vec<Vec<f64>> = (0..3)
        .map(|_| {
            let mut set: Vec<f64> = (0..random.below(6))
                .map(|_| number(random, shape))
                .filter(|value| !value.is_nan())
                .collect();
            set.sort_by(f64::total_cmp);
            set.dedup();
            set
        })
        .collect();
    let mut trees = Vec::new();
    for _ in 0..shape.trees {
        let balanced = shape.full || random.below(2) == 0;
        let mut tree = tree(random, shape, balanced, sets.len());
        if shape.copies {
            for target in 0..shape.targets as u32 {
                tree.weights = Vec::new();
                for node in &mut tree.nodes {
                    if let Node::Leaf(leaf) = node {
                        (leaf.first, leaf.count) = (tree.weights.len() as u32, 1);
                        tree.weights.push(Weight {
                            target,
                            value: random.uniform(),
                        });
                    }
                }
                trees.push(tree.clone());
            }
        } else {
            trees.push(tree);
        }
    }
    let mut ensemble = Ensemble {
        trees,
        features: shape.features,
        targets: shape.targets,
        aggregate: Aggregate::Sum,
        base: Vec::new(),
        precision,
        sets,
    };
    if precision == Precision::F32 {
        let single = |value: &mut f64| *value = f64::from(*value as f32);
        for tree in &mut ensemble.trees {
            tree.weights
                .iter_mut()
                .for_each(|weight| single(&mut weight.value));
            for node in &mut tree.nodes {
                if let Node::Branch(branch) = node {
                    single(&mut branch.value);
                }
            }
        }
        ensemble.sets.iter_mut().flatten().for_each(single);
    }
    ensemble
}

fn naive<N: leaves::Number>(ensemble: &Ensemble, row: impl Fn(u32) -> f64 + Copy) -> Vec<f64> {
    let mut sums = vec![N::default(); ensemble.targets];
    for tree in &ensemble.trees {
        for weight in ensemble.reached(tree, row) {
            sums[weight.target as usize] += N::of(weight.value);
        }
    }
    sums.into_iter().map(N::double).collect()
}

fn isas() -> Vec<Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512]
        .into_iter()
        .filter(|isa| *isa <= Isa::current())
        .collect()
}

/// Every answer of every instruction set, for a few row counts, against the walk.
pub(super) fn check<N: leaves::Number + PartialEq + std::fmt::Debug>(
    random: &mut Random,
    ensemble: Ensemble,
    rounded: Vec<bool>,
    single: bool,
) -> Vec<String> {
    let splits: Vec<f64> = ensemble
        .branches()
        .map(|branch| branch.value)
        .chain([0.5])
        .collect();
    let columns: Vec<Vec<f64>> = (0..ensemble.features)
        .map(|_| {
            let value = |random: &mut Random| match random.below(6) {
                0 => random.pick(&HOSTILE),
                1 => random.pick(&splits).next_up(),
                2 => random.pick(&splits).next_down(),
                3 => random.uniform() * 10.0 - 5.0,
                _ => random.pick(&splits),
            };
            (0..CHUNK)
                .map(|_| value(random))
                .map(|value| {
                    if single {
                        f64::from(value as f32)
                    } else {
                        value
                    }
                })
                .collect()
        })
        .collect();
    let constant = random.below(ensemble.features);
    let expected: Vec<Vec<f64>> = (0..CHUNK)
        .map(|row| {
            naive::<N>(&ensemble, |feature| {
                let feature = feature as usize;
                let value = columns[feature][if feature == constant { 0 } else { row }];
                if rounded[feature] {
                    f64::from(value as f32)
                } else {
                    value
                }
            })
        })
        .collect();
    let ensemble = Arc::new(ensemble);
    let mut kinds = Vec::new();
    let mut work = Work::default();
    for isa in isas() {
        let forest = Forest::<N>::new(ensemble.clone(), rounded.clone(), isa);
        kinds.push(forest.describe());
        for rows in [CHUNK, 1, 3, 17, 300, 0] {
            let singles: Vec<Vec<f32>> = columns
                .iter()
                .map(|column| column[..rows].iter().map(|value| *value as f32).collect())
                .collect();
            let features: Vec<Feature<'_>> = (0..columns.len())
                .map(|feature| match feature {
                    _ if feature == constant => Feature::One(columns[feature][0]),
                    _ if single && feature % 2 == 0 => Feature::F32(&singles[feature]),
                    _ => Feature::F64(&columns[feature][..rows]),
                })
                .collect();
            forest.run(&features, rows, &mut work);
            for (row, expected) in expected[..rows].iter().enumerate() {
                for (target, expected) in expected.iter().enumerate() {
                    let found = work.sums(target, rows)[row].double();
                    assert_eq!(
                        found.to_bits(),
                        expected.to_bits(),
                        "row {row} of {rows}, target {target}: {found} {expected}, {}",
                        forest.describe()
                    );
                }
            }
        }
    }
    kinds
}

const ORDERED: &[Test] = &[Test::Leq, Test::Lt, Test::Gte, Test::Gt];
const ALL: &[Test] = &[
    Test::Leq,
    Test::Lt,
    Test::Gte,
    Test::Gt,
    Test::Eq,
    Test::Neq,
    Test::Member(0),
];

#[test]
fn every_layout_agrees_with_a_walk() {
    let random = &mut Random(88172645463325252);
    let mut kinds = Vec::new();
    for round in 0..60 {
        let shape = Shape {
            trees: 1 + random.below(40),
            branches: [1, 3, 7, 15, 31, 120, 254, 700][round % 8],
            features: 1 + random.below([3, 20, 40][round % 3]),
            targets: 1 + random.below(3),
            thresholds: [3, 40, 1000, 5000][round % 4],
            tests: if round % 5 < 3 { ORDERED } else { ALL },
            copies: round % 5 == 0,
            full: round % 4 == 3 && round % 16 != 15,
        };
        let precision = if round % 3 == 0 {
            Precision::F32
        } else {
            Precision::F64
        };
        let ensemble = ensemble(random, &shape, precision);
        let rounded = (0..shape.features)
            .map(|_| round % 3 == 1 && random.below(4) != 0)
            .collect();
        kinds.extend(match precision {
            Precision::F32 => check::<f32>(random, ensemble, rounded, true),
            Precision::F64 => check::<f64>(random, ensemble, rounded, round % 3 == 2),
        });
    }
    for kind in ["walked", "8-bit", "16-bit", "descended", "chased"] {
        assert!(
            kinds.iter().any(|found| found.contains(kind)),
            "no ensemble was {kind}"
        );
    }
}

pub(super) fn one_tree(tree: Tree) -> Ensemble {
    Ensemble {
        trees: vec![tree],
        features: 1,
        targets: 1,
        aggregate: Aggregate::Sum,
        base: Vec::new(),
        precision: Precision::F64,
        sets: Vec::new(),
    }
}
