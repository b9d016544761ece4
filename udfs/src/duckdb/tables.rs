//! `FROM sqlml_models()`: what is loaded.

use super::handle::{c_string, LogicalType};
use crate::cache::{self, Shown};
use libduckdb_sys as ffi;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

/// What one query shows: the cache as it was when the query began.
struct Listing {
    models: Vec<Shown>,
    next: AtomicUsize,
}

/// # Safety
/// The connection is live.
pub unsafe fn register(connection: ffi::duckdb_connection) -> Result<(), String> {
    // SAFETY: by this function's contract; DuckDB copies the function.
    unsafe {
        let mut function = ffi::duckdb_create_table_function();
        ffi::duckdb_table_function_set_name(function, c_string("sqlml_models").as_ptr());
        ffi::duckdb_table_function_set_bind(function, Some(bind));
        ffi::duckdb_table_function_set_init(function, Some(init));
        ffi::duckdb_table_function_set_function(function, Some(rows));
        let state = ffi::duckdb_register_table_function(connection, function);
        ffi::duckdb_destroy_table_function(&mut function);
        match state == ffi::DuckDBSuccess {
            true => Ok(()),
            false => Err("sqlml: cannot register sqlml_models".into()),
        }
    }
}

unsafe extern "C" fn bind(info: ffi::duckdb_bind_info) {
    let columns = [
        ("key", LogicalType::varchar()),
        ("bytes", LogicalType::bigint()),
        ("onnx_bytes", LogicalType::bigint()),
        ("hits", LogicalType::bigint()),
        ("kernels", LogicalType::varchar()),
        ("loaded_at", LogicalType::timestamp()),
    ];
    for (name, logical) in &columns {
        // SAFETY: `info` is that of this call; name and type are copied.
        unsafe { ffi::duckdb_bind_add_result_column(info, c_string(name).as_ptr(), logical.raw()) };
    }
}

unsafe extern "C" fn init(info: ffi::duckdb_init_info) {
    let listing = Box::new(Listing {
        models: cache::models(),
        next: AtomicUsize::new(0),
    });
    // SAFETY: DuckDB frees the box with the callback given here.
    unsafe { ffi::duckdb_init_set_init_data(info, Box::into_raw(listing).cast(), Some(free)) };
}

unsafe extern "C" fn free(listing: *mut c_void) {
    // SAFETY: the box that `init` gave away.
    drop(unsafe { Box::from_raw(listing.cast::<Listing>()) });
}

unsafe extern "C" fn rows(info: ffi::duckdb_function_info, chunk: ffi::duckdb_data_chunk) {
    // SAFETY: DuckDB gives what `init` made; the vectors are of the types that `bind` named, with room for a vector's rows.
    unsafe {
        let Some(listing) = ffi::duckdb_function_get_init_data(info)
            .cast::<Listing>()
            .as_ref()
        else {
            return;
        };
        let room = ffi::duckdb_vector_size() as usize;
        let start = listing.next.fetch_add(room, Ordering::Relaxed);
        let shown = listing.models.iter().skip(start).take(room);
        let mut count = 0;
        for (row, shown) in shown.enumerate() {
            put_text(chunk, 0, row, &shown.key);
            put_number(chunk, 1, row, shown.model.bytes() as i64);
            put_number(chunk, 2, row, shown.model.size() as i64);
            put_number(chunk, 3, row, shown.hits as i64);
            put_text(chunk, 4, row, &shown.model.kernels());
            let micros = shown
                .loaded_at
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_micros());
            put_number(chunk, 5, row, i64::try_from(micros).unwrap_or(i64::MAX));
            count = row + 1;
        }
        ffi::duckdb_data_chunk_set_size(chunk, count as ffi::idx_t);
    }
}

/// # Safety
/// The column is one of VARCHAR with room for the row.
unsafe fn put_text(chunk: ffi::duckdb_data_chunk, column: ffi::idx_t, row: usize, text: &str) {
    // SAFETY: by this function's contract; the text is copied.
    unsafe {
        let vector = ffi::duckdb_data_chunk_get_vector(chunk, column);
        let (start, length) = (text.as_ptr().cast(), text.len() as ffi::idx_t);
        ffi::duckdb_vector_assign_string_element_len(vector, row as ffi::idx_t, start, length);
    }
}

/// # Safety
/// The column is one of 64-bit numbers with room for the row.
unsafe fn put_number(chunk: ffi::duckdb_data_chunk, column: ffi::idx_t, row: usize, number: i64) {
    // SAFETY: by this function's contract.
    unsafe {
        let vector = ffi::duckdb_data_chunk_get_vector(chunk, column);
        *ffi::duckdb_vector_get_data(vector).cast::<i64>().add(row) = number;
    }
}
