//! Trees that are nearly complete: the nodes of 16 trees side by side, and a row goes down all of them at once.

use super::leaves::Number;
use super::plain::{PlainNode, PlainTree};
use crate::isa::Isa;
use crate::program::CHUNK;

/// Trees of a group: lanes of the widest register.
pub(super) const GROUP: usize = 16;
/// Deeper complete trees would be mostly copies.
const DEEPEST: u32 = 12;
/// A table of complete trees is at most so many times the nodes that are there, for each group.
const SPARSE: usize = 6;

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
        let _ = isa;
        by_row.resize(CHUNK * self.stride, 0);
        for (column, ranks) in ranks.chunks_exact(CHUNK).enumerate().take(self.stride) {
            for (row, rank) in by_row.chunks_exact_mut(self.stride).zip(&ranks[..rows]) {
                row[column] = u32::from(*rank);
            }
        }
        for group in &self.groups {
            for (row, ranks) in by_row.chunks_exact(self.stride).take(rows).enumerate() {
                for tree in 0..GROUP {
                    let nodes = &group.nodes[tree << group.depth..(tree + 1) << group.depth];
                    let mut at = 1usize;
                    for _ in 0..group.depth {
                        let node = nodes[at];
                        at = 2 * at + usize::from(ranks[(node >> 16) as usize] > node & 0xffff);
                    }
                    let leaf = at - (1 << group.depth);
                    for (target, values) in &group.leaves {
                        sums[*target as usize * CHUNK + row] +=
                            values[(tree << group.depth) + leaf];
                    }
                }
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
