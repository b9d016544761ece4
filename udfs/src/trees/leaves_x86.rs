//! `leaves` with AVX-512 and AVX2: tables of up to 32 values stay in registers, larger ones are gathered from.

use std::arch::x86_64::*;

/// # Safety
/// All leaf numbers are below the number of values, and there are as many sums as leaf numbers: a multiple of 16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn avx512_f64(values: &[f64], exits: &[u8], sums: &mut [f64]) {
    let table = values.as_ptr();
    // SAFETY: see above; values are padded to 8, 16 or 32.
    unsafe {
        match values.len() {
            8 => {
                let first = _mm512_loadu_pd(table);
                each_512(exits, sums, |exit| {
                    _mm512_permutexvar_pd(_mm512_cvtepu8_epi64(exit), first)
                });
            }
            16 => {
                let (first, second) = (_mm512_loadu_pd(table), _mm512_loadu_pd(table.add(8)));
                each_512(exits, sums, |exit| {
                    _mm512_permutex2var_pd(first, _mm512_cvtepu8_epi64(exit), second)
                });
            }
            32 => {
                let part = [0, 8, 16, 24].map(|at| _mm512_loadu_pd(table.add(at)));
                each_512(exits, sums, |exit| {
                    let exit = _mm512_cvtepu8_epi64(exit);
                    let low = _mm512_permutex2var_pd(part[0], exit, part[1]);
                    let high = _mm512_permutex2var_pd(part[2], exit, part[3]);
                    _mm512_mask_blend_pd(
                        _mm512_test_epi64_mask(exit, _mm512_set1_epi64(16)),
                        low,
                        high,
                    )
                });
            }
            _ => each_512(exits, sums, |exit| {
                _mm512_i32gather_pd::<8>(_mm256_cvtepu8_epi32(exit), table)
            }),
        }
    }
}

/// # Safety
/// As many sums as leaf numbers: a multiple of 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn each_512(exits: &[u8], sums: &mut [f64], value: impl Fn(__m128i) -> __m512d) {
    for (exits, sums) in exits.chunks_exact(8).zip(sums.chunks_exact_mut(8)) {
        // SAFETY: eight bytes and eight sums.
        unsafe {
            let sum = _mm512_add_pd(
                _mm512_loadu_pd(sums.as_ptr()),
                value(_mm_loadl_epi64(exits.as_ptr().cast())),
            );
            _mm512_storeu_pd(sums.as_mut_ptr(), sum);
        }
    }
}

/// # Safety
/// As `avx512_f64`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn avx512_f32(values: &[f32], exits: &[u8], sums: &mut [f32]) {
    let table = values.as_ptr();
    let mut padded = [0.0; 16];
    let wide = values.len() == 32;
    if values.len() <= 16 {
        padded[..values.len()].copy_from_slice(values);
    } else {
        padded.copy_from_slice(&values[..16]);
    }
    // SAFETY: see above; values are padded to 8, 16 or 32.
    unsafe {
        let first = _mm512_loadu_ps(padded.as_ptr());
        let second = if wide {
            _mm512_loadu_ps(table.add(16))
        } else {
            first
        };
        for (exits, sums) in exits.chunks_exact(16).zip(sums.chunks_exact_mut(16)) {
            let exit = _mm512_cvtepu8_epi32(_mm_loadu_si128(exits.as_ptr().cast()));
            let value = if values.len() <= 32 {
                _mm512_permutex2var_ps(first, exit, second)
            } else {
                _mm512_i32gather_ps::<4>(exit, table)
            };
            _mm512_storeu_ps(
                sums.as_mut_ptr(),
                _mm512_add_ps(_mm512_loadu_ps(sums.as_ptr()), value),
            );
        }
    }
}

/// # Safety
/// As `avx512_f64`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2_f64(values: &[f64], exits: &[u8], sums: &mut [f64]) {
    let table = values.as_ptr();
    // SAFETY: see above; values are padded to 8 at least.
    unsafe {
        if values.len() > 8 {
            for (exits, sums) in exits.chunks_exact(4).zip(sums.chunks_exact_mut(4)) {
                let exit = _mm_cvtepu8_epi32(_mm_loadu_si32(exits.as_ptr()));
                let sum = _mm256_add_pd(
                    _mm256_loadu_pd(sums.as_ptr()),
                    _mm256_i32gather_pd::<8>(table, exit),
                );
                _mm256_storeu_pd(sums.as_mut_ptr(), sum);
            }
            return;
        }
        // The low and the high halves of eight doubles, looked up for eight rows, and put together again. The rows go in as
        // 0 1 4 5 2 3 6 7, because unpacking works within halves of the register.
        let even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
        let odd = _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7);
        let (left, right) = (
            _mm256_loadu_si256(table.cast()),
            _mm256_loadu_si256(table.add(4).cast()),
        );
        let both = |pick| {
            let (left, right) = (
                _mm256_permutevar8x32_epi32(left, pick),
                _mm256_permutevar8x32_epi32(right, pick),
            );
            _mm256_blend_epi32::<0b1111_0000>(left, right)
        };
        let (low, high) = (both(even), both(odd));
        let order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
        for (exits, sums) in exits.chunks_exact(16).zip(sums.chunks_exact_mut(16)) {
            let exit = _mm_shuffle_epi8(_mm_loadu_si128(exits.as_ptr().cast()), order);
            for (half, exit) in [exit, _mm_srli_si128::<8>(exit)].into_iter().enumerate() {
                let exit = _mm256_cvtepu8_epi32(exit);
                let (low, high) = (
                    _mm256_permutevar8x32_epi32(low, exit),
                    _mm256_permutevar8x32_epi32(high, exit),
                );
                let values = [
                    _mm256_unpacklo_epi32(low, high),
                    _mm256_unpackhi_epi32(low, high),
                ];
                for (at, value) in values.into_iter().enumerate() {
                    let sum = sums.as_mut_ptr().add(8 * half + 4 * at);
                    _mm256_storeu_pd(
                        sum,
                        _mm256_add_pd(_mm256_loadu_pd(sum), _mm256_castsi256_pd(value)),
                    );
                }
            }
        }
    }
}

/// # Safety
/// As `avx512_f64`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2_f32(values: &[f32], exits: &[u8], sums: &mut [f32]) {
    let table = values.as_ptr();
    // SAFETY: see above; values are padded to 8 at least.
    unsafe {
        let first = _mm256_loadu_ps(table);
        for (exits, sums) in exits.chunks_exact(8).zip(sums.chunks_exact_mut(8)) {
            let exit = _mm256_cvtepu8_epi32(_mm_loadl_epi64(exits.as_ptr().cast()));
            let value = if values.len() <= 8 {
                _mm256_permutevar8x32_ps(first, exit)
            } else {
                _mm256_i32gather_ps::<4>(table, exit)
            };
            _mm256_storeu_ps(
                sums.as_mut_ptr(),
                _mm256_add_ps(_mm256_loadu_ps(sums.as_ptr()), value),
            );
        }
    }
}
