//! The steps of `select` with AVX-512 and AVX2.

use super::select::Arena;
use super::steps::{Step, BLOCK};
use std::arch::x86_64::*;

macro_rules! kernel {
    ($name:ident, $features:literal, $width:literal, $register:ty, $load:ident, $store:ident, $splat:ident, |$rank:ident, $bin:ident| $test:expr, |$mask:ident, $yes:ident, $no:ident| $pick:expr) => {
        /// # Safety
        /// `ranks` points to the block's rows in the first column, and steps are those of `steps::program` (its pairs first)
        /// over ranks that hold a whole block in every column they name.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(
            (pairs, steps): (&[Step], &[Step]),
            ranks: *const u8,
            arena: &mut Arena,
        ) {
            const REGISTERS: usize = BLOCK / $width;
            let arena = std::ptr::from_mut(arena).cast::<u8>();
            for step in pairs {
                // SAFETY: offsets are those of constants and slots of the arena; a column has a block there (see above).
                unsafe {
                    let column = ranks.add(step.column as usize);
                    let $bin = $splat(step.bin as i32);
                    let $yes: $register = $load(arena.add(usize::from(step.yes)).cast());
                    let $no: $register = $load(arena.add(usize::from(step.no)).cast());
                    let to = arena.add(usize::from(step.to));
                    for at in 0..REGISTERS {
                        let $rank = $load(column.add(at * $width).cast());
                        let $mask = $test;
                        $store(to.add(at * $width).cast(), $pick);
                    }
                }
            }
            for step in steps {
                // SAFETY: offsets are those of constants and slots of the arena; a column has a block there (see above).
                unsafe {
                    let column = ranks.add(step.column as usize);
                    let $bin = $splat(step.bin as i32);
                    let (yes, yes_stride) = (
                        arena.add(usize::from(step.yes)),
                        usize::from(step.yes_moves) * $width,
                    );
                    let (no, no_stride) = (
                        arena.add(usize::from(step.no)),
                        usize::from(step.no_moves) * $width,
                    );
                    let to = arena.add(usize::from(step.to));
                    for at in 0..REGISTERS {
                        let $rank = $load(column.add(at * $width).cast());
                        let $mask = $test;
                        let $yes: $register = $load(yes.add(at * yes_stride).cast());
                        let $no: $register = $load(no.add(at * no_stride).cast());
                        $store(to.add(at * $width).cast(), $pick);
                    }
                }
            }
        }
    };
}

kernel!(
    avx512_u8,
    "avx512f,avx512bw,avx512vl,avx512dq",
    64,
    __m512i,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    |rank, bin| _mm512_cmple_epu8_mask(rank, bin),
    |mask, yes, no| _mm512_mask_blend_epi8(mask, no, yes)
);
kernel!(
    avx512_u16,
    "avx512f,avx512bw,avx512vl,avx512dq",
    64,
    __m512i,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    |rank, bin| _mm512_cmple_epu16_mask(rank, bin),
    |mask, yes, no| _mm512_mask_blend_epi16(mask, no, yes)
);
kernel!(
    avx2_u8,
    "avx2",
    32,
    __m256i,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    |rank, bin| _mm256_cmpeq_epi8(_mm256_min_epu8(rank, bin), rank),
    |mask, yes, no| _mm256_blendv_epi8(no, yes, mask)
);
kernel!(
    avx2_u16,
    "avx2",
    32,
    __m256i,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    |rank, bin| _mm256_cmpeq_epi16(_mm256_min_epu16(rank, bin), rank),
    |mask, yes, no| _mm256_blendv_epi8(no, yes, mask)
);
