//! Softmax over the columns of a row, for all rows of a chunk at once.

use super::math;

for_each_isa! {
    /// In place: exp(x - max) / sum, the sum in column order. A row with NaN or +inf, or of only -inf, becomes NaN, as in
    /// numpy.
    pub fn softmax(columns: &mut [&mut [f64]], rows: usize) {
        let (mut largest, mut total) = ([0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            shift_by_max(columns, start, end, &mut largest);
            total.fill(0.0);
            for column in columns.iter_mut() {
                for (value, total) in column[start..end].iter_mut().zip(&mut total) {
                    *value = math::exp(*value);
                    *total += *value;
                }
            }
            for column in columns.iter_mut() {
                for (value, total) in column[start..end].iter_mut().zip(&total) {
                    *value /= total;
                }
            }
        }
    }
}

for_each_isa! {
    /// In place: x - max - log(sum of exp(x - max)).
    pub fn log_softmax(columns: &mut [&mut [f64]], rows: usize) {
        let (mut largest, mut total) = ([0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            shift_by_max(columns, start, end, &mut largest);
            total.fill(0.0);
            for column in columns.iter() {
                for (value, total) in column[start..end].iter().zip(&mut total) {
                    *total += math::exp(*value);
                }
            }
            for total in &mut total {
                *total = math::log(*total);
            }
            for column in columns.iter_mut() {
                for (value, total) in column[start..end].iter_mut().zip(&total) {
                    *value -= total;
                }
            }
        }
    }
}

/// Rows at a time: what is between the passes stays in the first-level cache.
const BLOCK: usize = 256;

#[inline(always)]
fn shift_by_max(columns: &mut [&mut [f64]], start: usize, end: usize, largest: &mut [f64; BLOCK]) {
    largest.fill(f64::NEG_INFINITY);
    for column in columns.iter() {
        for (value, largest) in column[start..end].iter().zip(largest.iter_mut()) {
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
    for column in columns.iter_mut() {
        for (value, largest) in column[start..end].iter_mut().zip(largest.iter()) {
            *value -= largest;
        }
    }
}

/// ONNX ML's SOFTMAX_ZERO as onnxruntime computes it: values within 1e-7 of zero are left out of the sum, and become
/// value * exp(-max) instead of exp(value - max).
pub fn softmax_zero(columns: &mut [&mut [f64]], rows: usize) {
    const ZERO: f64 = 0.000_000_1;
    for row in 0..rows {
        let largest = columns.iter().fold(f64::NEG_INFINITY, |largest, column| {
            if column[row] > largest {
                column[row]
            } else {
                largest
            }
        });
        let mut total = 0.0;
        for column in columns.iter_mut() {
            let value = &mut column[row];
            if *value > ZERO || *value < -ZERO {
                *value = math::exp(*value - largest);
                total += *value;
            } else {
                *value *= math::exp(-largest);
            }
        }
        for column in columns.iter_mut() {
            column[row] /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn on_one_row(f: impl Fn(&mut [&mut [f64]], usize), row: &[f64]) -> Vec<f64> {
        let mut values: Vec<[f64; 1]> = row.iter().map(|value| [*value]).collect();
        let mut columns: Vec<&mut [f64]> = values.iter_mut().map(|value| &mut value[..]).collect();
        f(&mut columns, 1);
        values.iter().map(|value| value[0]).collect()
    }

    #[test]
    fn softmax_of_large_and_infinite_values() {
        let softmax =
            |columns: &mut [&mut [f64]], rows: usize| softmax(Isa::current(), columns, rows);
        assert_eq!(on_one_row(softmax, &[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(on_one_row(softmax, &[f64::NEG_INFINITY, 3.0]), [0.0, 1.0]);
        assert!(on_one_row(softmax, &[f64::INFINITY, 3.0])[0].is_nan());
        assert!(on_one_row(softmax, &[f64::NAN, 3.0])
            .iter()
            .all(|value| value.is_nan()));
    }

    #[test]
    fn log_softmax_keeps_what_softmax_loses() {
        let log_softmax =
            |columns: &mut [&mut [f64]], rows: usize| log_softmax(Isa::current(), columns, rows);
        assert_eq!(on_one_row(log_softmax, &[0.0, -800.0]), [0.0, -800.0]);
    }

    #[test]
    fn softmax_zero_leaves_zeros_out() {
        let values = on_one_row(softmax_zero, &[0.0, 1.0, 1.0]);
        assert_eq!(values[1..], [0.5, 0.5]);
        assert_eq!(values[0], 0.0);
    }
}
