//! TreeSHAP against the definition of the Shapley value.

use super::paths::{path_trees, Features, PathTree};
use super::walk::{walk, Walker, LANES};
use crate::isa::Isa;
use crate::trees::{Aggregate, Branch, Ensemble, Leaf, Node, Precision, Test, Tree, Weight};

/// A small generator: tests must not depend on a crate for it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn random_tree(random: &mut Random, features: u64, depth: u32, targets: u32) -> Tree {
    let mut tree = Tree::default();
    let mut waiting = vec![(depth, None)];
    while let Some((left, parent)) = waiting.pop() {
        let place = tree.nodes.len() as u32;
        if let Some((parent, yes)) = parent {
            if let Node::Branch(branch) = &mut tree.nodes[parent as usize] {
                *(if yes { &mut branch.yes } else { &mut branch.no }) = place;
            }
        }
        if left == 0 || random.below(6) == 0 {
            let first = tree.weights.len() as u32;
            for target in 0..targets {
                let value = random.below(2001) as f64 / 1000.0 - 1.0;
                tree.weights.push(Weight { target, value });
            }
            // Some leaves were reached by no training row.
            let hits = random.below(7) as f64;
            tree.nodes.push(Node::Leaf(Leaf {
                first,
                count: targets,
                hits,
            }));
            continue;
        }
        tree.nodes.push(Node::Branch(Branch {
            feature: random.below(features) as u32,
            test: if random.below(4) == 0 {
                Test::Lt
            } else {
                Test::Leq
            },
            value: random.below(10) as f64,
            missing_true: random.below(2) == 0,
            yes: 0,
            no: 0,
            hits: f64::NAN,
        }));
        waiting.push((left - 1, Some((place, false))));
        waiting.push((left - 1, Some((place, true))));
    }
    tree
}

fn weight(tree: &Tree, at: u32) -> f64 {
    match &tree.nodes[at as usize] {
        Node::Leaf(leaf) => leaf.hits,
        Node::Branch(branch) => weight(tree, branch.yes) + weight(tree, branch.no),
    }
}

/// What the tree says where only the players in `known` are: other splits go both ways, by training weight.
fn expected(
    e: &Ensemble,
    tree: &Tree,
    at: u32,
    row: &[f64],
    players: &[u32],
    known: u32,
    target: usize,
) -> f64 {
    match &tree.nodes[at as usize] {
        Node::Leaf(leaf) => tree.weights_of(leaf)[target].value,
        Node::Branch(branch) => {
            let below = |child| expected(e, tree, child, row, players, known, target);
            if known & (1 << players[branch.feature as usize]) != 0 {
                let yes = e.goes_yes(branch, row[branch.feature as usize]);
                return below(if yes { branch.yes } else { branch.no });
            }
            let (yes, no) = (weight(tree, branch.yes), weight(tree, branch.no));
            let share = if yes + no > 0.0 {
                yes / (yes + no)
            } else {
                0.5
            };
            share * below(branch.yes) + (1.0 - share) * below(branch.no)
        }
    }
}

/// By the definition: over all sets of the other players.
fn shapley(
    e: &Ensemble,
    tree: &Tree,
    row: &[f64],
    players: &[u32],
    count: u32,
    target: usize,
) -> Vec<f64> {
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let value: Vec<f64> = (0..1 << count)
        .map(|s| expected(e, tree, 0, row, players, s, target))
        .collect();
    (0..count)
        .map(|i| {
            (0..1_u32 << count)
                .filter(|s| s & (1 << i) == 0)
                .map(|s| {
                    let size = s.count_ones();
                    let weight = factorial(size) * factorial(count - 1 - size) / factorial(count);
                    weight * (value[(s | 1 << i) as usize] - value[s as usize])
                })
                .sum()
        })
        .collect()
}

fn ensemble(trees: Vec<Tree>, features: usize, targets: usize) -> Ensemble {
    Ensemble {
        trees,
        features,
        targets,
        aggregate: Aggregate::Sum,
        base: Vec::new(),
        precision: Precision::F64,
        sets: Vec::new(),
    }
}

/// [lane][score][column]
fn contributions(
    isa: Isa,
    trees: &[PathTree],
    rows: &[Vec<f64>],
    scores: usize,
    columns: usize,
) -> Vec<Vec<f64>> {
    let depth = trees.iter().map(|tree| tree.depth).max().unwrap_or(0);
    let features = trees.iter().map(|tree| tree.features).max().unwrap_or(0);
    let outputs = trees
        .iter()
        .map(|tree| tree.scores.len())
        .max()
        .unwrap_or(0);
    let mut walker = Walker::new(features, depth, outputs);
    let mut inputs = vec![[0.0; LANES]; rows[0].len()];
    for (lane, row) in rows.iter().enumerate() {
        for (feature, value) in row.iter().enumerate() {
            inputs[feature][lane] = *value;
        }
    }
    let mut sums = vec![[0.0; LANES]; scores * columns];
    walk(isa, &mut walker, trees, &inputs, &[], &mut sums, columns);
    (0..rows.len())
        .map(|lane| sums.iter().map(|sum| sum[lane]).collect())
        .collect()
}

fn rows(random: &mut Random, features: usize) -> Vec<Vec<f64>> {
    let value = |random: &mut Random| match random.below(12) {
        10 => f64::NAN,
        11 => f64::INFINITY,
        number => number as f64,
    };
    (0..LANES)
        .map(|_| (0..features).map(|_| value(random)).collect())
        .collect()
}

#[test]
fn contributions_are_shapley_values() {
    let mut random = Random(0x5DEE_CE66_D1CE_4E5B);
    for case in 0..60 {
        let (features, targets) = (1 + random.below(6) as usize, 1 + random.below(2) as u32);
        let depth = random.below(8) as u32;
        let tree = random_tree(&mut random, features as u64, depth, targets);
        // Sometimes the last feature is a part of the first.
        let mut players: Vec<u32> = (0..features as u32).collect();
        if case % 3 == 0 {
            players[features - 1] = 0;
        }
        let ensemble = ensemble(vec![tree], features, targets as usize);
        let places: Vec<u32> = (0..features as u32).collect();
        let terms: Vec<(u32, u32, f64)> =
            (0..targets).map(|target| (target, target, 1.0)).collect();
        let asked = Features {
            places: &places,
            players: &players,
            columns: &players,
            terms: &terms,
        };
        let trees = path_trees(&ensemble, &asked).unwrap();
        let rows = rows(&mut random, features);
        let found = contributions(Isa::Portable, &trees, &rows, targets as usize, features);
        for (row, found) in rows.iter().zip(&found) {
            for target in 0..targets as usize {
                let tree = &ensemble.trees[0];
                let wanted = shapley(&ensemble, tree, row, &players, features as u32, target);
                let found = &found[target * features..(target + 1) * features];
                for (one, other) in found.iter().zip(&wanted) {
                    assert!((one - other).abs() < 1e-12, "{case}: {found:?} {wanted:?}");
                }
                let mean = trees[0]
                    .scores
                    .iter()
                    .position(|s| *s as usize == target)
                    .map_or(0.0, |p| trees[0].mean[p]);
                let said = ensemble.reached(tree, |feature| row[feature as usize])[target].value;
                assert!((mean + found.iter().sum::<f64>() - said).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_instruction_set() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let trees: Vec<Tree> = (0..20)
        .map(|_| random_tree(&mut random, 12, 14, 1))
        .collect();
    let ensemble = ensemble(trees, 12, 1);
    let places: Vec<u32> = (0..12).collect();
    let asked = Features {
        places: &places,
        players: &places,
        columns: &places,
        terms: &[(0, 0, 0.5)],
    };
    let trees = path_trees(&ensemble, &asked).unwrap();
    let rows = rows(&mut random, 12);
    let portable = contributions(Isa::Portable, &trees, &rows, 1, 12);
    for isa in [Isa::Avx2, Isa::Avx512]
        .into_iter()
        .filter(|isa| *isa <= Isa::current())
    {
        let other = contributions(isa, &trees, &rows, 1, 12);
        for (one, other) in portable.iter().flatten().zip(other.iter().flatten()) {
            assert_eq!(one.to_bits(), other.to_bits());
        }
    }
}

#[test]
fn trees_of_the_same_decisions_are_walked_once() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let one = random_tree(&mut random, 3, 4, 1);
    let mut other = one.clone();
    for weight in &mut other.weights {
        weight.target = 1;
        weight.value *= 2.0;
    }
    let ensemble = ensemble(vec![one, other], 3, 2);
    let places: Vec<u32> = (0..3).collect();
    let asked = Features {
        places: &places,
        players: &places,
        columns: &places,
        terms: &[(0, 0, 1.0), (1, 1, 1.0)],
    };
    let trees = path_trees(&ensemble, &asked).unwrap();
    assert_eq!((trees.len(), &trees[0].scores[..]), (1, &[0, 1][..]));
    for row in contributions(Isa::Portable, &trees, &rows(&mut random, 3), 2, 3) {
        for column in 0..3 {
            assert_eq!(row[column] * 2.0, row[3 + column]);
        }
    }
}
