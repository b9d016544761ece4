//! What stands before a call's columns: which model it is, how its columns are typed, and how its bytes arrive.
//!
//! DuckDB writes every constant argument out for all rows of a chunk before it calls (`vectors`). Three texts are 96 kB a
//! chunk, beside the 160 kB of ten columns; an ENUM of few values and a BOOLEAN are 4 kB, and the ENUM's type says as much
//! as two texts.

use super::admin::key;
use super::handle::{taken, LogicalType, Value};
use super::text::Text;
use super::vectors::Rows;
use libduckdb_sys as ffi;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// The key and the types, VARCHAR; the bytes, BLOB.
    Spelt,
    /// A value of an ENUM whose first value is the key and whose second, if it has one, the types; then a BOOLEAN, which
    /// is there for what it takes to be computed: `sqlml_take` loads the model.
    Typed,
}

/// The key, and the letters of the columns' types or None for the graph's own; each, or why it cannot be told.
pub type Told = (Result<String, String>, Result<Option<String>, String>);

const BYTES: ffi::idx_t = 2;
const KEY: &str = "sqlml: the model must be a constant: the SHA-256 of its bytes";
const TYPES: &str = "sqlml: the types of the columns must be a constant, as 'DDT', or NULL";
const ENUM: &str = "sqlml: the model must be a value of an ENUM of the SHA-256 of its bytes and the types of its columns, as in \
    CAST('<sha256>' AS ENUM('<sha256>', 'DDT'))";

impl Leading {
    pub const ALL: [Leading; 2] = [Leading::Spelt, Leading::Typed];

    /// What a function is called that takes these arguments.
    pub fn named(self, shape: &str) -> String {
        match self {
            Leading::Spelt => shape.to_owned(),
            Leading::Typed => format!("{shape}_of"),
        }
    }

    pub fn parameters(self) -> Vec<LogicalType> {
        match self {
            Leading::Spelt => vec![
                LogicalType::varchar(),
                LogicalType::varchar(),
                LogicalType::blob(),
            ],
            // No parameter can be "some ENUM".
            Leading::Typed => vec![LogicalType::any(), LogicalType::boolean()],
        }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Leading::Spelt => 3,
            Leading::Typed => 2,
        }
    }

    /// # Safety
    /// Called in a bind callback, with its own `info`.
    pub unsafe fn told(self, info: ffi::duckdb_bind_info) -> Told {
        // SAFETY: by this function's contract.
        unsafe {
            match self {
                Leading::Spelt => (constant_key(info), constant_types(info)),
                Leading::Typed => match typed(info) {
                    Some((text, types)) => (key(text.as_bytes()), Ok(types)),
                    None => (Err(ENUM.to_owned()), Ok(None)),
                },
            }
        }
    }

    /// The model's bytes, where they are an argument: those of the first row, since they are the same in all.
    ///
    /// # Safety
    /// The chunk has the arguments of a scoring function, and a row.
    pub unsafe fn bytes<'a>(self, chunk: ffi::duckdb_data_chunk) -> Option<&'a [u8]> {
        if self == Leading::Typed {
            return None;
        }
        // SAFETY: by this function's contract; the text lives as long as the chunk.
        unsafe {
            let rows = Rows::new(ffi::duckdb_data_chunk_get_vector(chunk, BYTES), 0, 1);
            let text: &'a Text = rows.values::<Text>().first().filter(|_| rows.is_valid(0))?;
            Some(text.bytes())
        }
    }
}

/// The key and the types, out of the first argument's type.
///
/// # Safety
/// Called in a bind callback, with its own `info`.
unsafe fn typed(info: ffi::duckdb_bind_info) -> Option<(String, Option<String>)> {
    // SAFETY: by this function's contract; what is made here is destroyed here.
    unsafe {
        let mut expression = ffi::duckdb_scalar_function_bind_get_argument(info, 0);
        if expression.is_null() {
            return None;
        }
        let logical = LogicalType::owned(ffi::duckdb_expression_return_type(expression));
        ffi::duckdb_destroy_expression(&mut expression);
        if logical.id() != ffi::DUCKDB_TYPE_DUCKDB_TYPE_ENUM {
            return None;
        }
        let size = ffi::duckdb_enum_dictionary_size(logical.raw());
        let value = |place| taken(ffi::duckdb_enum_dictionary_value(logical.raw(), place));
        match size {
            1 => Some((value(0)?, None)),
            2 => Some((value(0)?, Some(value(1)?))),
            _ => None,
        }
    }
}

/// The key, folded: a literal, or the parameter of a macro.
///
/// # Safety
/// Called in a bind callback, with its own `info`.
unsafe fn constant_key(info: ffi::duckdb_bind_info) -> Result<String, String> {
    // SAFETY: by this function's contract.
    unsafe { constant(info, 0) }
        .flatten()
        .ok_or_else(|| KEY.to_owned())
        .and_then(|text| key(text.as_bytes()))
}

/// The letters of the columns' types; None for NULL. Those of the first row would otherwise hold for all rows.
///
/// # Safety
/// Called in a bind callback, with its own `info`.
unsafe fn constant_types(info: ffi::duckdb_bind_info) -> Result<Option<String>, String> {
    // SAFETY: by this function's contract.
    unsafe { constant(info, 1) }.ok_or_else(|| TYPES.to_owned())
}

/// An argument, folded: None where it is not constant, or not there; Some(None) where it is NULL.
///
/// # Safety
/// Called in a bind callback, with its own `info`.
unsafe fn constant(info: ffi::duckdb_bind_info, index: ffi::idx_t) -> Option<Option<String>> {
    // SAFETY: by this function's contract; what is made here is destroyed here.
    unsafe {
        let mut expression = ffi::duckdb_scalar_function_bind_get_argument(info, index);
        if expression.is_null() {
            return None;
        }
        let folded = ffi::duckdb_expression_is_foldable(expression).then(|| fold(info, expression));
        ffi::duckdb_destroy_expression(&mut expression);
        folded
    }
}

/// # Safety
/// As `constant`; the expression is foldable.
unsafe fn fold(info: ffi::duckdb_bind_info, expression: ffi::duckdb_expression) -> Option<String> {
    let mut context: ffi::duckdb_client_context = std::ptr::null_mut();
    let mut value: ffi::duckdb_value = std::ptr::null_mut();
    // SAFETY: by this function's contract.
    unsafe {
        ffi::duckdb_scalar_function_get_client_context(info, &mut context);
        let mut error = ffi::duckdb_expression_fold(context, expression, &mut value);
        ffi::duckdb_destroy_client_context(&mut context);
        if !error.is_null() {
            ffi::duckdb_destroy_error_data(&mut error);
        }
        Value::owned(value)?.to_text()
    }
}
