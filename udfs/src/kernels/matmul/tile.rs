//! The register tile: 8 outputs x 16 rows, written with intrinsics, for LLVM does not keep a tile of arrays in registers
//! (measured, 100 x 50 weights: 4.5 GFLOP/s from arrays under AVX-512).
//!
//! Each step multiplies one input's 16 rows with its 8 weights and adds: no FMA, so that all versions agree bit for bit.

use crate::isa::Isa;

/// Rows that one tile covers, and output columns.
pub const ROWS: usize = 16;
pub const OUTPUTS: usize = 8;

/// Partial sums, one array of rows per output.
pub type Sums = [[f64; ROWS]; OUTPUTS];

/// Adds inputs x weights to `sums`, input after input.
#[inline]
pub fn add_product(isa: Isa, inputs: &[[f64; ROWS]], weights: &[[f64; OUTPUTS]], sums: &mut Sums) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx512` is only made after the processor was seen to have AVX-512 F.
        Isa::Avx512 => unsafe { x86::avx512(inputs, weights, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx2` is only made after the processor was seen to have AVX2.
        Isa::Avx2 => unsafe { x86::avx2(inputs, weights, sums) },
        _ => portable(inputs, weights, sums),
    }
}

/// Quarter tiles of 2 outputs x 4 rows: they fit the 16 registers of SSE2 (and the 32 of NEON).
fn portable(inputs: &[[f64; ROWS]], weights: &[[f64; OUTPUTS]], sums: &mut Sums) {
    const LANES: usize = 4;
    for first_row in (0..ROWS).step_by(LANES) {
        for first_output in (0..OUTPUTS).step_by(2) {
            let mut a = [0.0; LANES];
            let mut b = [0.0; LANES];
            a.copy_from_slice(&sums[first_output][first_row..first_row + LANES]);
            b.copy_from_slice(&sums[first_output + 1][first_row..first_row + LANES]);
            for (input, weights) in inputs.iter().zip(weights) {
                let (w, v) = (weights[first_output], weights[first_output + 1]);
                for lane in 0..LANES {
                    let x = input[first_row + lane];
                    a[lane] += x * w;
                    b[lane] += x * v;
                }
            }
            sums[first_output][first_row..first_row + LANES].copy_from_slice(&a);
            sums[first_output + 1][first_row..first_row + LANES].copy_from_slice(&b);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Sums, OUTPUTS, ROWS};
    use std::arch::x86_64::{
        _mm256_add_pd, _mm256_loadu_pd, _mm256_mul_pd, _mm256_set1_pd, _mm256_setzero_pd,
        _mm256_storeu_pd, _mm512_add_pd, _mm512_loadu_pd, _mm512_mul_pd, _mm512_set1_pd,
        _mm512_setzero_pd, _mm512_storeu_pd,
    };

    /// The whole tile in 16 of the 32 registers.
    #[target_feature(enable = "avx512f")]
    pub fn avx512(inputs: &[[f64; ROWS]], weights: &[[f64; OUTPUTS]], sums: &mut Sums) {
        let mut acc = [[_mm512_setzero_pd(); 2]; OUTPUTS];
        for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
            // SAFETY: both loads read 8 of the array's 16 doubles.
            *acc = unsafe {
                [
                    _mm512_loadu_pd(sums.as_ptr()),
                    _mm512_loadu_pd(sums.as_ptr().add(8)),
                ]
            };
        }
        for (input, weights) in inputs.iter().zip(weights) {
            // SAFETY: both loads read 8 of the array's 16 doubles.
            let (low, high) = unsafe {
                (
                    _mm512_loadu_pd(input.as_ptr()),
                    _mm512_loadu_pd(input.as_ptr().add(8)),
                )
            };
            for (acc, weight) in acc.iter_mut().zip(weights) {
                let weight = _mm512_set1_pd(*weight);
                acc[0] = _mm512_add_pd(acc[0], _mm512_mul_pd(low, weight));
                acc[1] = _mm512_add_pd(acc[1], _mm512_mul_pd(high, weight));
            }
        }
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            // SAFETY: both stores write 8 of the array's 16 doubles.
            unsafe {
                _mm512_storeu_pd(sums.as_mut_ptr(), acc[0]);
                _mm512_storeu_pd(sums.as_mut_ptr().add(8), acc[1]);
            }
        }
    }

    /// Quarter tiles of 4 outputs x 8 rows: 8 of the 16 registers hold sums.
    #[target_feature(enable = "avx2")]
    pub fn avx2(inputs: &[[f64; ROWS]], weights: &[[f64; OUTPUTS]], sums: &mut Sums) {
        const PART: usize = 4;
        for first_row in [0, 8] {
            for (part, sums) in sums.chunks_exact_mut(PART).enumerate() {
                let mut acc = [[_mm256_setzero_pd(); 2]; PART];
                for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                    // SAFETY: first_row is 0 or 8; the loads read 4 doubles each of the 8 from there on.
                    *acc = unsafe {
                        let sums = sums.as_ptr().add(first_row);
                        [_mm256_loadu_pd(sums), _mm256_loadu_pd(sums.add(4))]
                    };
                }
                for (input, weights) in inputs.iter().zip(weights) {
                    // SAFETY: as above.
                    let (low, high) = unsafe {
                        let input = input.as_ptr().add(first_row);
                        (_mm256_loadu_pd(input), _mm256_loadu_pd(input.add(4)))
                    };
                    for (acc, weight) in acc.iter_mut().zip(&weights[part * PART..]) {
                        let weight = _mm256_set1_pd(*weight);
                        acc[0] = _mm256_add_pd(acc[0], _mm256_mul_pd(low, weight));
                        acc[1] = _mm256_add_pd(acc[1], _mm256_mul_pd(high, weight));
                    }
                }
                for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                    // SAFETY: as above.
                    unsafe {
                        let sums = sums.as_mut_ptr().add(first_row);
                        _mm256_storeu_pd(sums, acc[0]);
                        _mm256_storeu_pd(sums.add(4), acc[1]);
                    }
                }
            }
        }
    }
}
