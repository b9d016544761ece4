//! SQL values as the numbers of a model: the rules of `sqlml/engines/features.py`, and DuckDB's casts bit for bit.
//!
//! A value that would lose something on the way has no number: a whole number that no DOUBLE is equal to, a fraction
//! where the model has integers. The row's prediction is then NULL, and the error names the column.

use super::types::Wanted;

/// Below, each whole number is a DOUBLE, or a FLOAT; from here on neighbours may have become one.
const EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0; // 2^53
const EXACT_FLOAT: f64 = 16_777_216.0; // 2^24

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;
const TWO_127: f64 = TWO_63 * TWO_64;

/// A value and what DuckDB's `TRY_CAST` makes of it.
pub trait Number: Copy {
    /// Types whose values need no look (`FITTING` in features.py).
    fn fits(_: Wanted) -> bool {
        false
    }
    /// Whether `fast` is right for this value; may be false without need.
    fn plain(self, wanted: Wanted) -> bool;
    fn fast(self, wanted: Wanted) -> f64;
    fn double(self) -> Option<f64>;
    fn hugeint(self) -> Option<i128>;
    fn bigint(self) -> Option<i64>;
    fn integer(self) -> Option<i32>;
    fn boolean(self) -> Option<bool> {
        None // asked only where there is no double
    }

    /// The number that the model gets, NaN if it is missing; None if there is none.
    fn read(self, wanted: Wanted) -> Option<f64> {
        match wanted {
            Wanted::Double => self.exact(self.double()?, wanted, EXACT_DOUBLE),
            Wanted::Float => {
                let number = self.double()?;
                let kept = f64::from(narrowed(number)?);
                let large = number.is_nan() || number.abs() >= EXACT_FLOAT;
                (Self::fits(wanted) || !large || self.hugeint() == double_to_hugeint(kept))
                    .then_some(kept)
            }
            Wanted::Bigint => self.whole(wanted, self.bigint().map(|whole| whole as f64)),
            Wanted::Integer => self.whole(wanted, self.integer().map(f64::from)),
            Wanted::Boolean => match self.double() {
                Some(0.0) => Some(0.0), // -0.0 too
                Some(number) if number == 1.0 || number.is_nan() => Some(number),
                Some(_) => None,
                None => self.boolean().map(|truth| f64::from(u8::from(truth))),
            },
            Wanted::Text => None,
        }
    }

    fn exact(self, number: f64, wanted: Wanted, limit: f64) -> Option<f64> {
        let large = number.is_nan() || number.abs() >= limit;
        (Self::fits(wanted) || !large || self.hugeint() == double_to_hugeint(number))
            .then_some(number)
    }

    fn whole(self, wanted: Wanted, whole: Option<f64>) -> Option<f64> {
        let number = self.double()?;
        (Self::fits(wanted) || number.is_nan() || whole == Some(number)).then_some(number)
    }
}

/// DOUBLE to FLOAT: a finite number beyond FLOAT's range has none.
fn narrowed(number: f64) -> Option<f32> {
    let narrow = number as f32;
    (narrow.is_finite() || !number.is_finite()).then_some(narrow)
}

/// DOUBLE to HUGEINT, for numbers without a fraction.
fn double_to_hugeint(number: f64) -> Option<i128> {
    (number.is_finite() && number > -TWO_127 && number < TWO_127).then_some(number as i128)
}

/// HUGEINT to DOUBLE as DuckDB does it: both halves rounded by themselves, then their sum.
pub fn hugeint_to_double(value: i128) -> f64 {
    let (upper, lower) = ((value >> 64) as i64, value as u64);
    match upper {
        -1 => -((u64::MAX - lower) as f64) - 1.0,
        _ => lower as f64 + upper as f64 * TWO_64,
    }
}

fn uhugeint_to_double(value: u128) -> f64 {
    value as u64 as f64 + (value >> 64) as u64 as f64 * TWO_64
}

/// As a double, in the precision that the model takes.
fn rounded(number: f64, wanted: Wanted) -> f64 {
    match wanted {
        Wanted::Float => f64::from(number as f32),
        _ => number,
    }
}

macro_rules! integer {
    ($type:ty, fits: $fits:expr, double: $double:expr, hugeint: $hugeint:expr) => {
        impl Number for $type {
            fn fits(wanted: Wanted) -> bool {
                let fits: &[Wanted] = &$fits;
                fits.contains(&wanted)
            }

            fn plain(self, wanted: Wanted) -> bool {
                let within = |limit: i128| {
                    i128::try_from(self).is_ok_and(|value| value <= limit && value >= -limit)
                };
                match wanted {
                    Wanted::Double => within(1 << 53),
                    Wanted::Float => within(1 << 24),
                    Wanted::Bigint => Self::fits(wanted) || within(1 << 53),
                    Wanted::Integer => within(i128::from(i32::MAX)),
                    Wanted::Boolean => within(1) && i128::try_from(self).is_ok_and(|value| value >= 0),
                    Wanted::Text => false,
                }
            }

            fn fast(self, wanted: Wanted) -> f64 {
                rounded(self as f64, wanted)
            }

            fn double(self) -> Option<f64> {
                let double: fn($type) -> f64 = $double;
                Some(double(self))
            }

            fn hugeint(self) -> Option<i128> {
                let hugeint: fn($type) -> Option<i128> = $hugeint;
                hugeint(self)
            }

            fn bigint(self) -> Option<i64> {
                i64::try_from(self).ok()
            }

            fn integer(self) -> Option<i32> {
                i32::try_from(self).ok()
            }
        }
    };
    ($type:ty, fits: $fits:expr) => {
        integer!($type, fits: $fits, double: |value| value as f64, hugeint: |value| Some(i128::from(value)));
    };
}

integer!(i8, fits: []);
integer!(i16, fits: []);
integer!(i32, fits: [Wanted::Bigint, Wanted::Integer]);
integer!(i64, fits: [Wanted::Bigint]);
integer!(u8, fits: []);
integer!(u16, fits: []);
integer!(u32, fits: []);
integer!(u64, fits: []);
integer!(i128, fits: [], double: hugeint_to_double, hugeint: Some);
integer!(u128, fits: [], double: uhugeint_to_double, hugeint: |value| i128::try_from(value).ok());

macro_rules! float {
    ($type:ty, fits: $fits:expr) => {
        impl Number for $type {
            fn fits(wanted: Wanted) -> bool {
                let fits: &[Wanted] = &$fits;
                fits.contains(&wanted)
            }

            fn plain(self, wanted: Wanted) -> bool {
                match wanted {
                    Wanted::Double => true,
                    Wanted::Float => f64::from(self).abs() <= f64::from(f32::MAX),
                    // A conversion there and back, as `fract` is a call where there is no SSE 4.1.
                    Wanted::Bigint | Wanted::Integer => {
                        let (number, limit) = (f64::from(self), f64::from(i32::MAX));
                        number.abs() <= limit && f64::from(number as i32) == number
                    }
                    _ => false,
                }
            }

            fn fast(self, wanted: Wanted) -> f64 {
                rounded(f64::from(self), wanted)
            }

            fn double(self) -> Option<f64> {
                Some(f64::from(self))
            }

            fn hugeint(self) -> Option<i128> {
                double_to_hugeint(f64::from(self))
            }

            // A number with a fraction is rounded by DuckDB; what is asked is only whether it is whole, and then it is not.
            fn bigint(self) -> Option<i64> {
                let number = f64::from(self);
                (number.fract() == 0.0 && (-TWO_63..TWO_63).contains(&number))
                    .then_some(number as i64)
            }

            fn integer(self) -> Option<i32> {
                self.bigint().and_then(|whole| i32::try_from(whole).ok())
            }
        }
    };
}

float!(f32, fits: [Wanted::Float]);
float!(f64, fits: [Wanted::Double, Wanted::Float]);

#[derive(Clone, Copy)]
pub struct Bool(pub u8);

impl Number for Bool {
    fn plain(self, wanted: Wanted) -> bool {
        wanted != Wanted::Text
    }

    fn fast(self, _: Wanted) -> f64 {
        f64::from(self.0)
    }

    fn double(self) -> Option<f64> {
        Some(f64::from(self.0))
    }

    fn hugeint(self) -> Option<i128> {
        Some(i128::from(self.0))
    }

    fn bigint(self) -> Option<i64> {
        Some(i64::from(self.0))
    }

    fn integer(self) -> Option<i32> {
        Some(i32::from(self.0))
    }
}

/// A DECIMAL: the number without its point, and ten to the power of its scale, as an integer and as a double.
#[derive(Clone, Copy)]
pub struct Decimal {
    pub value: i128,
    pub power: i128,
    pub divisor: f64,
    pub scale: u8,
    /// Whether this DuckDB rounds once.
    pub exact: bool,
    /// Stored in 16 bytes: its parts become doubles as HUGEINTs do, those of a shorter one as BIGINTs.
    pub wide: bool,
}

impl Decimal {
    /// To an integer as DuckDB does it: halves away from zero.
    fn nearest(self) -> i128 {
        let half = self.power / 2;
        match self.value < 0 {
            true => self.value.saturating_sub(half) / self.power,
            false => self.value.saturating_add(half) / self.power,
        }
    }

    /// Whether one division is this DuckDB's cast: 10^22 is the last power of ten that is a double.
    fn divides(self) -> bool {
        !self.exact || self.scale <= 22
    }

    fn part(self, value: i128) -> f64 {
        match self.wide {
            true => hugeint_to_double(value),
            false => value as i64 as f64,
        }
    }
}

impl Number for Decimal {
    fn plain(self, wanted: Wanted) -> bool {
        wanted == Wanted::Double && self.value.unsigned_abs() <= 1 << 53 && self.divides()
    }

    fn fast(self, _: Wanted) -> f64 {
        self.value as i64 as f64 / self.divisor
    }

    fn double(self) -> Option<f64> {
        // Where the digits alone are no double, 1.5.6 takes whole and fraction apart, and 2.0.0 rounds their quotient.
        let short = self.value.unsigned_abs() <= 1 << 53 || self.power == 1;
        if short && self.divides() {
            return Some(self.part(self.value) / self.divisor);
        }
        if self.exact {
            return format!("{}e-{}", self.value, self.scale).parse().ok();
        }
        let (whole, rest) = (self.value / self.power, self.value % self.power);
        Some(self.part(whole) + self.part(rest) / self.divisor)
    }

    fn hugeint(self) -> Option<i128> {
        Some(self.nearest())
    }

    fn bigint(self) -> Option<i64> {
        i64::try_from(self.nearest()).ok()
    }

    fn integer(self) -> Option<i32> {
        i32::try_from(self.nearest()).ok()
    }
}
