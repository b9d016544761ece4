//! Trees that are nearly complete: the nodes of 16 trees side by side, and a row goes down all of them at once.

use super::leaves::Number;
use super::plain::{PlainNode, PlainTree};
use super::work::by_rows;
use crate::isa::Isa;
use crate::program::CHUNK;

/// Trees of a group: lanes of the widest register.
pub(super) const GROUP: usize = 16;
/// Deeper complete trees would be mostly copies.
const DEEPEST: u32 = 12;
/// A table of complete trees is at most so many times the nodes that are there, for each group.
const SPARSE: usize = 6;

/// Rows of one step.
pub(super) const ROWS: usize = 8;

pub(super) struct Descend<N> {
    groups: Vec<Group<N>>,
    /// Ranks of a row: columns, rounded up to 16.
    stride: usize,
}

pub(super) struct Group<N> {
    pub depth: u32,
    /// For each tree a heap of 2^depth: children of i are 2i (`yes`) and 2i + 1, the root is 1. bin | column << 16.
    pub nodes: Vec<u32>,
    /// For each target: whose it is, and for each tree 2^depth values.
    pub leaves: Vec<(u32, Vec<N>)>,
}

/// Trees of each group and their depth; None where that would waste memory.
pub(super) fn groups(trees: &[PlainTree]) -> Option<Vec<(&[PlainTree], u32)>> {
    let mut found = Vec::new();
    for same in trees.chunk_by(|left, right| left.targets == right.targets) {
        for group in same.chunks(GROUP) {
            let depth = group.iter().map(PlainTree::depth).max().unwrap_or(0);
            let nodes: usize = group.iter().map(|tree| tree.nodes.len()).sum();
            if depth > DEEPEST || (group.len() << depth) > SPARSE * nodes.max(64) {
                return None;
            }
            found.push((group, depth));
        }
    }
    Some(found)
}

impl<N: Number> Descend<N> {
    pub fn new(trees: &[PlainTree], columns: usize) -> Descend<N> {
        let found = groups(trees).unwrap_or_default();
        Descend {
            groups: found
                .into_iter()
                .map(|(trees, depth)| group(trees, depth))
                .collect(),
            stride: columns.next_multiple_of(16),
        }
    }

    pub fn run(&self, isa: Isa, ranks: &[u16], rows: usize, by_row: &mut Vec<u32>, sums: &mut [N]) {
        by_rows(ranks, self.stride, rows, by_row);
        for group in &self.groups {
            // What lies behind the rows has ranks of other rows or 0: of existing columns, and of no consequence.
            for first in (0..rows).step_by(ROWS) {
                let ranks = &by_row[first * self.stride..(first + ROWS) * self.stride];
                N::descend(isa, group, ranks, self.stride, first, sums);
            }
        }
    }

    pub fn describe(&self) -> String {
        format!("descended in {} groups", self.groups.len())
    }

    pub fn bytes(&self) -> usize {
        let one = |group: &Group<N>| {
            size_of_val(group.nodes.as_slice())
                + group
                    .leaves
                    .iter()
                    .map(|(_, values)| size_of_val(values.as_slice()))
                    .sum::<usize>()
        };
        self.groups.iter().map(one).sum()
    }
}

/// Missing trees of the last group are of one leaf that adds 0: it changes no sum, as a sum is never -0.0.
fn group<N: Number>(trees: &[PlainTree], depth: u32) -> Group<N> {
    let size = 1usize << depth;
    let targets = trees.first().map_or(&[][..], |tree| &tree.targets);
    let mut nodes = vec![0u32; GROUP * size];
    let mut leaves: Vec<(u32, Vec<N>)> = targets
        .iter()
        .map(|target| (*target, vec![N::default(); GROUP * size]))
        .collect();
    for (number, tree) in trees.iter().enumerate() {
        let mut waiting = vec![(0usize, 1usize, 0u32)];
        while let Some((at, place, level)) = waiting.pop() {
            match tree.nodes[at] {
                PlainNode::Split {
                    column,
                    bin,
                    yes,
                    no,
                } => {
                    nodes[number * size + place] = bin | column << 16;
                    waiting.push((yes as usize, 2 * place, level + 1));
                    waiting.push((no as usize, 2 * place + 1, level + 1));
                }
                PlainNode::Leaf(leaf) => {
                    // Whatever nodes of the table stand below it, all its places hold the same.
                    let below = depth - level;
                    let first = (place << below) - size;
                    for (at, (_, values)) in leaves.iter_mut().enumerate() {
                        let value = N::of(tree.values[leaf as usize * targets.len() + at]);
                        values[number * size + first..][..1 << below].fill(value);
                    }
                }
            }
        }
    }
    Group {
        depth,
        nodes,
        leaves,
    }
}

/// Adds the leaves that `ROWS` rows reach to their sums; what instruction sets have no other way for.
pub(super) fn descend<N: Number>(
    group: &Group<N>,
    ranks: &[u32],
    stride: usize,
    first: usize,
    sums: &mut [N],
) {
    for (row, ranks) in ranks.chunks_exact(stride).enumerate() {
        let mut at = [1usize; GROUP];
        for _ in 0..group.depth {
            for (tree, at) in at.iter_mut().enumerate() {
                let node = group.nodes[(tree << group.depth) + *at];
                *at = 2 * *at + usize::from(ranks[(node >> 16) as usize] > node & 0xffff);
            }
        }
        for (target, values) in &group.leaves {
            let sum = &mut sums[*target as usize * CHUNK + first + row];
            for (tree, at) in at.iter().enumerate() {
                // The heap's leaves begin at 2^depth, a tree's values at tree * 2^depth.
                *sum += values[(tree << group.depth) + at - (1 << group.depth)];
            }
        }
    }
}
