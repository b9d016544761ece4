//! `chase` with AVX-512: 64 nodes are asked for at a time, of eight trees for eight rows.

use super::chase::{Meeting, BIN, COLUMN, ROWS};
use super::descend_x86::transposed;
use crate::program::CHUNK;
use std::arch::x86_64::*;

/// # Safety
/// Nodes, leaf numbers and values are those of one `Chase`; `ranks` holds `ROWS` rows of 16 or (wide) 32 ranks; sums hold
/// `ROWS` rows from `first` on for every target of the group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn doubles<const WIDE: bool>(meeting: &Meeting<'_, f64>, sums: &mut [f64]) {
    // SAFETY: the caller's promise.
    let leaves = unsafe { leaves::<WIDE, f64>(meeting) };
    for (target, values) in &meeting.group.values {
        // SAFETY: leaf numbers are below the number of values; sums have eight rows at this place.
        unsafe {
            let at = sums
                .as_mut_ptr()
                .add(*target as usize * CHUNK + meeting.first);
            let values = leaves.map(|leaf| _mm512_i32gather_pd::<8>(leaf, values.as_ptr()));
            let mut sum = _mm512_loadu_pd(at);
            for of_tree in transposed(values) {
                sum = _mm512_add_pd(sum, of_tree);
            }
            _mm512_storeu_pd(at, sum);
        }
    }
}

/// # Safety
/// As `doubles`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn singles<const WIDE: bool>(meeting: &Meeting<'_, f32>, sums: &mut [f32]) {
    // SAFETY: the caller's promise.
    let leaves = unsafe { leaves::<WIDE, f32>(meeting) };
    let mut numbers = [[0u32; 8]; ROWS];
    for (numbers, leaf) in numbers.iter_mut().zip(leaves) {
        // SAFETY: eight numbers of four bytes.
        unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), leaf) };
    }
    for (target, values) in &meeting.group.values {
        let sums = &mut sums[*target as usize * CHUNK + meeting.first..][..ROWS];
        for (sum, leaves) in sums.iter_mut().zip(&numbers) {
            for leaf in leaves {
                *sum += values[*leaf as usize];
            }
        }
    }
}

/// The leaf numbers of eight trees that each of eight rows reaches.
///
/// # Safety
/// As `doubles`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn leaves<const WIDE: bool, N>(meeting: &Meeting<'_, N>) -> [__m256i; ROWS] {
    let stride = if WIDE { 32 } else { 16 };
    let (nodes, ranks) = (meeting.nodes.as_ptr(), meeting.ranks.as_ptr());
    let (bins, one) = (_mm512_set1_epi64(i64::from(BIN)), _mm512_set1_epi64(1));
    // SAFETY: a row has `stride` ranks; a group has eight roots.
    let (low, high, roots) = unsafe {
        let low: [__m512i; ROWS] =
            std::array::from_fn(|row| _mm512_loadu_si512(ranks.add(row * stride).cast()));
        let high: [__m512i; ROWS] = std::array::from_fn(|row| {
            if WIDE {
                _mm512_loadu_si512(ranks.add(row * stride + 16).cast())
            } else {
                low[row]
            }
        });
        (
            low,
            high,
            _mm512_loadu_si512(meeting.group.roots.as_ptr().cast()),
        )
    };
    let mut at = [roots; ROWS];
    loop {
        let mut moving = 0;
        for row in 0..ROWS {
            // SAFETY: roots and children are nodes.
            let node = unsafe { _mm512_i64gather_epi64::<8>(at[row], nodes.cast()) };
            // The upper halves hold something else; masked off below.
            let column = _mm512_srli_epi32::<{ COLUMN }>(node);
            let rank = if WIDE {
                _mm512_permutex2var_epi32(low[row], column, high[row])
            } else {
                _mm512_permutexvar_epi32(column, low[row])
            };
            let goes_no =
                _mm512_cmpgt_epu64_mask(_mm512_and_si512(rank, bins), _mm512_and_si512(node, bins));
            let child = _mm512_srli_epi64::<32>(node);
            let next = _mm512_mask_add_epi64(child, goes_no, child, one);
            moving |= _mm512_cmpneq_epu64_mask(next, at[row]);
            at[row] = next;
        }
        if moving == 0 {
            break;
        }
    }
    // SAFETY: there is a leaf number for every node.
    at.map(|at| unsafe { _mm512_i64gather_epi32::<4>(at, meeting.leaf.as_ptr().cast()) })
}
