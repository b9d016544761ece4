//! Ranks with AVX2: 16 values at a time.

use super::rank::Buckets;
use std::arch::x86_64::*;

const STEP: usize = 16;
const GROUPS: usize = 4;

macro_rules! kernels {
    ($lane:ty, $count:ident, $search:ident, $narrow:expr) => {
        #[target_feature(enable = "avx2")]
        pub(super) fn $count(thresholds: &[f64], values: &[f64], out: &mut [$lane]) -> bool {
            steps(
                values,
                out,
                |values| {
                    let mut ranks = [_mm256_setzero_si256(); GROUPS];
                    for threshold in thresholds {
                        let threshold = _mm256_set1_pd(*threshold);
                        for (rank, value) in ranks.iter_mut().zip(values) {
                            let below =
                                _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_LT_OQ>(threshold, value));
                            *rank = _mm256_sub_epi64(*rank, below);
                        }
                    }
                    ranks.map(|rank| low_halves(rank))
                },
                $narrow,
            )
        }

        #[target_feature(enable = "avx2")]
        pub(super) fn $search(buckets: &Buckets, values: &[f64], out: &mut [$lane]) -> bool {
            let (low, factor) = (_mm256_set1_pd(buckets.low), _mm256_set1_pd(buckets.factor));
            let (zero, last) = (_mm256_setzero_pd(), _mm256_set1_pd(buckets.last));
            let (starts, thresholds) = (
                buckets.starts.as_ptr().cast::<i32>(),
                buckets.thresholds.as_ptr(),
            );
            steps(
                values,
                out,
                |values| {
                    let mut ranks = values.map(|value| {
                        let place = _mm256_mul_pd(_mm256_sub_pd(value, low), factor);
                        // A NaN makes the maximum its second operand: 0.
                        let bucket =
                            _mm256_cvttpd_epi32(_mm256_min_pd(_mm256_max_pd(place, zero), last));
                        // SAFETY: bucket numbers end at `last`, the number of the last start.
                        unsafe { _mm_i32gather_epi32::<4>(starts, bucket) }
                    });
                    for step in (0..buckets.steps).rev() {
                        let stride = _mm_set1_epi32(1 << step);
                        for (rank, value) in ranks.iter_mut().zip(values) {
                            // SAFETY: a rank is at most the number of thresholds less what is still to be added, and
                            // 2^steps infinities follow them.
                            let probe = unsafe {
                                _mm256_i32gather_pd::<8>(thresholds.add((1 << step) - 1), *rank)
                            };
                            let below = low_halves(_mm256_castpd_si256(
                                _mm256_cmp_pd::<_CMP_LT_OQ>(probe, value),
                            ));
                            *rank = _mm_add_epi32(*rank, _mm_and_si128(below, stride));
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
    |ranks: [__m128i; GROUPS], out: &mut [u8; STEP]| {
        let out = out.as_mut_ptr().cast();
        // SAFETY: 16 bytes into 16 bytes; the features of the callers.
        unsafe {
            _mm_storeu_si128(
                out,
                _mm_packus_epi16(
                    _mm_packus_epi32(ranks[0], ranks[1]),
                    _mm_packus_epi32(ranks[2], ranks[3]),
                ),
            )
        };
    }
);
kernels!(
    u16,
    count_u16,
    search_u16,
    |ranks: [__m128i; GROUPS], out: &mut [u16; STEP]| {
        for half in 0..2 {
            // SAFETY: eight values at 0 and 8 of 16; the features of the callers.
            unsafe {
                _mm_storeu_si128(
                    out.as_mut_ptr().add(8 * half).cast(),
                    _mm_packus_epi32(ranks[2 * half], ranks[2 * half + 1]),
                )
            };
        }
    }
);

kernels!(
    u32,
    count_u32,
    search_u32,
    |ranks: [__m128i; GROUPS], out: &mut [u32; STEP]| {
        for (at, rank) in ranks.into_iter().enumerate() {
            // SAFETY: four values at 4 * at of 16; the features of the callers.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().add(4 * at).cast(), rank) };
        }
    }
);

/// The low 32 bits of four 64-bit numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn low_halves(values: __m256i) -> __m128i {
    _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(
        values,
        _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6),
    ))
}

#[inline]
#[target_feature(enable = "avx2")]
fn steps<L: Copy + Default>(
    values: &[f64],
    out: &mut [L],
    ranks: impl Fn([__m256d; GROUPS]) -> [__m128i; GROUPS],
    narrow: impl Fn([__m128i; GROUPS], &mut [L; STEP]),
) -> bool {
    let mut has_nan = _mm256_setzero_pd();
    let mut one = |values: &[f64; STEP], out: &mut [L; STEP]| {
        // SAFETY: four times four of 16 values.
        let values: [__m256d; GROUPS] =
            std::array::from_fn(|at| unsafe { _mm256_loadu_pd(values.as_ptr().add(4 * at)) });
        values.iter().for_each(|value| {
            has_nan = _mm256_or_pd(has_nan, _mm256_cmp_pd::<_CMP_UNORD_Q>(*value, *value))
        });
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
    _mm256_movemask_pd(has_nan) != 0
}
