//! Owners of what the C API allocates, and text on its way there.

use libduckdb_sys as ffi;
use std::ffi::{c_void, CStr, CString};

/// A C string; a text with a NUL inside ends there, as DuckDB would read it.
pub fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text.as_bytes()[..end]).unwrap_or_default()
}

/// A text that DuckDB allocated.
///
/// # Safety
/// `text` is null or a C string that DuckDB gave to its caller to free.
pub unsafe fn taken(text: *mut std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and a C string by this function's contract.
    let copied = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: DuckDB allocated it, and nobody uses it after this.
    unsafe { ffi::duckdb_free(text.cast::<c_void>()) };
    Some(copied)
}

/// A logical type.
pub struct LogicalType(ffi::duckdb_logical_type);

impl LogicalType {
    pub fn of(id: ffi::duckdb_type) -> LogicalType {
        // SAFETY: any type number is allowed; an unknown one gives the type INVALID.
        LogicalType(unsafe { ffi::duckdb_create_logical_type(id) })
    }

    /// # Safety
    /// `logical` is a live type, or none, that belongs to the caller.
    pub unsafe fn owned(logical: ffi::duckdb_logical_type) -> LogicalType {
        LogicalType(logical)
    }

    pub fn varchar() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR)
    }

    pub fn blob() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB)
    }

    pub fn boolean() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN)
    }

    pub fn bigint() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT)
    }

    pub fn double() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE)
    }

    pub fn timestamp() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP)
    }

    pub fn any() -> LogicalType {
        LogicalType::of(ffi::DUCKDB_TYPE_DUCKDB_TYPE_ANY)
    }

    pub fn list(of: &LogicalType) -> LogicalType {
        // SAFETY: `of` is a live type; the list type copies it.
        LogicalType(unsafe { ffi::duckdb_create_list_type(of.0) })
    }

    /// Fields may share a type and a name's memory: 400 functions with up to 200 fields are made on LOAD.
    pub fn structure(fields: &[(&CStr, &LogicalType)]) -> LogicalType {
        let mut names: Vec<_> = fields.iter().map(|(name, _)| name.as_ptr()).collect();
        let mut types: Vec<_> = fields.iter().map(|(_, field)| field.0).collect();
        // SAFETY: both arrays have as many live elements as is said; DuckDB copies names and types.
        LogicalType(unsafe {
            ffi::duckdb_create_struct_type(
                types.as_mut_ptr(),
                names.as_mut_ptr(),
                fields.len() as ffi::idx_t,
            )
        })
    }

    /// The type of a vector's values.
    ///
    /// # Safety
    /// `vector` is a live vector.
    pub unsafe fn of_vector(vector: ffi::duckdb_vector) -> LogicalType {
        // SAFETY: by this function's contract; the type returned belongs to the caller.
        LogicalType(unsafe { ffi::duckdb_vector_get_column_type(vector) })
    }

    pub fn raw(&self) -> ffi::duckdb_logical_type {
        self.0
    }

    pub fn id(&self) -> ffi::duckdb_type {
        // SAFETY: `self.0` lives as long as `self`.
        unsafe { ffi::duckdb_get_type_id(self.0) }
    }
}

impl Drop for LogicalType {
    fn drop(&mut self) {
        // SAFETY: `self.0` is owned and not used again.
        unsafe { ffi::duckdb_destroy_logical_type(&mut self.0) }
    }
}

/// A single value of DuckDB's, with DuckDB's own casts.
pub struct Value(ffi::duckdb_value);

impl Value {
    /// # Safety
    /// `value` comes from DuckDB and belongs to the caller.
    pub unsafe fn owned(value: ffi::duckdb_value) -> Option<Value> {
        (!value.is_null()).then_some(Value(value))
    }

    pub fn text(text: &[u8]) -> Value {
        // SAFETY: the pointer and the length are those of one slice; DuckDB copies it.
        Value(unsafe {
            ffi::duckdb_create_varchar_length(text.as_ptr().cast(), text.len() as ffi::idx_t)
        })
    }

    pub fn raw(&self) -> ffi::duckdb_value {
        self.0
    }

    pub fn is_null(&self) -> bool {
        // SAFETY: `self.0` lives as long as `self`.
        unsafe { ffi::duckdb_is_null_value(self.0) }
    }

    /// `CAST(value AS VARCHAR)`, NULL as None.
    pub fn to_text(&self) -> Option<String> {
        if self.is_null() {
            return None;
        }
        // SAFETY: `self.0` lives; the text belongs to the caller.
        unsafe { taken(ffi::duckdb_get_varchar(self.0)) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: `self.0` is owned and not used again.
        unsafe { ffi::duckdb_destroy_value(&mut self.0) }
    }
}
