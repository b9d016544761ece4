//! Trees of any shape and size: nodes of eight bytes, and a row goes down eight trees at once. Memory is what it waits for,
//! so as many nodes as possible are asked for before any is needed.

use super::leaves::{Number, Trees};
use super::lines::Lines;
use super::plain::{PlainNode, PlainTree};
use super::work::by_rows;
use crate::isa::Isa;
use crate::program::CHUNK;

/// Trees of a group: 64-bit lanes of the widest register.
pub(super) const GROUP: usize = 8;
/// Rows of one step.
pub(super) const ROWS: usize = 8;
/// Bits of a node: bin 0..24, column 24..32, then the number of its first child, behind which the second stands. A leaf has
/// the largest bin and is its own child.
pub(super) const COLUMN: u32 = 24;
pub(super) const BIN: u32 = (1 << COLUMN) - 1;
pub(super) const MOST_COLUMNS: usize = 256;

pub(super) struct Chase<N> {
    nodes: Vec<u64>,
    /// For each node that is a leaf, its number in its group.
    leaf: Vec<u32>,
    groups: Vec<ChaseGroup<N>>,
    stride: usize,
}

pub(super) struct ChaseGroup<N> {
    pub roots: [u64; GROUP],
    /// For each target: whose it is, and what each leaf adds.
    pub values: Vec<(u32, Vec<N>)>,
}

/// A few rows' ranks and the trees they meet.
pub(super) struct Meeting<'a, N> {
    pub nodes: &'a [u64],
    pub leaf: &'a [u32],
    pub group: &'a ChaseGroup<N>,
    pub ranks: &'a [u32],
    pub stride: usize,
    /// The first row's place in the chunk.
    pub first: usize,
}

impl<N: Number + Trees> Chase<N> {
    pub fn new(trees: &[PlainTree], columns: usize) -> Option<Chase<N>> {
        let count: usize = trees.iter().map(|tree| tree.nodes.len()).sum();
        if columns > MOST_COLUMNS || u32::try_from(count).is_err() {
            return None;
        }
        // Node 0 stands for trees that a group lacks: a leaf that adds 0, which changes no sum, as none is ever -0.0.
        let mut chase = Chase {
            nodes: vec![itself(0)],
            leaf: vec![0],
            groups: Vec::new(),
            stride: columns.next_multiple_of(16),
        };
        for same in trees.chunk_by(|left, right| left.targets == right.targets) {
            for group in same.chunks(GROUP) {
                let targets = group.first().map_or(&[][..], |tree| &tree.targets);
                let mut made = ChaseGroup {
                    roots: [0; GROUP],
                    values: targets
                        .iter()
                        .map(|target| (*target, vec![N::default()]))
                        .collect(),
                };
                for (root, tree) in made.roots.iter_mut().zip(group) {
                    *root = chase.nodes.len() as u64;
                    let before = made.values.first().map_or(0, |(_, values)| values.len()) as u32;
                    chase.place(tree, before);
                    for (at, (_, values)) in made.values.iter_mut().enumerate() {
                        values.extend(
                            tree.values
                                .iter()
                                .skip(at)
                                .step_by(targets.len())
                                .map(|value| N::of(*value)),
                        );
                    }
                }
                chase.groups.push(made);
            }
        }
        Some(chase)
    }

    /// Appends a tree's nodes, level by level.
    fn place(&mut self, tree: &PlainTree, first_leaf: u32) {
        let mut level = vec![(0u32, self.nodes.len())];
        self.nodes.push(0);
        self.leaf.push(0);
        while !level.is_empty() {
            let mut next = Vec::new();
            for (at, place) in level {
                match tree.nodes[at as usize] {
                    PlainNode::Leaf(leaf) => {
                        self.nodes[place] = itself(place);
                        self.leaf[place] = first_leaf + leaf;
                    }
                    PlainNode::Split {
                        column,
                        bin,
                        yes,
                        no,
                    } => {
                        let child = self.nodes.len();
                        self.nodes[place] =
                            u64::from(bin | column << COLUMN) | (child as u64) << 32;
                        self.nodes.extend([0, 0]);
                        self.leaf.extend([0, 0]);
                        next.extend([(yes, child), (no, child + 1)]);
                    }
                }
            }
            level = next;
        }
    }

    pub fn run(
        &self,
        isa: Isa,
        ranks: &[u32],
        rows: usize,
        by_row: &mut Lines<u32>,
        sums: &mut [N],
    ) {
        by_rows(ranks, self.stride, rows, by_row);
        for group in &self.groups {
            for first in (0..rows).step_by(ROWS) {
                let ranks = &by_row[first * self.stride..(first + ROWS) * self.stride];
                let meeting = Meeting {
                    nodes: &self.nodes,
                    leaf: &self.leaf,
                    group,
                    ranks,
                    stride: self.stride,
                    first,
                };
                N::chase(isa, &meeting, sums);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        let values = |group: &ChaseGroup<N>| {
            group
                .values
                .iter()
                .map(|(_, values)| size_of_val(values.as_slice()))
                .sum::<usize>()
        };
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.leaf.as_slice())
            + self.groups.iter().map(values).sum::<usize>()
    }
}

fn itself(place: usize) -> u64 {
    u64::from(BIN) | (place as u64) << 32
}

/// Adds what the group's trees say of `ROWS` rows to their sums.
pub(super) fn chase<N: Number>(meeting: &Meeting<'_, N>, sums: &mut [N]) {
    for (row, ranks) in meeting.ranks.chunks_exact(meeting.stride).enumerate() {
        let mut at = meeting.group.roots;
        let mut moving = true;
        while moving {
            moving = false;
            for at in &mut at {
                let node = meeting.nodes[*at as usize];
                let column = (node as u32 >> COLUMN) as usize;
                let next = (node >> 32) + u64::from(ranks[column] > node as u32 & BIN);
                moving |= next != *at;
                *at = next;
            }
        }
        for (target, values) in &meeting.group.values {
            let sum = &mut sums[*target as usize * CHUNK + meeting.first + row];
            for at in at {
                *sum += values[meeting.leaf[at as usize] as usize];
            }
        }
    }
}
