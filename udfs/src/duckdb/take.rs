//! `sqlml_take(key, onnx)`: loads a model as an argument of the call that scores with it.

use super::admin::key;
use super::execute::panic_text;
use super::handle::{c_string, LogicalType};
use super::register::{Callbacks, Scalar};
use super::text::Text;
use super::vectors::Rows;
use crate::cache;
use crate::model::Model;
use libduckdb_sys as ffi;
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// The model that a thread loaded last: a query hands the same bytes over with every chunk, and a model that does not fit
/// into the cache is gone from there by the next one.
#[derive(Default)]
struct Taken(Option<(Vec<u8>, Arc<Model>)>);

pub fn function() -> Scalar {
    let callbacks = Callbacks {
        bind: None,
        init: Some(init),
        run: Some(run),
    };
    let parameters = [LogicalType::varchar(), LogicalType::blob()];
    Scalar::new(
        "sqlml_take",
        &parameters,
        &LogicalType::boolean(),
        callbacks,
    )
}

unsafe extern "C" fn init(info: ffi::duckdb_init_info) {
    let taken = Box::into_raw(Box::<Taken>::default()).cast::<c_void>();
    // SAFETY: DuckDB frees it with the callback given here.
    unsafe { ffi::duckdb_scalar_function_init_set_state(info, taken, Some(free)) };
}

unsafe extern "C" fn free(data: *mut c_void) {
    // SAFETY: `data` is the box that `init` gave away.
    drop(unsafe { Box::from_raw(data.cast::<Taken>()) });
}

unsafe extern "C" fn run(
    info: ffi::duckdb_function_info,
    chunk: ffi::duckdb_data_chunk,
    result: ffi::duckdb_vector,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: DuckDB gives back what `init` made, to one thread at a time.
        unsafe {
            match ffi::duckdb_scalar_function_get_state(info)
                .cast::<Taken>()
                .as_mut()
            {
                Some(taken) => take(taken, chunk, result),
                None => Err("sqlml: internal error: the call has no state".into()),
            }
        }
    }));
    if let Err(error) = outcome.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
        // SAFETY: the text is copied.
        unsafe { ffi::duckdb_scalar_function_set_error(info, c_string(&error).as_ptr()) };
    }
}

/// # Safety
/// Called by DuckDB with a VARCHAR and a BLOB, and a vector of BOOLEAN.
unsafe fn take(
    taken: &mut Taken,
    chunk: ffi::duckdb_data_chunk,
    result: ffi::duckdb_vector,
) -> Result<(), String> {
    // SAFETY: by this function's contract; texts are read in rows that are not NULL.
    unsafe {
        let count = ffi::duckdb_data_chunk_get_size(chunk) as usize;
        let rows = |index| Rows::new(ffi::duckdb_data_chunk_get_vector(chunk, index), 0, count);
        let (keys, blobs) = (rows(0), rows(1));
        let texts = keys.values::<Text>().iter().zip(blobs.values::<Text>());
        let answers = ffi::duckdb_vector_get_data(result).cast::<bool>();
        for (row, (text, bytes)) in texts.enumerate() {
            *answers.add(row) = true;
            if !keys.is_valid(row) || !blobs.is_valid(row) {
                ffi::duckdb_vector_ensure_validity_writable(result);
                let mask = ffi::duckdb_vector_get_validity(result);
                ffi::duckdb_validity_set_row_invalid(mask, row as ffi::idx_t);
            } else {
                taken.model(text.bytes(), bytes.bytes())?;
            }
        }
    }
    Ok(())
}

impl Taken {
    fn model(&mut self, text: &[u8], bytes: &[u8]) -> Result<(), String> {
        if self.0.as_ref().is_some_and(|(last, _)| last == text) {
            return Ok(());
        }
        let key = key(text)?;
        let loaded = match cache::peek(&key) {
            Some(model) => Ok(model),
            None => cache::load(&key, bytes),
        };
        let model = loaded.map_err(|error| {
            let short = cache::short(&key);
            format!("sqlml: model {short} cannot be used: {error}")
        })?;
        self.0 = Some((text.to_vec(), model));
        Ok(())
    }
}
