//! Adds what leaves say to sums, for rows whose leaf numbers are known.

use super::chase::{chase, Meeting};
use super::descend::{descend, Group};
use crate::isa::Isa;

/// Ways down trees that differ between what is added in.
#[allow(private_interfaces)] // public only in name: nobody outside this module sees the trait
pub trait Trees: Sized {
    /// Adds what the trees of a group say of a few rows; see `descend`.
    fn descend(
        isa: Isa,
        group: &Group<Self>,
        ranks: &[u32],
        stride: usize,
        first: usize,
        sums: &mut [Self],
    );
    /// Two values as the processor adds them at once.
    type Pair: Copy;
    fn pair(values: &[Self; 2]) -> Self::Pair;
    fn both(pair: Self::Pair) -> [Self; 2];
    fn add_pair(left: Self::Pair, right: Self::Pair) -> Self::Pair;
    /// The same for `chase`.
    fn chase(isa: Isa, meeting: &Meeting<'_, Self>, sums: &mut [Self]);
}

/// What is added in: double, or float32 for ensembles that say so. Implemented for these two only.
pub trait Number: Trees + Copy + Default + std::ops::AddAssign + Send + Sync + 'static {
    fn of(value: f64) -> Self;
    fn double(self) -> f64;
    /// `values` are padded by `padded`; leaf numbers are below the number of values; sums are as many as leaf numbers.
    fn add(isa: Isa, values: &[Self], exits: &[u8], sums: &mut [Self]);
    /// The same for some trees, one after the other; sums are a multiple of 64.
    fn add_some(isa: Isa, trees: &[Exits<'_, Self>; TOGETHER], sums: &mut [Self]) {
        for (values, exits) in trees {
            Self::add(isa, values, exits, sums);
        }
    }
}

/// Trees whose leaves are added in one pass: sums are read and written once.
pub(super) const TOGETHER: usize = 4;
/// A tree's leaf values, and the number of the leaf that each row reaches.
pub(super) type Exits<'a, N> = (&'a [N], &'a [u8]);

/// Leaf values in a length that whole registers hold, where few are there.
pub(super) fn padded<N: Number>(values: impl Iterator<Item = f64>) -> Box<[N]> {
    let mut values: Vec<N> = values.map(N::of).collect();
    if values.len() <= 32 {
        values.resize(values.len().next_power_of_two().max(8), N::default());
    }
    values.into_boxed_slice()
}

fn add<N: Number>(values: &[N], exits: &[u8], sums: &mut [N]) {
    for (sum, exit) in sums.iter_mut().zip(exits) {
        *sum += values[usize::from(*exit)];
    }
}

macro_rules! number {
    ($type:ty, $avx512:ident, $avx2:ident, $descend:ident, { $($pair:item)* } $(, $some:item)?) => {
        impl Number for $type {
            fn of(value: f64) -> Self {
                value as $type
            }

            fn double(self) -> f64 {
                self as f64
            }

            fn add(isa: Isa, values: &[Self], exits: &[u8], sums: &mut [Self]) {
                // Gathers do not check; whoever makes leaf numbers keeps them below the number of leaves.
                debug_assert!(exits.iter().all(|exit| usize::from(*exit) < values.len()));
                match isa {
                    // SAFETY: the processor has the instructions; leaf numbers are below the number of values.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => unsafe { super::leaves_x86::$avx512(values, exits, sums) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => unsafe { super::leaves_x86::$avx2(values, exits, sums) },
                    _ => add(values, exits, sums),
                }
            }

            $($some)?
        }

        #[allow(private_interfaces)]
        impl Trees for $type {
            $($pair)*

            fn descend(
                isa: Isa,
                group: &Group<Self>,
                ranks: &[u32],
                stride: usize,
                first: usize,
                sums: &mut [Self],
            ) {
                match (isa, stride) {
                    // SAFETY: the processor has the instructions; rows, ranks and sums are as `Descend::run` gives them.
                    #[cfg(target_arch = "x86_64")]
                    (Isa::Avx512, 16) => unsafe {
                        super::descend_x86::$descend::<false>(group, ranks, first, sums)
                    },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    (Isa::Avx512, 32) => unsafe {
                        super::descend_x86::$descend::<true>(group, ranks, first, sums)
                    },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    (Isa::Avx2 | Isa::Avx512, _) => unsafe {
                        super::descend_avx2::descend(group, ranks, stride, first, sums)
                    },
                    _ => descend(group, ranks, stride, first, sums),
                }
            }

            fn chase(isa: Isa, meeting: &Meeting<'_, Self>, sums: &mut [Self]) {
                match (isa, meeting.stride) {
                    // SAFETY: the processor has the instructions; rows, ranks and sums are as `Chase::run` gives them.
                    #[cfg(target_arch = "x86_64")]
                    (Isa::Avx512, 16) => unsafe {
                        super::chase_x86::$descend::<false>(meeting, sums)
                    },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    (Isa::Avx512, 32) => unsafe {
                        super::chase_x86::$descend::<true>(meeting, sums)
                    },
                    _ => chase(meeting, sums),
                }
            }
        }
    };
}

number!(
    f64,
    avx512_f64,
    avx2_f64,
    doubles,
    {
        // Every x86-64 has registers of two doubles.
        #[cfg(target_arch = "x86_64")]
        type Pair = std::arch::x86_64::__m128d;
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn pair(values: &[f64; 2]) -> Self::Pair {
            // SAFETY: two doubles.
            unsafe { std::arch::x86_64::_mm_loadu_pd(values.as_ptr()) }
        }
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn both(pair: Self::Pair) -> [f64; 2] {
            let mut values = [0.0; 2];
            // SAFETY: two doubles.
            unsafe { std::arch::x86_64::_mm_storeu_pd(values.as_mut_ptr(), pair) };
            values
        }
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn add_pair(left: Self::Pair, right: Self::Pair) -> Self::Pair {
            // SAFETY: every x86-64 has SSE2.
            unsafe { std::arch::x86_64::_mm_add_pd(left, right) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        type Pair = [f64; 2];
        #[cfg(not(target_arch = "x86_64"))]
        #[inline(always)]
        fn pair(values: &[f64; 2]) -> [f64; 2] {
            *values
        }
        #[cfg(not(target_arch = "x86_64"))]
        #[inline(always)]
        fn both(pair: [f64; 2]) -> [f64; 2] {
            pair
        }
        #[cfg(not(target_arch = "x86_64"))]
        #[inline(always)]
        fn add_pair(left: [f64; 2], right: [f64; 2]) -> [f64; 2] {
            [left[0] + right[0], left[1] + right[1]]
        }
    },
    fn add_some(isa: Isa, trees: &[Exits<'_, f64>; TOGETHER], sums: &mut [f64]) {
        let most = trees.iter().map(|(values, _)| values.len()).max();
        match (isa, most) {
            // SAFETY: the processor has the instructions; leaf numbers are below the number of values, which are padded.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Some(..=32)) => unsafe { super::together_x86::avx512(trees, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Some(..=8)) => unsafe { super::together_x86::avx2(trees, sums) },
            _ => trees
                .iter()
                .for_each(|(values, exits)| f64::add(isa, values, exits, sums)),
        }
    }
);
number!(f32, avx512_f32, avx2_f32, singles, {
    type Pair = [f32; 2];
    #[inline(always)]
    fn pair(values: &[f32; 2]) -> [f32; 2] {
        *values
    }
    #[inline(always)]
    fn both(pair: [f32; 2]) -> [f32; 2] {
        pair
    }
    #[inline(always)]
    fn add_pair(left: [f32; 2], right: [f32; 2]) -> [f32; 2] {
        [left[0] + right[0], left[1] + right[1]]
    }
});
