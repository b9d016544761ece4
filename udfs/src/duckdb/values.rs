//! Single values through DuckDB's own casts: texts that are numbers, and other types that are texts.

use super::handle::Value;
use super::numbers::Number;
use super::types::{Source, Wanted, Width};
use libduckdb_sys as ffi;

/// A text where a number belongs. Slow (a value of DuckDB's is made for each cast): the caller remembers the answers.
#[derive(Clone, Copy)]
pub struct Spelt<'a>(pub &'a [u8]);

impl Spelt<'_> {
    /// `TRY_CAST`: a getter casts the value in place, and leaves it a VARCHAR if that fails.
    fn cast<T>(self, id: ffi::duckdb_type, get: unsafe fn(ffi::duckdb_value) -> T) -> Option<T> {
        let value = Value::text(self.0);
        // SAFETY: the value lives; every getter takes any value.
        let got = unsafe { get(value.raw()) };
        (value.id() == id).then_some(got)
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
        self.cast(ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE, ffi::duckdb_get_double)
    }

    fn hugeint(self) -> Option<i128> {
        let found = self.cast(
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT,
            ffi::duckdb_get_hugeint,
        )?;
        Some(i128::from(found.upper) << 64 | i128::from(found.lower))
    }

    fn bigint(self) -> Option<i64> {
        self.cast(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT, ffi::duckdb_get_int64)
    }

    fn integer(self) -> Option<i32> {
        self.cast(ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER, ffi::duckdb_get_int32)
    }

    fn boolean(self) -> Option<bool> {
        self.cast(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN, ffi::duckdb_get_bool)
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
        Source::Moment(_, size) => *size,
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
            Source::Moment(id, _) => moment(*id, raw)?,
            Source::Text | Source::Enum { .. } | Source::Null => return None,
        }
    })
}

unsafe fn moment(id: ffi::duckdb_type, raw: u128) -> Option<ffi::duckdb_value> {
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
            _ => return None,
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
