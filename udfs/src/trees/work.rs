//! What a thread needs to score with forests: ranks, sums, and tables of constants.

use super::forest::Feature;
use super::lines::Lines;
use super::rank::{Lane, RankLane, Ranks, Search};
use super::select::Arena;
use crate::isa::Isa;
use crate::program::CHUNK;

/// Places of a column of ranks. Columns of 2,048 bytes would all lie in the same two parts of the nearest cache, and push
/// each other out where there are more than ten; 64 more places put the next column elsewhere.
pub(super) const COLUMN: usize = CHUNK + 64;

#[derive(Default)]
pub struct Work<N> {
    /// A chunk of rows for each target.
    pub(super) sums: Lines<N>,
    pub(super) scored: Vec<bool>,
    pub(super) ranks8: Lines<u8>,
    pub(super) ranks16: Lines<u16>,
    pub(super) ranks32: Lines<u32>,
    pub(super) by_row: Lines<u32>,
    pub(super) values: Vec<f64>,
    pub(super) arena8: Option<Box<Arena>>,
    pub(super) arena16: Option<Box<Arena>>,
}

impl<N: Copy + Default> Work<N> {
    pub fn sums(&self, target: usize, rows: usize) -> &[N] {
        &self.sums[target * CHUNK..target * CHUNK + rows]
    }

    /// Whether any leaf added to the target; only after an ensemble was walked.
    pub fn scored(&self, target: usize, rows: usize) -> &[bool] {
        &self.scored[target * CHUNK..target * CHUNK + rows]
    }

    pub(super) fn clear(&mut self, targets: usize) {
        self.sums.clear(targets * CHUNK);
        self.scored.clear();
        self.scored.resize(targets * CHUNK, false);
    }
}

/// Ranks of all columns, a chunk of rows for each.
pub(super) fn rank_columns<L: RankLane>(
    columns: &[Ranks],
    rounded: &[bool],
    isa: Isa,
    features: &[Feature<'_>],
    rows: usize,
    ranks: &mut Lines<L>,
    buffer: &mut Vec<f64>,
) {
    // What lies behind the rows is any rank of a chunk before: valid, and of no consequence.
    ranks.grow(columns.len() * COLUMN);
    let mut last_has_nan = true;
    for (number, column) in columns.iter().enumerate() {
        let feature = column.feature as usize;
        // Thresholds know of the rounding, sets do not.
        let round = rounded[feature] && matches!(column.by, Search::Set(_));
        let (before, from) = ranks.split_at_mut(number * COLUMN);
        let out = &mut from[..rows];
        let values = match features[feature] {
            Feature::One(value) => {
                out.fill(column.one(if round {
                    f64::from(value as f32)
                } else {
                    value
                }));
                // Another column may follow that copies this one; blocks behind the rows stay as they are.
                continue;
            }
            Feature::F64(values) if !round => values,
            Feature::F64(values) => {
                buffer.clear();
                buffer.extend(values.iter().map(|value| f64::from(*value as f32)));
                buffer.as_slice()
            }
            Feature::F32(values) => {
                buffer.clear();
                buffer.extend(values.iter().map(|value| f64::from(*value)));
                buffer.as_slice()
            }
        };
        match before.len().checked_sub(COLUMN) {
            Some(last) if column.copies_last => {
                out.copy_from_slice(&before[last..last + rows]);
                if last_has_nan {
                    column.place_missing(values, out);
                }
            }
            _ => last_has_nan = column.many(isa, values, out),
        }
    }
}

/// Ranks row by row, `stride` places for each. Rows behind the last have ranks of a chunk before.
pub(super) fn by_rows<L: Lane>(ranks: &[L], stride: usize, rows: usize, by_row: &mut Lines<u32>) {
    by_row.grow(CHUNK * stride);
    // A few rows at a time, which stay in the nearest cache until all their columns are there.
    const NEAR: usize = 64;
    for (part, by_row) in by_row[..CHUNK * stride]
        .chunks_mut(NEAR * stride)
        .enumerate()
    {
        let part = (part * NEAR).min(rows)..((part + 1) * NEAR).min(rows);
        for (column, ranks) in ranks.chunks_exact(COLUMN).enumerate().take(stride) {
            for (row, rank) in by_row.chunks_exact_mut(stride).zip(&ranks[part.clone()]) {
                row[column] = rank.number();
            }
        }
    }
}
