//! Adds what leaves say to sums, for rows whose leaf numbers are known.

use crate::isa::Isa;

/// What is added in: double, or float32 for ensembles that say so. Implemented for these two only.
pub trait Number: Copy + Default + std::ops::AddAssign + Send + Sync + 'static {
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
    ($type:ty, $avx512:ident, $avx2:ident) => {
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
    };
}

number!(f64, avx512_f64, avx2_f64);
number!(f32, avx512_f32, avx2_f32);
