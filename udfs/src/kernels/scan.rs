//! Looking over a column once.

use crate::isa::Isa;

/// What one look at a column tells of all its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// None is NaN or infinite.
    pub finite: bool,
    /// No value but a NaN is larger than this or smaller than its negative; some value is as large.
    pub largest: f64,
}

/// A product with zero is zero for a finite number and NaN for any other, so one sum of them tells; a comparison with NaN
/// is false, so it never is the largest.
pub fn extent_f64(values: &[f64]) -> Extent {
    let (mut sum, mut largest) = (0.0, 0.0);
    look_f64(Isa::current(), values, &mut sum, &mut largest);
    Extent {
        finite: !sum.is_nan(),
        largest,
    }
}

/// See `extent_f64`.
pub fn extent_f32(values: &[f32]) -> Extent {
    let (mut sum, mut largest) = (0.0, 0.0);
    look_f32(Isa::current(), values, &mut sum, &mut largest);
    Extent {
        finite: !sum.is_nan(),
        largest: f64::from(largest),
    }
}

macro_rules! look {
    ($name:ident, $type:ty, $lanes:literal) => {
        for_each_isa! {
            fn $name(values: &[$type], sum: &mut $type, largest: &mut $type) {
                let mut sums: [$type; $lanes] = [0.0; $lanes];
                let mut most: [$type; $lanes] = [0.0; $lanes];
                let larger = |value: $type, most: $type| {
                    let size = value.abs();
                    if size > most { size } else { most }
                };
                let (chunks, rest) = values.as_chunks::<$lanes>();
                for chunk in chunks {
                    for ((sum, most), value) in sums.iter_mut().zip(&mut most).zip(chunk) {
                        *sum += value * 0.0;
                        *most = larger(*value, *most);
                    }
                }
                *sum = sums.iter().sum::<$type>() + rest.iter().map(|value| value * 0.0).sum::<$type>();
                *largest = most.iter().chain(rest).fold(0.0, |most, value| larger(*value, most));
            }
        }
    };
}

look!(look_f64, f64, 32);
look!(look_f32, f32, 64);

#[cfg(test)]
mod tests {
    use super::{extent_f32, extent_f64};

    #[test]
    fn one_value_that_is_not_finite_or_the_largest_is_found_wherever_it_is() {
        for length in [0, 1, 31, 32, 33, 100, 2048] {
            let usual = if length == 0 { 0.0 } else { 1e30 };
            let mut values = vec![-1e30; length];
            let found = extent_f64(&values);
            assert!(found.finite && found.largest == usual);
            for at in (0..length).step_by(7) {
                for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e35, 1e35] {
                    let before = std::mem::replace(&mut values[at], odd);
                    let others = if length == 1 { 0.0 } else { usual };
                    let largest = if odd.is_nan() { others } else { odd.abs() };
                    let found = extent_f64(&values);
                    assert_eq!((found.finite, found.largest), (odd.is_finite(), largest));
                    let single: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                    let found = extent_f32(&single);
                    let largest = f64::from(largest as f32);
                    assert_eq!((found.finite, found.largest), (odd.is_finite(), largest));
                    values[at] = before;
                }
            }
        }
    }
}
