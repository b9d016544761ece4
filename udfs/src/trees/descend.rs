//! Trees that are nearly complete: the nodes of 16 trees side by side, and a row goes down all of them at once.

use super::leaves::Number;
use super::lines::Lines;
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
    /// For two targets each: whose they are, and for each tree 2^depth pairs of values, in one line of the cache.
    pub pairs: Vec<([u32; 2], Vec<[N; 2]>)>,
    /// The last of an odd number of targets: whose it is, and for each tree 2^depth values.
    pub single: Option<(u32, Vec<N>)>,
}

/// The leaf of each of the trees, from the group's first on, that rows reach.
pub(super) type Reached = [[u32; GROUP]; ROWS];

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

    pub fn run(
        &self,
        isa: Isa,
        ranks: &[u16],
        rows: usize,
        by_row: &mut Lines<u32>,
        sums: &mut [N],
    ) {
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
            let pairs = group.pairs.iter();
            let single = group.single.iter();
            size_of_val(group.nodes.as_slice())
                + pairs
                    .map(|(_, pairs)| size_of_val(pairs.as_slice()))
                    .sum::<usize>()
                + single
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
    let single = if leaves.len() % 2 == 1 {
        leaves.pop()
    } else {
        None
    };
    let (two, _) = leaves.as_chunks::<2>();
    let pairs = two.iter().map(|[(left, lefts), (right, rights)]| {
        let pairs = lefts.iter().zip(rights);
        let pairs = pairs.map(|(left, right)| [*left, *right]);
        ([*left, *right], pairs.collect())
    });
    Group {
        depth,
        nodes,
        pairs: pairs.collect(),
        single,
    }
}

/// Adds the leaves that rows reach to their sums, tree after tree: rows are side by side and wait for nothing.
///
/// # Safety
/// As `Reached` says of this group; sums hold `ROWS` rows from `first` on for every target of it.
#[inline(always)]
pub(super) unsafe fn add_pairs<N: Number>(
    group: &Group<N>,
    reached: &Reached,
    first: usize,
    sums: &mut [N],
) {
    for ([left, right], pairs) in &group.pairs {
        let (left, right) = (
            *left as usize * CHUNK + first,
            *right as usize * CHUNK + first,
        );
        let mut of_row: [N::Pair; ROWS] =
            std::array::from_fn(|row| N::pair(&[sums[left + row], sums[right + row]]));
        for tree in 0..GROUP {
            for (sum, reached) in of_row.iter_mut().zip(reached) {
                // SAFETY: this function's contract.
                let pair = unsafe { pairs.get_unchecked(reached[tree] as usize) };
                *sum = N::add_pair(*sum, N::pair(pair));
            }
        }
        for (row, sum) in of_row.into_iter().enumerate() {
            [sums[left + row], sums[right + row]] = N::both(sum);
        }
    }
}

/// As `add_pairs`, for the target that has no other beside it.
///
/// # Safety
/// As `add_pairs`.
#[inline(always)]
pub(super) unsafe fn add_single<N: Number>(
    group: &Group<N>,
    reached: &Reached,
    first: usize,
    sums: &mut [N],
) {
    if let Some((target, values)) = &group.single {
        let sums = &mut sums[*target as usize * CHUNK + first..][..ROWS];
        let mut of_row: [N; ROWS] = std::array::from_fn(|row| sums[row]);
        for tree in 0..GROUP {
            for (sum, reached) in of_row.iter_mut().zip(reached) {
                // SAFETY: this function's contract.
                *sum += unsafe { *values.get_unchecked(reached[tree] as usize) };
            }
        }
        sums.copy_from_slice(&of_row);
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
    let mut reached: Reached = [[0; GROUP]; ROWS];
    for (reached, ranks) in reached.iter_mut().zip(ranks.chunks_exact(stride)) {
        let mut at = [1usize; GROUP];
        for _ in 0..group.depth {
            for (tree, at) in at.iter_mut().enumerate() {
                let node = group.nodes[(tree << group.depth) + *at];
                *at = 2 * *at + usize::from(ranks[(node >> 16) as usize] > node & 0xffff);
            }
        }
        for ((tree, reached), at) in reached.iter_mut().enumerate().zip(at) {
            // The heap's leaves begin at 2^depth, a tree's values at tree * 2^depth.
            *reached = ((tree << group.depth) + at - (1 << group.depth)) as u32;
        }
    }
    // SAFETY: a heap of `depth` levels ends at its 2^depth leaves, and each tree has as many values.
    unsafe {
        add_pairs(group, &reached, first, sums);
        add_single(group, &reached, first, sums);
    }
}
