//! The functions around scoring: loading, asking, forgetting.

use super::execute::panic_text;
use super::handle::{c_string, LogicalType};
use super::register::{Callbacks, Scalar};
use super::text::Text;
use super::vectors::Rows;
use crate::cache;
use libduckdb_sys as ffi;
use std::panic::{catch_unwind, AssertUnwindSafe};

pub fn functions() -> Vec<Scalar> {
    let (text, blob) = (LogicalType::varchar, LogicalType::blob);
    let (truth, number) = (LogicalType::boolean, LogicalType::bigint);
    let callbacks = |run| Callbacks {
        bind: None,
        init: None,
        run: Some(run),
    };
    vec![
        Scalar::new("sqlml_load", &[blob()], &text(), callbacks(load)).volatile(),
        Scalar::new(
            "sqlml_load_as",
            &[text(), blob()],
            &text(),
            callbacks(load_as),
        )
        .volatile(),
        // Folded while a query is planned: a plan for a loaded model never reads its bytes.
        Scalar::new("sqlml_loaded", &[text()], &truth(), callbacks(loaded)),
        Scalar::new("sqlml_onnx", &[text()], &text(), callbacks(onnx)),
        Scalar::new("sqlml_forget", &[text()], &truth(), callbacks(forget)).volatile(),
        Scalar::new("sqlml_describe", &[text()], &text(), callbacks(describe)).volatile(),
        Scalar::new(
            "sqlml_cache_bytes",
            &[number()],
            &number(),
            callbacks(cache_bytes),
        )
        .with_nulls()
        .volatile(),
        Scalar::new("sqlml_version", &[], &text(), callbacks(version)),
    ]
}

/// A result: written into a row, or NULL.
enum Answer {
    Text(String),
    Truth(bool),
    Number(i64),
    Null,
}

/// # Safety
/// Called by DuckDB with what belongs to one call; the first argument, if there is one, is of handles of 16 bytes.
unsafe fn each_text(
    info: ffi::duckdb_function_info,
    chunk: ffi::duckdb_data_chunk,
    result: ffi::duckdb_vector,
    answer: impl Fn(&[u8]) -> Result<Answer, String>,
) {
    // SAFETY: by this function's contract.
    unsafe {
        each(info, chunk, result, |rows, row| {
            match rows.values::<Text>().get(row) {
                Some(text) if rows.is_valid(row) => answer(text.bytes()),
                _ => Ok(Answer::Null),
            }
        });
    }
}

/// # Safety
/// Called by DuckDB with what belongs to one call of one argument.
unsafe fn each(
    info: ffi::duckdb_function_info,
    chunk: ffi::duckdb_data_chunk,
    result: ffi::duckdb_vector,
    answer: impl Fn(Rows, usize) -> Result<Answer, String>,
) {
    // SAFETY: by this function's contract; results are of the type that the function is registered with.
    unsafe {
        let count = ffi::duckdb_data_chunk_get_size(chunk) as usize;
        let rows = Rows::new(ffi::duckdb_data_chunk_get_vector(chunk, 0), 0, count);
        for row in 0..count {
            let outcome = catch_unwind(AssertUnwindSafe(|| answer(rows, row)));
            match outcome.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
                Ok(answer) => put(result, row, answer),
                Err(error) => {
                    return ffi::duckdb_scalar_function_set_error(info, c_string(&error).as_ptr())
                }
            }
        }
    }
}

/// # Safety
/// The vector has the row, and is of the answer's type.
unsafe fn put(result: ffi::duckdb_vector, row: usize, answer: Answer) {
    // SAFETY: by this function's contract.
    unsafe {
        let data = ffi::duckdb_vector_get_data(result);
        match answer {
            Answer::Text(text) => {
                let (start, length) = (text.as_ptr().cast(), text.len() as ffi::idx_t);
                ffi::duckdb_vector_assign_string_element_len(
                    result,
                    row as ffi::idx_t,
                    start,
                    length,
                );
            }
            Answer::Truth(truth) => *data.cast::<bool>().add(row) = truth,
            Answer::Number(number) => *data.cast::<i64>().add(row) = number,
            Answer::Null => {
                ffi::duckdb_vector_ensure_validity_writable(result);
                ffi::duckdb_validity_set_row_invalid(
                    ffi::duckdb_vector_get_validity(result),
                    row as ffi::idx_t,
                );
            }
        }
    }
}

/// A model's key, checked; behind its hash may stand what is asked for beside it.
pub fn key(text: &[u8]) -> Result<String, String> {
    let hash = text.split(|c| *c == b' ').next().unwrap_or(text);
    let digits = hash.len() == 64 && hash.iter().all(u8::is_ascii_hexdigit);
    match digits {
        true => Ok(String::from_utf8_lossy(text).to_ascii_lowercase()),
        false => Err(format!(
            "sqlml: '{}' is no SHA-256 of a model (64 hexadecimal digits)",
            String::from_utf8_lossy(text)
        )),
    }
}

type Info = ffi::duckdb_function_info;
type Chunk = ffi::duckdb_data_chunk;
type Vector = ffi::duckdb_vector;

unsafe extern "C" fn load(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with one BLOB.
    unsafe {
        each_text(info, chunk, result, |bytes| {
            let loaded = cache::load_any(bytes);
            loaded
                .map(Answer::Text)
                .map_err(|error| format!("sqlml: the model cannot be used: {error}"))
        });
    }
}

/// Loads the model of a key, of bytes that must have its SHA-256, and with it what explains it if the key asks for that.
unsafe extern "C" fn load_as(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with a VARCHAR and a BLOB.
    unsafe {
        let count = ffi::duckdb_data_chunk_get_size(chunk) as usize;
        let onnx = Rows::new(ffi::duckdb_data_chunk_get_vector(chunk, 1), 0, count);
        each(info, chunk, result, |keys, row| {
            let valid = keys.is_valid(row) && onnx.is_valid(row);
            let (keys, blobs) = (keys.values::<Text>(), onnx.values::<Text>());
            let (true, Some(text), Some(bytes)) = (valid, keys.get(row), blobs.get(row)) else {
                return Ok(Answer::Null);
            };
            let key = key(text.bytes())?;
            cache::load_with(&key, bytes.bytes()).map_err(|error| {
                format!(
                    "sqlml: model {} cannot be used: {error}",
                    cache::short(&key)
                )
            })?;
            Ok(Answer::Text(cache::hash(&key).to_owned()))
        });
    }
}

unsafe extern "C" fn loaded(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with one VARCHAR.
    unsafe {
        each_text(info, chunk, result, |text| {
            Ok(Answer::Truth(cache::promise(&key(text)?)))
        })
    };
}

/// SQL for `query(...)`: it names a table only while the model is not loaded, so that a macro works in an attached file,
/// where `sqlml.models` is not found from outside.
unsafe extern "C" fn onnx(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with one VARCHAR.
    unsafe {
        each_text(info, chunk, result, |text| {
            let key = key(text)?;
            Ok(Answer::Text(match cache::promise(&key) {
                true => "SELECT NULL::BLOB AS onnx".to_owned(),
                false => format!(
                    "SELECT onnx FROM sqlml.models WHERE sha256 = '{}'",
                    cache::hash(&key)
                ),
            }))
        });
    }
}

unsafe extern "C" fn forget(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with one VARCHAR.
    unsafe {
        each_text(info, chunk, result, |text| {
            Ok(Answer::Truth(cache::forget(&key(text)?)))
        })
    };
}

unsafe extern "C" fn describe(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with one VARCHAR.
    unsafe {
        each_text(info, chunk, result, |text| {
            Ok(cache::peek(&key(text)?)
                .map_or(Answer::Null, |model| Answer::Text(model.describe())))
        });
    }
}

/// Sets how many bytes of models are kept; NULL leaves it. Answers with the limit.
unsafe extern "C" fn cache_bytes(info: Info, chunk: Chunk, result: Vector) {
    // SAFETY: registered with one BIGINT.
    unsafe {
        each(info, chunk, result, |rows, row| {
            if let Some(limit) = rows.values::<i64>().get(row).filter(|_| rows.is_valid(row)) {
                let limit = usize::try_from(*limit)
                    .map_err(|_| "sqlml: the cache cannot hold fewer than 0 bytes".to_owned())?;
                cache::set_limit(limit);
            }
            Ok(Answer::Number(
                i64::try_from(cache::limit()).unwrap_or(i64::MAX),
            ))
        });
    }
}

unsafe extern "C" fn version(_: Info, chunk: Chunk, result: Vector) {
    let isa = format!("{:?}", crate::isa::Isa::current()).to_ascii_lowercase();
    let text = format!("{} {isa}", env!("CARGO_PKG_VERSION"));
    // SAFETY: the result is a VARCHAR with as many rows as the chunk.
    unsafe {
        for row in 0..ffi::duckdb_data_chunk_get_size(chunk) as usize {
            put(result, row, Answer::Text(text.clone()));
        }
    }
}
