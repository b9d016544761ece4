//! How the values of a vector are laid out, by its type, and what a model's column takes.

use super::handle::{taken, LogicalType};
use libduckdb_sys as ffi;

/// What a model takes in one column: the letters of the `types` argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Double,
    Float,
    Bigint,
    Integer,
    Boolean,
    Text,
}

impl Wanted {
    pub fn of_letter(letter: u8) -> Option<Wanted> {
        Some(match letter {
            b'D' => Wanted::Double,
            b'F' => Wanted::Float,
            b'B' => Wanted::Bigint,
            b'I' => Wanted::Integer,
            b'L' => Wanted::Boolean,
            b'T' => Wanted::Text,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Wanted::Double => "DOUBLE",
            Wanted::Float => "FLOAT",
            Wanted::Bigint => "BIGINT",
            Wanted::Integer => "INTEGER",
            Wanted::Boolean => "BOOLEAN",
            Wanted::Text => "VARCHAR",
        }
    }
}

/// The storage of DECIMAL and of ENUM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    W1,
    W2,
    W4,
    W8,
    W16,
}

/// A vector's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Boolean,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Decimal {
        storage: Width,
        width: u8,
        scale: u8,
    },
    Text,
    Enum {
        storage: Width,
        texts: Vec<String>,
    },
    /// Dates, times and UUIDs: no number to DuckDB either, but a text. With the bytes of a value.
    Written(ffi::duckdb_type, usize),
    /// An untyped NULL.
    Null,
}

impl Source {
    /// None for a type that no column of a model is made of: lists, structs, blobs, intervals, times with a zone.
    pub fn of(logical: &LogicalType) -> Option<Source> {
        Some(match logical.id() {
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN => Source::Boolean,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_TINYINT => Source::I8,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT => Source::I16,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER => Source::I32,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => Source::I64,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT => Source::I128,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT => Source::U8,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT => Source::U16,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER => Source::U32,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_UBIGINT => Source::U64,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_UHUGEINT => Source::U128,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_FLOAT => Source::F32,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE => Source::F64,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR => Source::Text,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_SQLNULL => Source::Null,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL => decimal(logical)?,
            ffi::DUCKDB_TYPE_DUCKDB_TYPE_ENUM => dictionary(logical)?,
            id @ ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE => Source::Written(id, 4),
            id @ (ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME
            | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP
            | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_S
            | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_MS
            | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_NS) => Source::Written(id, 8),
            id @ ffi::DUCKDB_TYPE_DUCKDB_TYPE_UUID => Source::Written(id, 16),
            _ => return None,
        })
    }
}

fn decimal(logical: &LogicalType) -> Option<Source> {
    // SAFETY: `logical` is a live DECIMAL.
    let (internal, width, scale) = unsafe {
        (
            ffi::duckdb_decimal_internal_type(logical.raw()),
            ffi::duckdb_decimal_width(logical.raw()),
            ffi::duckdb_decimal_scale(logical.raw()),
        )
    };
    let storage = match internal {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT => Width::W2,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER => Width::W4,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => Width::W8,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT => Width::W16,
        _ => return None,
    };
    Some(Source::Decimal {
        storage,
        width,
        scale,
    })
}

fn dictionary(logical: &LogicalType) -> Option<Source> {
    // SAFETY: `logical` is a live ENUM.
    let (internal, size) = unsafe {
        (
            ffi::duckdb_enum_internal_type(logical.raw()),
            ffi::duckdb_enum_dictionary_size(logical.raw()),
        )
    };
    let storage = match internal {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT => Width::W1,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT => Width::W2,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER => Width::W4,
        _ => return None,
    };
    let text = |index| {
        // SAFETY: the index is below the dictionary's size; the text belongs to the caller.
        unsafe {
            taken(ffi::duckdb_enum_dictionary_value(
                logical.raw(),
                ffi::idx_t::from(index),
            ))
        }
        .unwrap_or_default()
    };
    Some(Source::Enum {
        storage,
        texts: (0..size).map(text).collect(),
    })
}
