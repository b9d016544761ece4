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
    /// The same for `chase`.
    fn chase(isa: Isa, meeting: &Meeting<'_, Self>, sums: &mut [Self]);
}

/// What is added in: double, or float32 for ensembles that say so. Implemented for these two only.
pub trait Number: Trees + Copy + Default + std::ops::AddAssign + Send + Sync + 'static {
    fn of(value: f64) -> Self;
    fn double(self) -> f64;
    /// `values` are padded by `padded`; leaf numbers are below the number of values; sums are as many as leaf numbers.
    fn add(isa: Isa, values: &[Self], exits: &[u8], sums: &mut [Self]);
}

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
    ($type:ty, $avx512:ident, $avx2:ident, $descend:ident) => {
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
        }

        #[allow(private_interfaces)]
        impl Trees for $type {
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

number!(f64, avx512_f64, avx2_f64, doubles);
number!(f32, avx512_f32, avx2_f32, singles);
