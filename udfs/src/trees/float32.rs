//! Thresholds on doubles that mean "after rounding to float32, at most ...": the cast before trees then costs nothing.

/// The largest double that becomes at most `most` when it is rounded to float32 (to nearest, ties to even).
pub(super) fn rounds_to_at_most(most: f64) -> f64 {
    let low = at_most(most);
    if low == f32::INFINITY {
        return f64::INFINITY;
    }
    // Rounding treats infinity as the number that would come next: 2^128.
    let high = if low == f32::MAX {
        2f64.powi(128)
    } else {
        f64::from(low.next_up())
    };
    let low_value = if low == f32::NEG_INFINITY {
        -2f64.powi(128)
    } else {
        f64::from(low)
    };
    let middle = low_value + (high - low_value) / 2.0;
    let even = low.to_bits() & 1 == 0;
    let most = if even { middle } else { middle.next_down() };
    most + 0.0
}

/// The largest float32 that is not above a double.
fn at_most(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) <= value {
        near
    } else {
        near.next_down()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_cast_around_every_kind_of_threshold() {
        let floats = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            1e-45,
            -1e-45,
            1.1754944e-38,
            f32::MAX,
            f32::MIN,
            3.0,
            16777216.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        let mut thresholds: Vec<f64> = floats
            .iter()
            .flat_map(|x| {
                [
                    f64::from(*x),
                    f64::from(*x).next_up(),
                    f64::from(*x).next_down(),
                ]
            })
            .collect();
        thresholds.extend([
            1e300,
            -1e300,
            1e-300,
            -1e-300,
            3.4028235677973366e38,
            -3.4028235677973366e38,
        ]);
        for threshold in thresholds {
            let most = rounds_to_at_most(threshold);
            for value in [
                most,
                most.next_up(),
                most.next_down(),
                threshold,
                0.0,
                1e-46,
                f64::MAX,
                f64::INFINITY,
                f64::MIN,
                f64::NEG_INFINITY,
            ] {
                assert_eq!(
                    f64::from(value as f32) <= threshold,
                    value <= most,
                    "{value:e} and {threshold:e}: {most:e}"
                );
            }
        }
    }
}
