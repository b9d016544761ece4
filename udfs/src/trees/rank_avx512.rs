//! Ranks with AVX-512: 32 values at a time.

use super::rank::Buckets;
use std::arch::x86_64::*;

const STEP: usize = 32;
const GROUPS: usize = 4;

/// Both kernels for one lane type: whole steps in place, the rest through a padded copy.
macro_rules! kernels {
    ($lane:ty, $count:ident, $search:ident, $narrow:expr) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        pub(super) fn $count(thresholds: &[f64], values: &[f64], out: &mut [$lane]) -> bool {
            steps(
                values,
                out,
                |values| {
                    let mut ranks = [_mm256_setzero_si256(); GROUPS];
                    for threshold in thresholds {
                        let threshold = _mm512_set1_pd(*threshold);
                        for (rank, value) in ranks.iter_mut().zip(values) {
                            let below = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(threshold, value);
                            *rank =
                                _mm256_mask_add_epi32(*rank, below, *rank, _mm256_set1_epi32(1));
                        }
                    }
                    ranks
                },
                $narrow,
            )
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        pub(super) fn $search(buckets: &Buckets, values: &[f64], out: &mut [$lane]) -> bool {
            let (low, factor) = (_mm512_set1_pd(buckets.low), _mm512_set1_pd(buckets.factor));
            let (zero, last) = (_mm512_setzero_pd(), _mm512_set1_pd(buckets.last));
            let (starts, thresholds) = (
                buckets.starts.as_ptr().cast::<i32>(),
                buckets.thresholds.as_ptr(),
            );
            steps(
                values,
                out,
                |values| {
                    let mut ranks = values.map(|value| {
                        let place = _mm512_mul_pd(_mm512_sub_pd(value, low), factor);
                        // A NaN makes the maximum its second operand: 0.
                        let bucket =
                            _mm512_cvttpd_epi32(_mm512_min_pd(_mm512_max_pd(place, zero), last));
                        // SAFETY: bucket numbers end at `last`, the number of the last start.
                        unsafe { _mm256_i32gather_epi32::<4>(starts, bucket) }
                    });
                    for step in (0..buckets.steps).rev() {
                        let stride = _mm256_set1_epi32(1 << step);
                        for (rank, value) in ranks.iter_mut().zip(values) {
                            // SAFETY: a rank is at most the number of thresholds less what is still to be added, and
                            // 2^steps infinities follow them.
                            let probe = unsafe {
                                _mm512_i32gather_pd::<8>(*rank, thresholds.add((1 << step) - 1))
                            };
                            let below = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(probe, value);
                            *rank = _mm256_mask_add_epi32(*rank, below, *rank, stride);
                        }
                    }
                    ranks
                },
                $narrow,
            )
        }
    };
}

kernels!(
    u8,
    count_u8,
    search_u8,
    |ranks: [__m256i; GROUPS], out: &mut [u8; STEP]| {
        for (at, rank) in ranks.into_iter().enumerate() {
            // SAFETY: eight bytes at 8 * at of 32; the features of the callers.
            unsafe {
                _mm_storel_epi64(
                    out.as_mut_ptr().add(8 * at).cast(),
                    _mm256_cvtepi32_epi8(rank),
                )
            };
        }
    }
);
kernels!(
    u16,
    count_u16,
    search_u16,
    |ranks: [__m256i; GROUPS], out: &mut [u16; STEP]| {
        for (at, rank) in ranks.into_iter().enumerate() {
            // SAFETY: eight values at 8 * at of 32; the features of the callers.
            unsafe {
                _mm_storeu_si128(
                    out.as_mut_ptr().add(8 * at).cast(),
                    _mm256_cvtepi32_epi16(rank),
                )
            };
        }
    }
);

kernels!(
    u32,
    count_u32,
    search_u32,
    |ranks: [__m256i; GROUPS], out: &mut [u32; STEP]| {
        for (at, rank) in ranks.into_iter().enumerate() {
            // SAFETY: eight values at 8 * at of 32; the features of the callers.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(8 * at).cast(), rank) };
        }
    }
);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn steps<L: Copy + Default>(
    values: &[f64],
    out: &mut [L],
    ranks: impl Fn([__m512d; GROUPS]) -> [__m256i; GROUPS],
    narrow: impl Fn([__m256i; GROUPS], &mut [L; STEP]),
) -> bool {
    let mut has_nan = 0;
    let mut one = |values: &[f64; STEP], out: &mut [L; STEP]| {
        // SAFETY: four times eight of 32 values.
        let values: [__m512d; GROUPS] =
            std::array::from_fn(|at| unsafe { _mm512_loadu_pd(values.as_ptr().add(8 * at)) });
        values
            .iter()
            .for_each(|value| has_nan |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(*value, *value));
        narrow(ranks(values), out);
    };
    let (whole, rest) = values.as_chunks::<STEP>();
    let (whole_out, rest_out) = out.as_chunks_mut::<STEP>();
    for (values, out) in whole.iter().zip(whole_out) {
        one(values, out);
    }
    if !rest.is_empty() {
        let (mut padded, mut ranks) = ([0.0; STEP], [L::default(); STEP]);
        padded[..rest.len()].copy_from_slice(rest);
        one(&padded, &mut ranks);
        rest_out.copy_from_slice(&ranks[..rest.len()]);
    }
    has_nan != 0
}
