//! The register tile: up to 8 outputs x 16 rows, written with intrinsics, for LLVM does not keep a tile of arrays in
//! registers (measured, 100 x 50 weights: 4.5 GFLOP/s from arrays under AVX-512).
//!
//! Each step is one fused multiply-add per value, on every processor: that rounds once, so all versions agree bit for
//! bit, and it is what BLAS and onnxruntime do (see the module above).

use crate::isa::Isa;

/// Rows that one tile covers, and output columns.
pub const ROWS: usize = 16;
pub const OUTPUTS: usize = 8;

/// Rows of one column, tile by tile.
pub type Tiles = [[f64; ROWS]];

/// Adds inputs x weights to the sums, input after input. Inputs and sums are of the same number of rows; at most
/// `OUTPUTS` sums.
pub fn add_product(
    isa: Isa,
    inputs: &[&Tiles],
    weights: &[[f64; OUTPUTS]],
    sums: &mut [&mut Tiles],
) {
    match sums.len() {
        1 => of_outputs::<1>(isa, inputs, weights, sums),
        2 => of_outputs::<2>(isa, inputs, weights, sums),
        3 => of_outputs::<3>(isa, inputs, weights, sums),
        4 => of_outputs::<4>(isa, inputs, weights, sums),
        _ => of_outputs::<OUTPUTS>(isa, inputs, weights, sums),
    }
}

#[inline(always)]
fn of_outputs<const N: usize>(
    isa: Isa,
    inputs: &[&Tiles],
    weights: &[[f64; OUTPUTS]],
    sums: &mut [&mut Tiles],
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx512` is only made after the processor was seen to have AVX-512 F.
        Isa::Avx512 => unsafe { x86::avx512::<N>(inputs, weights, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx2` is only made after the processor was seen to have AVX2 and FMA.
        Isa::Avx2 => unsafe { x86::avx2::<N>(inputs, weights, sums) },
        _ => portable(inputs, weights, sums),
    }
}

/// Four rows of one output: registers of any processor. (NEON has the instruction; x86-64 before 2013 calls a function.)
fn portable(inputs: &[&Tiles], weights: &[[f64; OUTPUTS]], sums: &mut [&mut Tiles]) {
    for (output, sums) in sums.iter_mut().enumerate().take(OUTPUTS) {
        for (tile, sums) in sums.iter_mut().enumerate() {
            for (first, sums) in sums.chunks_exact_mut(4).enumerate() {
                let mut acc = [0.0; 4];
                acc.copy_from_slice(sums);
                for (input, weights) in inputs.iter().zip(weights) {
                    for (acc, x) in acc.iter_mut().zip(&input[tile][first * 4..]) {
                        *acc = x.mul_add(weights[output], *acc);
                    }
                }
                sums.copy_from_slice(&acc);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Tiles, OUTPUTS};
    use std::arch::x86_64::{
        _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_set1_pd, _mm256_setzero_pd, _mm256_storeu_pd,
        _mm512_fmadd_pd, _mm512_loadu_pd, _mm512_set1_pd, _mm512_setzero_pd, _mm512_storeu_pd,
    };

    /// Whole tiles, in up to 16 of the 32 registers.
    #[target_feature(enable = "avx512f")]
    pub fn avx512<const N: usize>(
        inputs: &[&Tiles],
        weights: &[[f64; OUTPUTS]],
        sums: &mut [&mut Tiles],
    ) {
        let tiles = sums.first().map_or(0, |sums| sums.len());
        for tile in 0..tiles {
            let mut acc = [[_mm512_setzero_pd(); 2]; N];
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                let from = sums[tile].as_ptr();
                // SAFETY: both loads read 8 of the tile's 16 doubles.
                *acc = unsafe { [_mm512_loadu_pd(from), _mm512_loadu_pd(from.add(8))] };
            }
            for (input, weights) in inputs.iter().zip(weights) {
                let from = input[tile].as_ptr();
                // SAFETY: both loads read 8 of the tile's 16 doubles.
                let (low, high) = unsafe { (_mm512_loadu_pd(from), _mm512_loadu_pd(from.add(8))) };
                for (acc, weight) in acc.iter_mut().zip(weights) {
                    let weight = _mm512_set1_pd(*weight);
                    acc[0] = _mm512_fmadd_pd(low, weight, acc[0]);
                    acc[1] = _mm512_fmadd_pd(high, weight, acc[1]);
                }
            }
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                let to = sums[tile].as_mut_ptr();
                // SAFETY: both stores write 8 of the tile's 16 doubles.
                unsafe {
                    _mm512_storeu_pd(to, acc[0]);
                    _mm512_storeu_pd(to.add(8), acc[1]);
                }
            }
        }
    }

    /// Half tiles of up to 4 outputs: 8 of the 16 registers hold sums.
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2<const N: usize>(
        inputs: &[&Tiles],
        weights: &[[f64; OUTPUTS]],
        sums: &mut [&mut Tiles],
    ) {
        const PART: usize = 4;
        let tiles = sums.first().map_or(0, |sums| sums.len());
        let used = if N < PART { N } else { PART };
        for (part, sums) in sums.chunks_mut(PART).enumerate() {
            for (tile, first) in (0..tiles).flat_map(|tile| [(tile, 0), (tile, 8)]) {
                let mut acc = [[_mm256_setzero_pd(); 2]; PART];
                for (acc, sums) in acc[..used].iter_mut().zip(sums.iter()) {
                    // SAFETY: first is 0 or 8; the loads read 4 doubles each of the tile's 8 from there on.
                    *acc = unsafe {
                        let from = sums[tile].as_ptr().add(first);
                        [_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(4))]
                    };
                }
                for (input, weights) in inputs.iter().zip(weights) {
                    // SAFETY: as above.
                    let (low, high) = unsafe {
                        let from = input[tile].as_ptr().add(first);
                        (_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(4)))
                    };
                    for (acc, weight) in acc[..used].iter_mut().zip(&weights[part * PART..]) {
                        let weight = _mm256_set1_pd(*weight);
                        acc[0] = _mm256_fmadd_pd(low, weight, acc[0]);
                        acc[1] = _mm256_fmadd_pd(high, weight, acc[1]);
                    }
                }
                for (acc, sums) in acc[..used].iter().zip(sums.iter_mut()) {
                    // SAFETY: as above.
                    unsafe {
                        let to = sums[tile].as_mut_ptr().add(first);
                        _mm256_storeu_pd(to, acc[0]);
                        _mm256_storeu_pd(to.add(4), acc[1]);
                    }
                }
            }
        }
    }
}
