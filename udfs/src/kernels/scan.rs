//! Looking over a column once.

use crate::isa::Isa;

/// Whether no value is NaN or infinite.
///
/// A product with zero is zero for a finite number and NaN for any other, so one sum of them tells.
pub fn finite_f64(values: &[f64]) -> bool {
    let mut sum = 0.0;
    zeros_f64(Isa::current(), values, &mut sum);
    !sum.is_nan()
}

/// See `finite_f64`.
pub fn finite_f32(values: &[f32]) -> bool {
    let mut sum = 0.0;
    zeros_f32(Isa::current(), values, &mut sum);
    !sum.is_nan()
}

for_each_isa! {
    fn zeros_f64(values: &[f64], sum: &mut f64) {
        let mut sums = [0.0f64; 32];
        let (chunks, rest) = values.as_chunks::<32>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += value * 0.0;
            }
        }
        *sum = sums.iter().sum::<f64>() + rest.iter().map(|value| value * 0.0).sum::<f64>();
    }
}

for_each_isa! {
    fn zeros_f32(values: &[f32], sum: &mut f32) {
        let mut sums = [0.0f32; 64];
        let (chunks, rest) = values.as_chunks::<64>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += value * 0.0;
            }
        }
        *sum = sums.iter().sum::<f32>() + rest.iter().map(|value| value * 0.0).sum::<f32>();
    }
}

#[cfg(test)]
mod tests {
    use super::{finite_f32, finite_f64};

    #[test]
    fn one_value_that_is_not_finite_is_found_wherever_it_is() {
        for length in [0, 1, 31, 32, 33, 100, 2048] {
            let mut values = vec![-1e30; length];
            assert!(finite_f64(&values));
            for at in (0..length).step_by(7) {
                for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let before = std::mem::replace(&mut values[at], odd);
                    assert!(!finite_f64(&values));
                    let single: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                    assert!(!finite_f32(&single));
                    values[at] = before;
                }
            }
        }
    }
}
