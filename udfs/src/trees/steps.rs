//! A tree as steps, from its leaves up, and where each finds and leaves what it computes.

use super::plain::{PlainNode, PlainTree};
use super::rank::Lane;
use super::work::COLUMN;

/// Bytes of a block of one column: of 256, a tree's steps are read twice as often (8 % slower with AVX-512, no other with AVX2).
pub(super) const BLOCK: usize = 512;
/// Bytes of a constant in the table: the widest register.
pub(super) const WIDTH: usize = 64;
pub(super) const MOST_LEAVES: usize = 256;
/// A tree of 256 leaves needs nine at most when the larger side goes first: log2(256), and one. More are for pairs.
pub(super) const SLOTS: usize = 16;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Step {
    /// Where the column begins in the ranks, in bytes.
    pub column: u32,
    /// The bin in every lane of 32 bits.
    pub bin: u32,
    /// Where the operands begin in the arena, in bytes, and 1 or 0: whether they move with the rows.
    pub yes: u16,
    pub no: u16,
    pub yes_moves: bool,
    pub no_moves: bool,
    pub to: u16,
}

const fn constant(leaf: u32) -> u16 {
    (leaf as usize * WIDTH) as u16
}

pub(super) const fn slot(number: usize) -> u16 {
    (MOST_LEAVES * WIDTH + number * BLOCK) as u16
}

/// The steps of a tree, of which the first `pairs` choose between two leaves.
#[derive(Default)]
pub(super) struct Steps {
    pub steps: Vec<Step>,
    pub pairs: usize,
}

/// Steps whose last one leaves leaf numbers in slot 0; None for a tree of one leaf or too many.
///
/// Where there are slots enough, splits whose sides are both leaves come first: their operands are loaded once for a block.
/// Each later step then takes what one of the steps before has left, so that no more slots are needed.
pub(super) fn program<L: Lane>(tree: &PlainTree) -> Option<Steps> {
    let leaves = tree.leaves();
    if !(2..=MOST_LEAVES).contains(&leaves) {
        return None;
    }
    let needs = needs(tree);
    let mut steps = Vec::with_capacity(leaves - 1);
    // Where each node's exits are: of a leaf its constant, of a branch the slot once its step is there.
    let mut place: Vec<Option<u16>> = tree
        .nodes
        .iter()
        .map(|node| match node {
            PlainNode::Leaf(leaf) => Some(constant(*leaf)),
            PlainNode::Split { .. } => None,
        })
        .collect();
    let mut free: Vec<u16> = (0..SLOTS).rev().map(slot).collect();
    let first = pairs(tree);
    let mut waiting = vec![0usize];
    waiting.extend(first.iter().rev());
    while let Some(&at) = waiting.last() {
        let (
            PlainNode::Split {
                column,
                bin,
                yes,
                no,
            },
            None,
        ) = (tree.nodes[at], place[at])
        else {
            waiting.pop();
            continue;
        };
        let (left, right) = (yes as usize, no as usize);
        let (Some(from_yes), Some(from_no)) = (place[left], place[right]) else {
            // The side that needs more slots comes first, so it goes onto the stack last.
            let first_left = needs[left] >= needs[right];
            let order = if first_left {
                [right, left]
            } else {
                [left, right]
            };
            waiting.extend(order.into_iter().filter(|child| place[*child].is_none()));
            continue;
        };
        waiting.pop();
        let (yes_moves, no_moves) = (from_yes >= slot(0), from_no >= slot(0));
        free.extend(
            [(from_yes, yes_moves), (from_no, no_moves)]
                .into_iter()
                .filter(|(_, moves)| *moves)
                .map(|(place, _)| place),
        );
        free.sort_unstable_by(|a, b| b.cmp(a));
        let to = free.pop()?;
        place[at] = Some(to);
        let bin = if size_of::<L>() == 1 {
            bin * 0x0101_0101
        } else {
            bin * 0x0001_0001
        };
        let column = column * (COLUMN * size_of::<L>()) as u32;
        steps.push(Step {
            column,
            bin,
            yes: from_yes,
            no: from_no,
            yes_moves,
            no_moves,
            to,
        });
    }
    // The lowest free slot is always taken: the root's is the first.
    steps
        .last()
        .is_some_and(|last| last.to == slot(0))
        .then_some(Steps {
            steps,
            pairs: first.len(),
        })
}

/// Splits whose sides are both leaves; none where there are more than slots.
fn pairs(tree: &PlainTree) -> Vec<usize> {
    let is_leaf = |at: u32| matches!(tree.nodes[at as usize], PlainNode::Leaf(_));
    let is_pair = |node: &PlainNode| match node {
        PlainNode::Split { yes, no, .. } => is_leaf(*yes) && is_leaf(*no),
        PlainNode::Leaf(_) => false,
    };
    let mut found: Vec<usize> = (0..tree.nodes.len()).collect();
    found.retain(|at| is_pair(&tree.nodes[*at]));
    if found.len() > SLOTS {
        found.clear();
    }
    found
}

/// Slots that computing a node takes (Sethi and Ullman's numbers); children stand behind their parents.
fn needs(tree: &PlainTree) -> Vec<u8> {
    let mut needs = vec![0u8; tree.nodes.len()];
    for at in (0..tree.nodes.len()).rev() {
        if let PlainNode::Split { yes, no, .. } = tree.nodes[at] {
            let (left, right) = (needs[yes as usize], needs[no as usize]);
            needs[at] = if left == right {
                left + 1
            } else {
                left.max(right)
            };
        }
    }
    needs
}
