//! Elementary functions that give the same bits on every platform and instruction set.
//!
//! The platform's own `exp` or `tanh` differs between C libraries (and between their FMA and non-FMA paths), so none is
//! used. Those that models use most are branch-free, so that the compiler turns a loop over them into vector code; the
//! rest is the crate `libm` (pure Rust, scalar). The errors that stand beside the functions are the largest of 50,000 and
//! more points each, hostile ones included, against 200-bit arithmetic.

const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// ln 2 in two parts: the upper has 21 trailing zero bits, so that its product with any exponent is exact.
const LN2_HI: f64 = 0.693_147_180_369_123_8;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// Adding and subtracting it rounds to the nearest integer; the sum's low bits are that integer.
const ROUNDER: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52

/// e^x: at most 0.95 ulp; underflows to denormals and to 0, overflows to infinity where the true value does.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    // Comparisons that NaN fails, so that it passes through.
    let x = if x > 710.0 { 710.0 } else { x };
    let x = if x < -746.0 { -746.0 } else { x };
    let shifted = x * LOG2_E + ROUNDER;
    let k = shifted - ROUNDER;
    let r = (x - k * LN2_HI) - k * LN2_LO;
    scale_by_two_to(exp_reduced(r), k)
}

/// e^r for |r| <= ln(2)/2: 1 + r + r^2 q(r), q by Chebyshev interpolation (relative error 2.4e-19).
#[inline(always)]
fn exp_reduced(r: f64) -> f64 {
    let r2 = r * r;
    let r4 = r2 * r2;
    let low = (0.5 + r * 0.166_666_666_666_666_7)
        + r2 * (0.041_666_666_666_666_67 + r * 0.008_333_333_333_326_112);
    let middle = (0.001_388_888_888_888_373 + r * 0.000_198_412_698_749_012_6)
        + r2 * (2.480_158_732_560_532_4e-05 + r * 2.755_725_529_796_964_3e-06);
    let high = (2.755_727_357_010_214e-07 + r * 2.510_525_953_844_849_4e-08)
        + r2 * 2.091_471_734_171_637_8e-09;
    1.0 + (r + r2 * (low + r4 * (middle + r4 * high)))
}

/// y * 2^k for integral k in -1077..=1025, in two steps so that neither power of two leaves the normal range.
#[inline(always)]
fn scale_by_two_to(y: f64, k: f64) -> f64 {
    let half = (k * 0.5 + ROUNDER) - ROUNDER;
    y * power_of_two(half) * power_of_two(k - half)
}

#[inline(always)]
fn power_of_two(k: f64) -> f64 {
    f64::from_bits((k + ROUNDER).to_bits().wrapping_add(1023) << 52)
}

/// Natural logarithm: at most 0.8 ulp, denormals included; -inf at 0, NaN below.
#[inline(always)]
pub fn log(x: f64) -> f64 {
    let denormal = x < f64::MIN_POSITIVE;
    let scaled = if denormal {
        x * 1.801_439_850_948_198_4e+16
    } else {
        x
    }; // 2^54
       // The fraction goes to [sqrt(1/2), sqrt(2)) by moving the exponent's boundary.
    let bits = scaled
        .to_bits()
        .wrapping_add(0x3ff0_0000_0000_0000 - 0x3fe6_a09e_0000_0000);
    let exponent =
        f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
    let k = if denormal { exponent - 54.0 } else { exponent };
    let fraction =
        f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(0x3fe6_a09e_0000_0000));
    let f = fraction - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w
        * (0.399_999_999_994_094_2 + w * (0.222_221_984_321_497_84 + w * 0.153_138_376_992_093_73));
    let odd = z
        * (0.666_666_666_666_673_5
            + w * (0.285_714_287_436_623_9
                + w * (0.181_835_721_616_180_5 + w * 0.147_981_986_051_165_86)));
    let half_square = 0.5 * f * f;
    let value = k * LN2_HI - ((half_square - (s * (half_square + (odd + even)) + k * LN2_LO)) - f);
    let value = if x == f64::INFINITY { x } else { value };
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    if x >= 0.0 {
        value
    } else {
        f64::NAN
    }
}

/// ln(1 + x) for x in [0, 1]: at most 2 ulp.
#[inline(always)]
fn log_1p_unit(x: f64) -> f64 {
    let u = 1.0 + x;
    // What rounding 1 + x lost, to first order.
    log(u) + (x - (u - 1.0)) / u
}

/// ln(1 + e^x): at most 2 ulp.
#[inline(always)]
pub fn softplus(x: f64) -> f64 {
    let tail = log_1p_unit(exp(-x.abs()));
    let value = if x > 0.0 { x + tail } else { tail };
    if x.is_nan() {
        x
    } else {
        value
    }
}

/// 1 / (1 + e^-x): at most 2.1 ulp where the result is normal, and denormal results down to the last one: onnxruntime's
/// own ends at about 1e-16 in double.
#[inline(always)]
pub fn sigmoid(x: f64) -> f64 {
    let e = exp(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    let value = numerator / (1.0 + e);
    if x.is_nan() {
        x
    } else {
        value
    }
}

/// Hyperbolic tangent: at most 1.3 ulp; keeps the sign of zero.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let size = x.abs();
    // Near zero a quotient of polynomials (Cephes), for 1 - 2 / (e^2x + 1) would cancel.
    let z = x * x;
    let p = (-0.964_399_179_425_052_3 * z - 99.287_723_100_191_85) * z - 1_614.687_684_417_084_5;
    let q =
        ((z + 112.811_678_491_632_93) * z + 2_235.488_390_601_004_5) * z + 4_844.063_053_251_255;
    let near = x + x * (z * (p / q));
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    let value = if size < 0.625 { near } else { far };
    if x.is_nan() {
        x
    } else {
        value.copysign(x)
    }
}

/// base^exponent as IEEE 754 defines it; squares are exact to the last bit.
#[inline]
pub fn pow(base: f64, exponent: f64) -> f64 {
    if exponent == 2.0 {
        base * base
    } else if exponent == 1.0 {
        base
    } else {
        libm::pow(base, exponent)
    }
}

pub fn sin(x: f64) -> f64 {
    libm::sin(x)
}

pub fn cos(x: f64) -> f64 {
    libm::cos(x)
}

pub fn erf(x: f64) -> f64 {
    libm::erf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(x: f64) -> u64 {
        x.to_bits()
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(exp(709.782_712_893_384), 1.797_693_134_862_273_2e+308);
        assert_eq!(exp(709.782_712_893_384_1), f64::INFINITY);
        assert_eq!(exp(-745.133_219_101_941_1), 5e-324);
        assert_eq!(exp(-745.133_219_101_941_2), 0.0);
        assert_eq!(log(5e-324), -744.440_071_921_381_2);
        assert_eq!(log(1.0), 0.0);
        assert_eq!(sigmoid(-745.0), 5e-324);
        assert_eq!(tanh(20.0), 1.0);
        assert_eq!(softplus(-745.0), 5e-324);
        assert_eq!(softplus(1e308), 1e308);
    }

    #[test]
    fn zeros_infinities_and_nan() {
        for f in [exp, log, sigmoid, tanh, softplus] {
            assert!(f(f64::NAN).is_nan());
        }
        assert_eq!(
            (exp(f64::INFINITY), exp(f64::NEG_INFINITY)),
            (f64::INFINITY, 0.0)
        );
        assert_eq!(
            (log(f64::INFINITY), log(0.0), log(-0.0)),
            (f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY)
        );
        assert!(log(-5e-324).is_nan() && log(f64::NEG_INFINITY).is_nan());
        assert_eq!((tanh(f64::INFINITY), tanh(f64::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((bits(tanh(-0.0)), bits(tanh(0.0))), (bits(-0.0), bits(0.0)));
        assert_eq!(
            (
                sigmoid(f64::INFINITY),
                sigmoid(f64::NEG_INFINITY),
                sigmoid(-0.0)
            ),
            (1.0, 0.0, 0.5)
        );
        assert_eq!(
            (softplus(f64::INFINITY), softplus(f64::NEG_INFINITY)),
            (f64::INFINITY, 0.0)
        );
    }

    #[test]
    fn near_another_implementation_everywhere() {
        let close =
            |a: f64, b: f64| a == b || (a - b).abs() <= 4.0 * f64::EPSILON * b.abs() + 5e-324;
        for i in -200_000..200_000 {
            let x = f64::from(i) * 0.003_7;
            assert!(close(exp(x), libm::exp(x)), "exp({x})");
            assert!(
                close(tanh(x * 0.03), libm::tanh(x * 0.03)),
                "tanh({})",
                x * 0.03
            );
            assert!(
                close(log(x.abs()), libm::log(x.abs())) || x == 0.0,
                "log({x})"
            );
        }
    }
}
