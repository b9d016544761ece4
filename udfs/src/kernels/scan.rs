//! Looking over a column once.

/// A product with zero is zero for a finite number and NaN for any other, so one sum of them tells.
pub fn finite_f64(values: &[f64]) -> bool {
    let mut sums = [0.0f64; 16];
    let mut chunks = values.chunks_exact(16);
    for chunk in &mut chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * 0.0;
        }
    }
    let rest: f64 = chunks.remainder().iter().map(|value| value * 0.0).sum();
    !(sums.iter().sum::<f64>() + rest).is_nan()
}

pub fn finite_f32(values: &[f32]) -> bool {
    let mut sums = [0.0f32; 32];
    let mut chunks = values.chunks_exact(32);
    for chunk in &mut chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * 0.0;
        }
    }
    let rest: f32 = chunks.remainder().iter().map(|value| value * 0.0).sum();
    !(sums.iter().sum::<f32>() + rest).is_nan()
}
