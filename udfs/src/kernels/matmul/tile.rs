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

/// What happens to an output's sum once it is whole: a bias is added, and what is below the floor becomes the floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish {
    pub bias: f64,
    pub floor: f64,
}

impl Finish {
    /// Leaves every sum as it is, bit for bit: x + -0.0 is x for both zeros, too, and nothing is below -infinity.
    pub const NONE: Finish = Finish {
        bias: -0.0,
        floor: f64::NEG_INFINITY,
    };

    #[inline(always)]
    pub fn of(&self, sum: f64) -> f64 {
        let biased = sum + self.bias;
        // As ReLU: a NaN stays, and -0.0 is not below 0.0.
        if biased < self.floor {
            self.floor
        } else {
            biased
        }
    }
}

/// Which part of the sums a product is.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The first: what the sums held before does not count.
    pub first: bool,
    /// Of the last one, by output; empty before.
    pub finish: &'a [Finish],
}

/// Adds inputs x weights to the sums, input after input. Inputs and sums are of the same number of rows; at most
/// `OUTPUTS` sums.
pub fn add_product(
    isa: Isa,
    inputs: &[&Tiles],
    weights: &[[f64; OUTPUTS]],
    part: Part<'_>,
    sums: &mut [&mut Tiles],
) {
    // Few outputs take more rows at once: as many sums, so that no addition waits for the one before, and longer runs of
    // each column.
    match sums.len() {
        1 => of_outputs::<1, 4>(isa, inputs, weights, part, sums),
        2 => of_outputs::<2, 4>(isa, inputs, weights, part, sums),
        3 => of_outputs::<3, 2>(isa, inputs, weights, part, sums),
        4 => of_outputs::<4, 2>(isa, inputs, weights, part, sums),
        _ => of_outputs::<OUTPUTS, 1>(isa, inputs, weights, part, sums),
    }
}

#[inline(always)]
fn of_outputs<const N: usize, const TILES: usize>(
    isa: Isa,
    inputs: &[&Tiles],
    weights: &[[f64; OUTPUTS]],
    part: Part<'_>,
    sums: &mut [&mut Tiles],
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx512` is only made after the processor was seen to have AVX-512 F.
        Isa::Avx512 => unsafe { x86::avx512::<N, TILES>(inputs, weights, part, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::Avx2` is only made after the processor was seen to have AVX2 and FMA.
        Isa::Avx2 => unsafe { x86::avx2::<N>(inputs, weights, part, sums) },
        _ => portable(inputs, weights, part, sums),
    }
}

/// Four rows of one output: registers of any processor. (NEON has the instruction; x86-64 before 2013 calls a function.)
fn portable(
    inputs: &[&Tiles],
    weights: &[[f64; OUTPUTS]],
    part: Part<'_>,
    sums: &mut [&mut Tiles],
) {
    for (output, sums) in sums.iter_mut().enumerate().take(OUTPUTS) {
        let finish = part.finish.get(output);
        for (tile, sums) in sums.iter_mut().enumerate() {
            for (first, sums) in sums.chunks_exact_mut(4).enumerate() {
                let mut acc = [0.0; 4];
                if !part.first {
                    acc.copy_from_slice(sums);
                }
                for (input, weights) in inputs.iter().zip(weights) {
                    for (acc, x) in acc.iter_mut().zip(&input[tile][first * 4..]) {
                        *acc = x.mul_add(weights[output], *acc);
                    }
                }
                if let Some(finish) = finish {
                    acc = acc.map(|sum| finish.of(sum));
                }
                sums.copy_from_slice(&acc);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Part, Tiles, OUTPUTS};
    use std::arch::x86_64::{
        _mm256_add_pd, _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_max_pd, _mm256_set1_pd,
        _mm256_setzero_pd, _mm256_storeu_pd, _mm512_add_pd, _mm512_fmadd_pd, _mm512_loadu_pd,
        _mm512_max_pd, _mm512_set1_pd, _mm512_setzero_pd, _mm512_storeu_pd,
    };

    /// Some tiles at once, then one by one: at most 16 of the 32 registers hold sums.
    #[target_feature(enable = "avx512f")]
    pub fn avx512<const N: usize, const TILES: usize>(
        inputs: &[&Tiles],
        weights: &[[f64; OUTPUTS]],
        part: Part<'_>,
        sums: &mut [&mut Tiles],
    ) {
        let tiles = sums.first().map_or(0, |sums| sums.len());
        let mut tile = 0;
        while tile + TILES <= tiles {
            avx512_tiles::<N, TILES>(inputs, weights, part, sums, tile);
            tile += TILES;
        }
        while tile < tiles {
            avx512_tiles::<N, 1>(inputs, weights, part, sums, tile);
            tile += 1;
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn avx512_tiles<const N: usize, const TILES: usize>(
        inputs: &[&Tiles],
        weights: &[[f64; OUTPUTS]],
        part: Part<'_>,
        sums: &mut [&mut Tiles],
        tile: usize,
    ) {
        let mut acc = [[[_mm512_setzero_pd(); 2]; TILES]; N];
        if !part.first {
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                for (acc, sums) in acc.iter_mut().zip(&sums[tile..tile + TILES]) {
                    let from = sums.as_ptr();
                    // SAFETY: both loads read 8 of the tile's 16 doubles.
                    *acc = unsafe { [_mm512_loadu_pd(from), _mm512_loadu_pd(from.add(8))] };
                }
            }
        }
        for (input, weights) in inputs.iter().zip(weights) {
            for (lane, input) in input[tile..tile + TILES].iter().enumerate() {
                let from = input.as_ptr();
                // SAFETY: both loads read 8 of the tile's 16 doubles.
                let (low, high) = unsafe { (_mm512_loadu_pd(from), _mm512_loadu_pd(from.add(8))) };
                for (acc, weight) in acc.iter_mut().zip(weights) {
                    let weight = _mm512_set1_pd(*weight);
                    let acc = &mut acc[lane];
                    acc[0] = _mm512_fmadd_pd(low, weight, acc[0]);
                    acc[1] = _mm512_fmadd_pd(high, weight, acc[1]);
                }
            }
        }
        for (acc, finish) in acc.iter_mut().zip(part.finish) {
            let (bias, floor) = (_mm512_set1_pd(finish.bias), _mm512_set1_pd(finish.floor));
            for sum in acc.as_flattened_mut() {
                // Of two zeros, and where one is NaN, the second: as `Finish::of`.
                *sum = _mm512_max_pd(floor, _mm512_add_pd(*sum, bias));
            }
        }
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            for (acc, sums) in acc.iter().zip(&mut sums[tile..tile + TILES]) {
                let to = sums.as_mut_ptr();
                // SAFETY: both stores write 8 of the tile's 16 doubles.
                unsafe {
                    _mm512_storeu_pd(to, acc[0]);
                    _mm512_storeu_pd(to.add(8), acc[1]);
                }
            }
        }
    }

    /// Up to 4 outputs: of half a tile each, or of a whole one if there are at most 2, so that 8 of the 16 registers hold sums.
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2<const N: usize>(
        inputs: &[&Tiles],
        weights: &[[f64; OUTPUTS]],
        part: Part<'_>,
        sums: &mut [&mut Tiles],
    ) {
        const BLOCK: usize = 4;
        let tiles = sums.first().map_or(0, |sums| sums.len());
        for (block, sums) in sums.chunks_mut(BLOCK).enumerate() {
            let first = block * BLOCK;
            let part = Part {
                finish: part.finish.get(first..).unwrap_or_default(),
                ..part
            };
            for tile in 0..tiles {
                if N <= 2 {
                    avx2_rows::<2, 4>(inputs, weights, first, part, sums, (tile, 0));
                } else {
                    avx2_rows::<BLOCK, 2>(inputs, weights, first, part, sums, (tile, 0));
                    avx2_rows::<BLOCK, 2>(inputs, weights, first, part, sums, (tile, 8));
                }
            }
        }
    }

    /// `VECTORS` x 4 rows of a tile from a row on.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn avx2_rows<const N: usize, const VECTORS: usize>(
        inputs: &[&Tiles],
        weights: &[[f64; OUTPUTS]],
        first: usize,
        part: Part<'_>,
        sums: &mut [&mut Tiles],
        (tile, row): (usize, usize),
    ) {
        let mut acc = [[_mm256_setzero_pd(); VECTORS]; N];
        if !part.first {
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                for (acc, from) in acc.iter_mut().zip(sums[tile][row..].chunks_exact(4)) {
                    // SAFETY: the chunk has 4 doubles.
                    *acc = unsafe { _mm256_loadu_pd(from.as_ptr()) };
                }
            }
        }
        for (input, weights) in inputs.iter().zip(weights) {
            let mut x = [_mm256_setzero_pd(); VECTORS];
            for (x, from) in x.iter_mut().zip(input[tile][row..].chunks_exact(4)) {
                // SAFETY: the chunk has 4 doubles.
                *x = unsafe { _mm256_loadu_pd(from.as_ptr()) };
            }
            for (acc, weight) in acc.iter_mut().zip(&weights[first..]) {
                let weight = _mm256_set1_pd(*weight);
                for (acc, x) in acc.iter_mut().zip(x) {
                    *acc = _mm256_fmadd_pd(x, weight, *acc);
                }
            }
        }
        for (acc, finish) in acc.iter_mut().zip(part.finish) {
            let (bias, floor) = (_mm256_set1_pd(finish.bias), _mm256_set1_pd(finish.floor));
            for sum in acc {
                // Of two zeros, and where one is NaN, the second: as `Finish::of`.
                *sum = _mm256_max_pd(floor, _mm256_add_pd(*sum, bias));
            }
        }
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            for (acc, to) in acc.iter().zip(sums[tile][row..].chunks_exact_mut(4)) {
                // SAFETY: the chunk has 4 doubles.
                unsafe { _mm256_storeu_pd(to.as_mut_ptr(), *acc) };
            }
        }
    }
}
