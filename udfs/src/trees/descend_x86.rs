//! `descend` with AVX-512: a register holds one node of each of 16 trees, and the ranks of a row are another register (or
//! two), so a level is one gather and one permutation. Eight rows go down together. The leaves of a single target are
//! transposed, so that sums are added tree after tree, eight rows in a register; those of two are added two by two.

use super::descend::{add_pairs, add_single, Group, Reached, GROUP, ROWS};
use crate::program::CHUNK;
use std::arch::x86_64::*;

/// # Safety
/// `ranks` holds `ROWS` rows of `stride` ranks, all of columns that the group's nodes name; sums hold `ROWS` rows from
/// `row` on for every target of the group. A stride of 16 or 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn doubles<const WIDE: bool>(
    group: &Group<f64>,
    ranks: &[u32],
    row: usize,
    sums: &mut [f64],
) {
    // SAFETY: the caller's promise; places are of leaves; sums have eight rows at this place.
    unsafe {
        let places = places::<WIDE>(group, ranks);
        if !group.pairs.is_empty() {
            add_pairs(group, &reached(places), row, sums);
        }
        let Some((target, leaves)) = &group.single else {
            return;
        };
        let at = sums.as_mut_ptr().add(*target as usize * CHUNK + row);
        let mut sum = _mm512_loadu_pd(at);
        for half in 0..2 {
            let values: [__m512d; 8] = std::array::from_fn(|row| {
                let place = if half == 0 {
                    _mm512_castsi512_si256(places[row])
                } else {
                    _mm512_extracti64x4_epi64::<1>(places[row])
                };
                _mm512_i32gather_pd::<8>(place, leaves.as_ptr())
            });
            for of_tree in transposed(values) {
                sum = _mm512_add_pd(sum, of_tree);
            }
        }
        _mm512_storeu_pd(at, sum);
    }
}

/// # Safety
/// As `doubles`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn singles<const WIDE: bool>(
    group: &Group<f32>,
    ranks: &[u32],
    row: usize,
    sums: &mut [f32],
) {
    // SAFETY: the caller's promise; places are of leaves.
    unsafe {
        let reached = reached(places::<WIDE>(group, ranks));
        add_pairs(group, &reached, row, sums);
        add_single(group, &reached, row, sums);
    }
}

/// The places of registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn reached(places: [__m512i; ROWS]) -> Reached {
    let mut reached = [[0; GROUP]; ROWS];
    for (reached, places) in reached.iter_mut().zip(places) {
        // SAFETY: 16 numbers of four bytes.
        unsafe { _mm512_storeu_si512(reached.as_mut_ptr().cast(), places) };
    }
    reached
}

/// Where the leaves of 16 trees are that each of eight rows reaches.
///
/// # Safety
/// `ranks` holds eight rows of 32 ranks, or 16 where not `WIDE`, all of columns that the group's nodes name.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn places<const WIDE: bool>(group: &Group<impl Sized>, ranks: &[u32]) -> [__m512i; ROWS] {
    let stride = if WIDE { 32 } else { 16 };
    let (nodes, ranks) = (group.nodes.as_ptr(), ranks.as_ptr());
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let first = _mm512_sllv_epi32(lanes, _mm512_set1_epi32(group.depth as i32));
    let bins = _mm512_set1_epi32(0xffff);
    let one = _mm512_set1_epi32(1);
    // SAFETY: a row has `stride` ranks (the caller's promise), of which nodes name existing ones.
    let (low, high): ([__m512i; ROWS], [__m512i; ROWS]) = unsafe {
        let low = std::array::from_fn(|row| _mm512_loadu_si512(ranks.add(row * stride).cast()));
        let high = std::array::from_fn(|row| {
            if WIDE {
                _mm512_loadu_si512(ranks.add(row * stride + 16).cast())
            } else {
                low[row]
            }
        });
        (low, high)
    };
    let goes_no = |row: usize, node: __m512i| {
        let column = _mm512_srli_epi32::<16>(node);
        let rank = if WIDE {
            _mm512_permutex2var_epi32(low[row], column, high[row])
        } else {
            _mm512_permutexvar_epi32(column, low[row])
        };
        _mm512_cmpgt_epu32_mask(rank, _mm512_and_si512(node, bins))
    };
    let mut at = [one; ROWS];
    // The first two levels are the same few nodes for all rows: no gathers.
    let mut level = 0;
    if group.depth >= 2 {
        // SAFETY: nodes 1, 2 and 3 of each tree.
        let [root, yes, no] = [1, 2, 3].map(|node| unsafe {
            _mm512_i32gather_epi32::<4>(
                _mm512_add_epi32(first, _mm512_set1_epi32(node)),
                nodes.cast(),
            )
        });
        for (row, at) in at.iter_mut().enumerate() {
            let down = goes_no(row, root);
            let node = _mm512_mask_blend_epi32(down, yes, no);
            let next = _mm512_mask_add_epi32(_mm512_set1_epi32(2), down, _mm512_set1_epi32(2), one);
            let next = _mm512_add_epi32(next, next);
            *at = _mm512_mask_add_epi32(next, goes_no(row, node), next, one);
        }
        level = 2;
    }
    for at in &mut at {
        *at = _mm512_add_epi32(*at, first);
    }
    // From here on `at` counts from the group's first node: 2 * (at - first) + first = 2 * at - first.
    for _ in level..group.depth {
        for (row, at) in at.iter_mut().enumerate() {
            // SAFETY: at any level but the last a place is that of a node of the heap.
            let node = unsafe { _mm512_i32gather_epi32::<4>(*at, nodes.cast()) };
            let next = _mm512_sub_epi32(_mm512_add_epi32(*at, *at), first);
            *at = _mm512_mask_add_epi32(next, goes_no(row, node), next, one);
        }
    }
    at.map(|at| {
        _mm512_sub_epi32(
            at,
            _mm512_sllv_epi32(one, _mm512_set1_epi32(group.depth as i32)),
        )
    })
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transposed(rows: [__m512d; 8]) -> [__m512d; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |x, y| (_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y));
    let ((ab0, ab1), (cd0, cd1), (ef0, ef1), (gh0, gh1)) =
        (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
    let (low, high) = (
        _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13),
        _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15),
    );
    let fours = |x, y| {
        (
            _mm512_permutex2var_pd(x, low, y),
            _mm512_permutex2var_pd(x, high, y),
        )
    };
    let ((l0, l2), (l1, l3)) = (fours(ab0, cd0), fours(ab1, cd1));
    let ((r0, r2), (r1, r3)) = (fours(ef0, gh0), fours(ef1, gh1));
    let first = |x, y| _mm512_shuffle_f64x2::<0b01_00_01_00>(x, y);
    let second = |x, y| _mm512_shuffle_f64x2::<0b11_10_11_10>(x, y);
    [
        first(l0, r0),
        first(l1, r1),
        first(l2, r2),
        first(l3, r3),
        second(l0, r0),
        second(l1, r1),
        second(l2, r2),
        second(l3, r3),
    ]
}
