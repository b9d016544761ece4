//! Single values through DuckDB's own casts: texts that are numbers, and other types that are texts.

use super::handle::Value;
use super::numbers::Number;
use super::types::{Source, Wanted, Width};
use libduckdb_sys as ffi;
use std::sync::OnceLock;

/// A text where a number belongs. Slow (a value of DuckDB's is made for each cast): the caller remembers the answers.
///
/// A getter casts as `TRY_CAST` does and gives its type's least value, or NaN, where that fails; 1.5.6 shows by the value's
/// type which it was, 2.0.0 does not. So the texts that are those very values are told apart here.
#[derive(Clone, Copy)]
pub struct Spelt<'a>(pub &'a [u8]);

const LEAST_HUGEINT: &[u8] = b"-170141183460469231731687303715884105728";

impl Spelt<'_> {
    fn cast<T>(self, get: unsafe fn(ffi::duckdb_value) -> T) -> T {
        let value = Value::text(self.0);
        // SAFETY: the value lives; every getter takes any value.
        unsafe { get(value.raw()) }
    }

    fn is_nan(self) -> bool {
        let text = self.0.trim_ascii_start();
        let text = text.strip_prefix(b"+").unwrap_or(text);
        let text = text.strip_prefix(b"-").unwrap_or(text);
        // DuckDB's blanks are those of C; a vertical tab is not one of Rust's. What follows in brackets is let through:
        // a text that begins so is a number to DuckDB, or an unreadable one that nobody writes.
        let text = text.strip_prefix(b"\x0b").unwrap_or(text);
        text.get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"nan"))
            && matches!(text.get(3), None | Some(b'(' | b' ' | b'\t'..=b'\r'))
    }
}

impl Number for Spelt<'_> {
    fn plain(self, _: Wanted) -> bool {
        false
    }

    fn fast(self, _: Wanted) -> f64 {
        f64::NAN // never asked: no text is plain
    }

    fn double(self) -> Option<f64> {
        let number = self.cast(ffi::duckdb_get_double);
        (!number.is_nan() || self.is_nan()).then_some(number)
    }

    fn hugeint(self) -> Option<i128> {
        let found = self.cast(ffi::duckdb_get_hugeint);
        let number = i128::from(found.upper) << 64 | i128::from(found.lower);
        (number != i128::MIN || self.0.trim_ascii() == LEAST_HUGEINT).then_some(number)
    }

    fn bigint(self) -> Option<i64> {
        let number = self.cast(ffi::duckdb_get_int64);
        let sure = number != i64::MIN || self.hugeint() == Some(i128::from(number));
        sure.then_some(number)
    }

    fn integer(self) -> Option<i32> {
        let number = self.cast(ffi::duckdb_get_int32);
        let sure = number != i32::MIN || self.bigint() == Some(i64::from(number));
        sure.then_some(number)
    }

    fn boolean(self) -> Option<bool> {
        // Measured in both versions: no blanks, no "on", any case.
        let is_one_of = |words: [&str; 5]| {
            words
                .iter()
                .any(|word| self.0.eq_ignore_ascii_case(word.as_bytes()))
        };
        match is_one_of(["true", "t", "yes", "y", "1"]) {
            true => Some(true),
            false => is_one_of(["false", "f", "no", "n", "0"]).then_some(false),
        }
    }
}

/// The bytes of one value of a vector, widened: what tells one value of a type from another.
///
/// # Safety
/// `data` is that of a live vector of this type with more than `row` rows.
pub unsafe fn raw(source: &Source, data: *const u8, row: usize) -> u128 {
    let mut bytes = [0u8; 16];
    let size = size(source);
    if let Some(target) = bytes.get_mut(..size) {
        // SAFETY: by this function's contract `size` bytes are there.
        target.copy_from_slice(unsafe { std::slice::from_raw_parts(data.add(row * size), size) });
    }
    u128::from_ne_bytes(bytes)
}

/// Bytes of one value.
pub fn size(source: &Source) -> usize {
    match source {
        Source::Boolean | Source::I8 | Source::U8 => 1,
        Source::I16 | Source::U16 => 2,
        Source::I32 | Source::U32 | Source::F32 => 4,
        Source::I64 | Source::U64 | Source::F64 => 8,
        Source::I128 | Source::U128 | Source::Text => 16,
        Source::Decimal { storage, .. } | Source::Enum { storage, .. } => match storage {
            Width::W1 => 1,
            Width::W2 => 2,
            Width::W4 => 4,
            Width::W8 => 8,
            Width::W16 => 16,
        },
        Source::Written(_, size) => *size,
        Source::Null => 0,
    }
}

/// `CAST(value AS VARCHAR)` of one value, by its bytes as `raw` gives them.
pub fn text(source: &Source, raw: u128) -> Option<String> {
    // SAFETY: plain numbers in, a value that belongs to the caller out.
    let value = unsafe { Value::owned(made(source, raw)?) }?;
    value.to_text()
}

/// # Safety
/// None needed but that the C API is there: every function takes any number of its type.
unsafe fn made(source: &Source, raw: u128) -> Option<ffi::duckdb_value> {
    let hugeint = ffi::duckdb_hugeint {
        lower: raw as u64,
        upper: (raw >> 64) as i64,
    };
    // SAFETY: by this function's contract.
    Some(unsafe {
        match source {
            Source::Boolean => ffi::duckdb_create_bool(raw != 0),
            Source::I8 => ffi::duckdb_create_int8(raw as i8),
            Source::I16 => ffi::duckdb_create_int16(raw as i16),
            Source::I32 => ffi::duckdb_create_int32(raw as i32),
            Source::I64 => ffi::duckdb_create_int64(raw as i64),
            Source::U8 => ffi::duckdb_create_uint8(raw as u8),
            Source::U16 => ffi::duckdb_create_uint16(raw as u16),
            Source::U32 => ffi::duckdb_create_uint32(raw as u32),
            Source::U64 => ffi::duckdb_create_uint64(raw as u64),
            Source::I128 => ffi::duckdb_create_hugeint(hugeint),
            Source::U128 => ffi::duckdb_create_uhugeint(ffi::duckdb_uhugeint {
                lower: raw as u64,
                upper: (raw >> 64) as u64,
            }),
            Source::F32 => ffi::duckdb_create_float(f32::from_bits(raw as u32)),
            Source::F64 => ffi::duckdb_create_double(f64::from_bits(raw as u64)),
            Source::Decimal {
                storage,
                width,
                scale,
            } => {
                let value = widened(*storage, raw);
                let value = ffi::duckdb_hugeint {
                    lower: value as u64,
                    upper: (value >> 64) as i64,
                };
                ffi::duckdb_create_decimal(ffi::duckdb_decimal {
                    width: *width,
                    scale: *scale,
                    value,
                })
            }
            Source::Written(id, _) => written(*id, raw)?,
            Source::Text | Source::Enum { .. } | Source::Null => return None,
        }
    })
}

/// # Safety
/// As `made`.
unsafe fn written(id: ffi::duckdb_type, raw: u128) -> Option<ffi::duckdb_value> {
    let micros = raw as i64;
    // SAFETY: any number is allowed.
    Some(unsafe {
        match id {
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE => {
                ffi::duckdb_create_date(ffi::duckdb_date { days: raw as i32 })
            }
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME => {
                ffi::duckdb_create_time(ffi::duckdb_time { micros })
            }
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP => {
                ffi::duckdb_create_timestamp(ffi::duckdb_timestamp { micros })
            }
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_S => {
                ffi::duckdb_create_timestamp_s(ffi::duckdb_timestamp_s { seconds: micros })
            }
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_MS => {
                ffi::duckdb_create_timestamp_ms(ffi::duckdb_timestamp_ms { millis: micros })
            }
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_NS => {
                ffi::duckdb_create_timestamp_ns(ffi::duckdb_timestamp_ns { nanos: micros })
            }
            // Stored with the first bit turned, so that they compare as numbers with a sign do.
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_UUID => ffi::duckdb_create_uuid(ffi::duckdb_uhugeint {
                lower: raw as u64,
                upper: (raw >> 64) as u64 ^ 1 << 63,
            }),
            _ => return None,
        }
    })
}

/// How this DuckDB casts a DECIMAL to DOUBLE, asked once: 0.018014398509481987 tells the two ways apart.
pub fn decimals_are_rounded_once() -> bool {
    static ROUNDED_ONCE: OnceLock<bool> = OnceLock::new();
    *ROUNDED_ONCE.get_or_init(|| {
        let value = ffi::duckdb_hugeint {
            lower: 18_014_398_509_481_987,
            upper: 0,
        };
        // SAFETY: a value that is made, cast and destroyed here.
        unsafe {
            let value = ffi::duckdb_create_decimal(ffi::duckdb_decimal {
                width: 18,
                scale: 18,
                value,
            });
            Value::owned(value).is_some_and(|value| {
                ffi::duckdb_get_double(value.raw()) == 0.018_014_398_509_481_987
            })
        }
    })
}

/// A stored number with its sign.
pub fn widened(storage: Width, raw: u128) -> i128 {
    match storage {
        Width::W1 => i128::from(raw as i8),
        Width::W2 => i128::from(raw as i16),
        Width::W4 => i128::from(raw as i32),
        Width::W8 => i128::from(raw as i64),
        Width::W16 => raw as i128,
    }
}
