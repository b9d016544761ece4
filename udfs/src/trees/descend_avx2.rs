//! `descend` with AVX2: eight trees in a register, ranks gathered from the row's own few lines.

use super::descend::{Group, GROUP, ROWS};
use super::leaves::Number;
use crate::program::CHUNK;
use std::arch::x86_64::*;

/// # Safety
/// `ranks` holds `ROWS` rows of `stride` ranks, all of columns that the group's nodes name.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn descend<N: Number>(
    group: &Group<N>,
    ranks: &[u32],
    stride: usize,
    first: usize,
    sums: &mut [N],
) {
    let nodes = group.nodes.as_ptr().cast::<i32>();
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let depth = _mm256_set1_epi32(group.depth as i32);
    let bins = _mm256_set1_epi32(0xffff);
    let one = _mm256_set1_epi32(1);
    let mut reached = [[0u32; GROUP]; ROWS];
    for half in 0..GROUP / 8 {
        let begin = _mm256_sllv_epi32(
            _mm256_add_epi32(lanes, _mm256_set1_epi32(8 * half as i32)),
            depth,
        );
        let mut at = [_mm256_add_epi32(begin, one); ROWS];
        for _ in 0..group.depth {
            for (row, at) in at.iter_mut().enumerate() {
                // SAFETY: at any level but the last a place is that of a node of the heap; nodes name columns of the row.
                let (node, rank) = unsafe {
                    let node = _mm256_i32gather_epi32::<4>(nodes, *at);
                    let ranks = ranks.as_ptr().add(row * stride).cast::<i32>();
                    (
                        node,
                        _mm256_i32gather_epi32::<4>(ranks, _mm256_srli_epi32::<16>(node)),
                    )
                };
                let goes_no = _mm256_cmpgt_epi32(rank, _mm256_and_si256(node, bins));
                // Places count from the forest's first node: 2 * (at - begin) + begin.
                *at =
                    _mm256_sub_epi32(_mm256_sub_epi32(_mm256_add_epi32(*at, *at), begin), goes_no);
            }
        }
        let behind = _mm256_sllv_epi32(one, depth);
        for (reached, at) in reached.iter_mut().zip(at) {
            // SAFETY: eight numbers at 0 or 8 of 16.
            unsafe {
                _mm256_storeu_si256(
                    reached.as_mut_ptr().add(8 * half).cast(),
                    _mm256_sub_epi32(at, behind),
                )
            };
        }
    }
    for (target, values) in &group.leaves {
        let sums = &mut sums[*target as usize * CHUNK + first..][..ROWS];
        let mut of_row: [N; ROWS] = std::array::from_fn(|row| sums[row]);
        for tree in 0..GROUP {
            // Rows side by side: their sums do not wait for each other.
            for (sum, reached) in of_row.iter_mut().zip(&reached) {
                // SAFETY: a heap of `depth` levels ends at its 2^depth leaves, and each tree has as many values.
                *sum += unsafe { *values.get_unchecked(reached[tree] as usize) };
            }
        }
        sums.copy_from_slice(&of_row);
    }
}
