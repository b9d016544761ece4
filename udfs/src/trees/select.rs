//! Small trees without a branch: for a block of rows every node is computed, from the leaves up.
//!
//! One step is `d = rank <= bin ? yes : no` over a block, where `yes` and `no` are exit numbers: constants at first, then
//! what steps before have left. Steps have one form (constants are read from a table with a stride of 0) after those between
//! two leaves, so nothing is decoded and no jump is predicted.

use super::forest::whole;
use super::leaves::{padded, Exits, Number, TOGETHER};
use super::plain::PlainTree;
use super::rank::Lane;
use super::steps::{program, slot, Step, Steps, BLOCK, MOST_LEAVES, SLOTS, WIDTH};
use crate::isa::Isa;
use crate::program::CHUNK;
use std::marker::PhantomData;

/// Constants, then slots. All threads of a process may share the constants; slots are a thread's.
#[repr(C, align(64))]
pub(super) struct Arena {
    constants: [[u8; WIDTH]; MOST_LEAVES],
    /// The last ones are where trees that go together leave their exits.
    slots: [[u8; BLOCK]; SLOTS + TOGETHER],
}

impl Arena {
    pub fn new<L: Lane>() -> Box<Arena> {
        let mut arena = Box::new(Arena {
            constants: [[0; WIDTH]; MOST_LEAVES],
            slots: [[0; BLOCK]; SLOTS + TOGETHER],
        });
        for (number, constant) in arena.constants.iter_mut().enumerate() {
            for (at, byte) in constant.iter_mut().enumerate() {
                // A number of two bytes has its low one at even places.
                *byte = if at % size_of::<L>() == 0 {
                    number as u8
                } else {
                    0
                };
            }
        }
        arena
    }
}

/// Trees as steps, with what their leaves add.
pub(super) struct Select<L, N> {
    trees: Vec<Selected<N>>,
    lane: PhantomData<L>,
}

struct Selected<N> {
    /// None for a tree of one leaf.
    steps: Vec<Step>,
    /// Of them, how many choose between two leaves and come first.
    pairs: usize,
    /// Targets with the values of all leaves.
    leaves: Vec<(u32, Box<[N]>)>,
}

impl<L: SelectLane, N: Number> Select<L, N> {
    pub fn new(trees: &[PlainTree]) -> Option<Select<L, N>> {
        let trees = trees.iter().enumerate().map(|(number, tree)| {
            let Steps { mut steps, pairs } = if tree.leaves() == 1 {
                Steps::default()
            } else {
                program::<L>(tree)?
            };
            if let Some(last) = steps.last_mut() {
                last.to = slot(SLOTS + number % TOGETHER);
            }
            let width = tree.targets.len();
            let leaves = tree.targets.iter().enumerate();
            let leaves = leaves.map(|(at, target)| {
                (
                    *target,
                    padded(tree.values.iter().skip(at).step_by(width).copied()),
                )
            });
            Some(Selected {
                steps,
                pairs,
                leaves: leaves.collect(),
            })
        });
        Some(Select {
            trees: trees.collect::<Option<_>>()?,
            lane: PhantomData,
        })
    }

    /// `ranks`: a chunk of rows for each column; `sums`: a chunk for each target.
    pub fn run(&self, isa: Isa, ranks: &[L], rows: usize, arena: &mut Arena, sums: &mut [N]) {
        let block = BLOCK / size_of::<L>();
        let mut bytes = [[0; BLOCK]; TOGETHER];
        for trees in self.trees.chunks(TOGETHER) {
            for first in (0..whole(rows, block)).step_by(block) {
                for (tree, number) in trees.iter().zip(SLOTS..) {
                    match tree.steps.is_empty() {
                        true => arena.slots[number].fill(0),
                        false => {
                            let steps = tree.steps.split_at(tree.pairs);
                            L::block(isa, steps, &ranks[first..], arena);
                        }
                    }
                }
                let mut slots = arena.slots[SLOTS..].iter();
                let exits = bytes.each_mut().map(|bytes| match slots.next() {
                    Some(slot) => L::exits(slot, bytes),
                    None => &[],
                });
                if let Some((target, trees)) = together(trees, exits) {
                    let sums = &mut sums[target as usize * CHUNK + first..][..block];
                    N::add_some(isa, &trees, sums);
                    continue;
                }
                for (tree, exits) in trees.iter().zip(exits) {
                    for (target, values) in &tree.leaves {
                        let sums = &mut sums[*target as usize * CHUNK + first..][..block];
                        N::add(isa, values, exits, sums);
                    }
                }
            }
        }
    }

    pub fn bytes(&self) -> usize {
        let one = |tree: &Selected<N>| {
            let leaves: usize = tree
                .leaves
                .iter()
                .map(|(_, values)| size_of_val(&**values) + 32)
                .sum();
            size_of::<Selected<N>>() + size_of_val(tree.steps.as_slice()) + leaves
        };
        self.trees.iter().map(one).sum()
    }
}

/// Leaves and their numbers of as many trees as go together, if all add to one target only, and to the same.
fn together<'a, N>(
    trees: &'a [Selected<N>],
    exits: [&'a [u8]; TOGETHER],
) -> Option<(u32, [Exits<'a, N>; TOGETHER])> {
    let mut found = exits.map(|exits| (&[][..], exits));
    let mut target = None;
    if trees.len() < TOGETHER {
        return None;
    }
    for (tree, (values, _)) in trees.iter().zip(&mut found) {
        match tree.leaves.as_slice() {
            [(own, leaves)] if *target.get_or_insert(*own) == *own => *values = leaves,
            _ => return None,
        }
    }
    Some((target?, found))
}

/// What differs between ranks of one and of two bytes.
pub(super) trait SelectLane: Lane {
    /// Runs the steps, those that choose between two leaves and then the others, over one block. `ranks` begins at its first
    /// row.
    fn block(isa: Isa, steps: (&[Step], &[Step]), ranks: &[Self], arena: &mut Arena);
    /// The exit numbers as bytes, in the slot itself or in `bytes`.
    fn exits<'a>(slot: &'a [u8; BLOCK], bytes: &'a mut [u8; BLOCK]) -> &'a [u8];
}

macro_rules! select_lane {
    ($lane:ty, $avx512:ident, $avx2:ident, $exits:ident) => {
        impl SelectLane for $lane {
            fn block(isa: Isa, steps: (&[Step], &[Step]), ranks: &[Self], arena: &mut Arena) {
                match isa {
                    // SAFETY: the processor has the instructions; a chunk of ranks for every column holds whole blocks.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => unsafe {
                        super::select_x86::$avx512(steps, ranks.as_ptr().cast(), arena)
                    },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => unsafe {
                        super::select_x86::$avx2(steps, ranks.as_ptr().cast(), arena)
                    },
                    _ => {
                        run(steps.0, ranks, arena);
                        run(steps.1, ranks, arena);
                    }
                }
            }

            fn exits<'a>(slot: &'a [u8; BLOCK], bytes: &'a mut [u8; BLOCK]) -> &'a [u8] {
                $exits(slot, bytes)
            }
        }
    };
}

fn as_bytes<'a>(slot: &'a [u8; BLOCK], _: &'a mut [u8; BLOCK]) -> &'a [u8] {
    slot
}

/// Leaf numbers are below 256: the low bytes.
fn low_bytes<'a>(slot: &'a [u8; BLOCK], bytes: &'a mut [u8; BLOCK]) -> &'a [u8] {
    let pairs = slot.as_chunks::<2>().0;
    pairs
        .iter()
        .zip(&mut *bytes)
        .for_each(|(pair, byte)| *byte = pair[0]);
    &bytes[..pairs.len()]
}

select_lane!(u8, avx512_u8, avx2_u8, as_bytes);
select_lane!(u16, avx512_u16, avx2_u16, low_bytes);

/// One block, in plain Rust.
fn run<L: Lane>(steps: &[Step], ranks: &[L], arena: &mut Arena) {
    let lanes = BLOCK / size_of::<L>();
    let mut yes = [L::default(); BLOCK];
    let mut no = [L::default(); BLOCK];
    for step in steps {
        load(arena, step.yes, step.yes_moves, &mut yes[..lanes]);
        load(arena, step.no, step.no_moves, &mut no[..lanes]);
        let column = &ranks[step.column as usize / size_of::<L>()..][..lanes];
        let bin = L::of(step.bin & if size_of::<L>() == 1 { 0xff } else { 0xffff });
        for ((yes, no), rank) in yes.iter_mut().zip(&no).zip(column) {
            *yes = if *rank <= bin { *yes } else { *no };
        }
        store(
            &yes[..lanes],
            &mut arena.slots[(step.to - slot(0)) as usize / BLOCK],
        );
    }
}

fn load<L: Lane>(arena: &Arena, from: u16, moves: bool, out: &mut [L]) {
    if !moves {
        out.fill(L::of(u32::from(from) / WIDTH as u32));
        return;
    }
    let from = &arena.slots[(from - slot(0)) as usize / BLOCK];
    match size_of::<L>() {
        1 => out
            .iter_mut()
            .zip(from)
            .for_each(|(out, byte)| *out = L::of(u32::from(*byte))),
        _ => out
            .iter_mut()
            .zip(from.as_chunks::<2>().0)
            .for_each(|(out, pair)| *out = L::of(u32::from(u16::from_le_bytes(*pair)))),
    }
}

fn store<L: Lane>(values: &[L], slot: &mut [u8; BLOCK]) {
    match size_of::<L>() {
        1 => slot
            .iter_mut()
            .zip(values)
            .for_each(|(byte, value)| *byte = value.number() as u8),
        _ => slot
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(values)
            .for_each(|(pair, value)| *pair = (value.number() as u16).to_le_bytes()),
    }
}
