//! Leaves of four trees of up to 32 leaves at once: tables stay in registers, and a row's sum goes from one tree to the next
//! without the memory between. Each sum still gets its trees one by one, in their order.
//!
//! A register of leaf numbers serves many rows: bytes are ordered so that each lane has its own rows' numbers one above the
//! other, and looking up reads the lowest bits of a lane only. A shift brings the next row's down.

use super::leaves::{Exits, TOGETHER};
use std::arch::x86_64::*;

/// # Safety
/// At most 32 values each, padded; all leaf numbers are below the number of values. As many leaf numbers of each tree as
/// sums: a multiple of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn avx512(trees: &[Exits<'_, f64>; TOGETHER], sums: &mut [f64]) {
    let most = trees.iter().map(|(values, _)| values.len()).max();
    // Eight values of a table; none are there behind its end, and no leaf number says so.
    let part = |at: usize| {
        trees.map(|(values, _)| match values.get(at..at + 8) {
            // SAFETY: eight values.
            Some(values) => unsafe { _mm512_loadu_pd(values.as_ptr()) },
            None => _mm512_setzero_pd(),
        })
    };
    let exits = trees.map(|(_, exits)| exits);
    let first = part(0);
    // SAFETY: as this function's.
    unsafe {
        match most {
            Some(..=8) => each_512(exits, sums, |tree, exit| {
                _mm512_permutexvar_pd(exit, first[tree])
            }),
            Some(..=16) => {
                let second = part(8);
                each_512(exits, sums, |tree, exit| {
                    _mm512_permutex2var_pd(first[tree], exit, second[tree])
                });
            }
            _ => {
                let (second, third, fourth) = (part(8), part(16), part(24));
                let sixteen = _mm512_set1_epi64(16);
                each_512(exits, sums, |tree, exit| {
                    let low = _mm512_permutex2var_pd(first[tree], exit, second[tree]);
                    let high = _mm512_permutex2var_pd(third[tree], exit, fourth[tree]);
                    _mm512_mask_blend_pd(_mm512_test_epi64_mask(exit, sixteen), low, high)
                });
            }
        }
    }
}

/// # Safety
/// As many leaf numbers of each tree as sums: a multiple of 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn each_512(
    exits: [&[u8]; TOGETHER],
    sums: &mut [f64],
    value: impl Fn(usize, __m512i) -> __m512d,
) {
    // Of rows 0..8 and 8..16 in a quarter of a register: row i of both side by side.
    let pairs = _mm512_broadcast_i32x4(_mm_setr_epi8(
        0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15,
    ));
    // Lane i gets pair i of each quarter.
    let lanes: [u16; 32] = std::array::from_fn(|at| (at % 4 * 8 + at / 4) as u16);
    // SAFETY: 64 bytes.
    let lanes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    for (at, sums) in sums.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        // SAFETY: 64 leaf numbers of each tree, by this function's contract.
        let mut exits = exits.map(|exits| unsafe {
            let exits = _mm512_loadu_si512(exits.as_ptr().add(64 * at).cast());
            _mm512_permutexvar_epi16(lanes, _mm512_shuffle_epi8(exits, pairs))
        });
        for sums in sums.as_chunks_mut::<8>().0 {
            // SAFETY: eight sums.
            let mut sum = unsafe { _mm512_loadu_pd(sums.as_ptr()) };
            for (tree, exit) in exits.iter_mut().enumerate() {
                sum = _mm512_add_pd(sum, value(tree, *exit));
                *exit = _mm512_srli_epi64::<8>(*exit);
            }
            // SAFETY: as above.
            unsafe { _mm512_storeu_pd(sums.as_mut_ptr(), sum) };
        }
    }
}

/// # Safety
/// As `avx512`, with at most eight values each.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(trees: &[Exits<'_, f64>; TOGETHER], sums: &mut [f64]) {
    // The low and the high halves of eight doubles, looked up for eight rows, and put together again.
    let halves = |pick: __m256i| {
        trees.map(|(values, _)| {
            // SAFETY: values are padded to eight.
            let (left, right) = unsafe {
                let table = values.as_ptr();
                (
                    _mm256_loadu_si256(table.cast()),
                    _mm256_loadu_si256(table.add(4).cast()),
                )
            };
            _mm256_blend_epi32::<0b1111_0000>(
                _mm256_permutevar8x32_epi32(left, pick),
                _mm256_permutevar8x32_epi32(right, pick),
            )
        })
    };
    let low = halves(_mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    let high = halves(_mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7));
    // Of eight rows 0 1 4 5 and 2 3 6 7 stay together, because unpacking works within halves of the register.
    let fours = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
    ));
    let order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    let lanes = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    ));
    for (at, sums) in sums.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let mut exits = trees.map(|(_, exits)| {
            // SAFETY: 32 leaf numbers of each tree, by this function's contract.
            let exits = unsafe { _mm256_loadu_si256(exits.as_ptr().add(32 * at).cast()) };
            let fours = _mm256_shuffle_epi8(exits, fours);
            _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(fours, order), lanes)
        });
        for sums in sums.as_chunks_mut::<8>().0 {
            let to = sums.as_mut_ptr();
            // SAFETY: eight sums.
            let (mut left, mut right) =
                unsafe { (_mm256_loadu_pd(to), _mm256_loadu_pd(to.add(4))) };
            for (tree, exit) in exits.iter_mut().enumerate() {
                let low = _mm256_permutevar8x32_epi32(low[tree], *exit);
                let high = _mm256_permutevar8x32_epi32(high[tree], *exit);
                let both = (
                    _mm256_unpacklo_epi32(low, high),
                    _mm256_unpackhi_epi32(low, high),
                );
                left = _mm256_add_pd(left, _mm256_castsi256_pd(both.0));
                right = _mm256_add_pd(right, _mm256_castsi256_pd(both.1));
                *exit = _mm256_srli_epi32::<8>(*exit);
            }
            // SAFETY: as above.
            unsafe {
                _mm256_storeu_pd(to, left);
                _mm256_storeu_pd(to.add(4), right);
            }
        }
    }
}
