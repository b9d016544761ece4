//! `descend` with AVX2: eight trees in a register. The ranks of a row are two registers, if there are no more than 16 columns;
//! otherwise they are gathered from the row's own few lines.

use super::descend::{add_pairs, add_single, Group, Reached, GROUP, ROWS};
use super::leaves::Number;
use std::arch::x86_64::*;

/// # Safety
/// `ranks` holds `ROWS` rows of `stride` ranks, all of columns that the group's nodes name; sums hold `ROWS` rows from
/// `first` on for every target of the group.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn descend<N: Number>(
    group: &Group<N>,
    ranks: &[u32],
    stride: usize,
    first: usize,
    sums: &mut [N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let reached = match stride {
            16 => reached::<true>(group, ranks, stride),
            _ => reached::<false>(group, ranks, stride),
        };
        add_pairs(group, &reached, first, sums);
        add_single(group, &reached, first, sums);
    }
}

/// # Safety
/// As `descend`; narrow: the stride is 16.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn reached<const NARROW: bool>(
    group: &Group<impl Sized>,
    ranks: &[u32],
    stride: usize,
) -> Reached {
    let (nodes, ranks) = (group.nodes.as_ptr().cast::<i32>(), ranks.as_ptr());
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let depth = _mm256_set1_epi32(group.depth as i32);
    let bins = _mm256_set1_epi32(0xffff);
    let one = _mm256_set1_epi32(1);
    let goes_no = |row: usize, node: __m256i| {
        let column = _mm256_srli_epi32::<16>(node);
        // SAFETY: nodes name columns of the row, which has 16 of them if it is narrow.
        let rank = unsafe {
            let ranks = ranks.add(row * stride);
            if NARROW {
                let low = _mm256_loadu_si256(ranks.cast());
                let high = _mm256_loadu_si256(ranks.add(8).cast());
                // The column's bit 3 becomes the sign, which chooses.
                _mm256_castps_si256(_mm256_blendv_ps(
                    _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(low, column)),
                    _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(high, column)),
                    _mm256_castsi256_ps(_mm256_slli_epi32::<12>(node)),
                ))
            } else {
                _mm256_i32gather_epi32::<4>(ranks.cast(), column)
            }
        };
        _mm256_cmpgt_epi32(rank, _mm256_and_si256(node, bins))
    };
    let mut reached = [[0; GROUP]; ROWS];
    for half in 0..GROUP / 8 {
        let begin = _mm256_sllv_epi32(
            _mm256_add_epi32(lanes, _mm256_set1_epi32(8 * half as i32)),
            depth,
        );
        let mut at = [_mm256_add_epi32(begin, one); ROWS];
        let mut level = 0;
        if group.depth >= 2 {
            // The first two levels are the same few nodes for all rows: no gathers.
            // SAFETY: nodes 1, 2 and 3 of each tree.
            let [root, yes, no] = [1, 2, 3].map(|node| unsafe {
                _mm256_i32gather_epi32::<4>(nodes, _mm256_add_epi32(begin, _mm256_set1_epi32(node)))
            });
            for (row, at) in at.iter_mut().enumerate() {
                let down = goes_no(row, root);
                let node = _mm256_blendv_epi8(yes, no, down);
                // 4 for the first of the third level, 2 and 1 more for each `no`, whose mask is -1.
                let third = _mm256_add_epi32(begin, _mm256_set1_epi32(4));
                let third = _mm256_sub_epi32(third, _mm256_add_epi32(down, down));
                *at = _mm256_sub_epi32(third, goes_no(row, node));
            }
            level = 2;
        }
        for _ in level..group.depth {
            for (row, at) in at.iter_mut().enumerate() {
                // SAFETY: at any level but the last a place is that of a node of the heap.
                let node = unsafe { _mm256_i32gather_epi32::<4>(nodes, *at) };
                // Places count from the forest's first node: 2 * (at - begin) + begin.
                let next = _mm256_sub_epi32(_mm256_add_epi32(*at, *at), begin);
                *at = _mm256_sub_epi32(next, goes_no(row, node));
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
    reached
}
