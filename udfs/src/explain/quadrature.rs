//! Gauss-Legendre points on [0, 1]: with n of them the integral of a polynomial of degree 2n - 1 is exact.

/// How many points the paths with so many different features need.
pub fn points(features: usize) -> usize {
    features.div_ceil(2).max(1)
}

/// (points, weights). Computed by arithmetic alone, so that every machine has the same bits.
pub fn gauss(n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut points = vec![0.0; n];
    let mut weights = vec![0.0; n];
    for i in 0..n {
        let mut x = cosine((i as f64 + 0.75) / (n as f64 + 0.5));
        let mut slope = 1.0;
        for _ in 0..100 {
            let (value, derivative) = legendre(n, x);
            slope = derivative;
            let step = value / derivative;
            x -= step;
            if step.abs() < 1e-16 {
                slope = legendre(n, x).1;
                break;
            }
        }
        if let (Some(point), Some(weight)) = (points.get_mut(i), weights.get_mut(i)) {
            *point = (1.0 - x) / 2.0;
            *weight = 1.0 / ((1.0 - x * x) * slope * slope);
        }
    }
    (points, weights)
}

/// The polynomial of degree n and its derivative at x.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut here) = (1.0, x);
    for k in 2..=n {
        let k = k as f64;
        let next = ((2.0 * k - 1.0) * x * here - (k - 1.0) * before) / k;
        before = here;
        here = next;
    }
    (here, n as f64 * (x * here - before) / (x * x - 1.0))
}

/// cos(pi * share) for a share in [0, 1], good enough to start Newton's method from.
fn cosine(share: f64) -> f64 {
    if share > 0.5 {
        return -cosine(1.0 - share);
    }
    let square = (std::f64::consts::PI * share) * (std::f64::consts::PI * share);
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..12 {
        let k = f64::from(k);
        term *= -square / ((2.0 * k - 1.0) * (2.0 * k));
        sum += term;
    }
    sum
}
