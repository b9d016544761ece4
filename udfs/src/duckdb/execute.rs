//! The callbacks of the scoring functions.

use super::bind::{Bound, Function, How, Ready};
use super::buffers::{Buffer, Unreadable};
use super::handle::c_string;
use super::results::{write, Answer, Errors, Target};
use super::session;
use super::vectors::Rows;
use crate::error::{Error, Result};
use crate::model::Engine;
use crate::program::{Column, State, CHUNK};
use libduckdb_sys as ffi;
use std::any::Any;
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// What a thread keeps for one call of one query: no lock and no allocation per chunk once it is warm.
#[derive(Default)]
struct Local {
    state: Option<State>,
    buffers: Vec<Buffer>,
    unreadable: Unreadable,
    errors: Errors,
}

/// What a panic said: it becomes the query's error.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sqlml: internal error: {}", said.unwrap_or("no message"))
}

/// # Safety
/// For DuckDB only: the bind callback of a function whose extra info is a `Function`.
pub unsafe extern "C" fn bind(info: ffi::duckdb_bind_info) {
    let bound = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: every scoring function is its own extra info, for as long as it is registered.
        unsafe {
            let function =
                *ffi::duckdb_scalar_function_bind_get_extra_info(info).cast::<Function>();
            Bound::new(info, function)
        }
    }));
    // SAFETY: the data belongs to DuckDB from here on, which copies it with `copy` and frees it with `free`.
    unsafe {
        match bound {
            Ok(bound) => {
                let data = Arc::into_raw(Arc::new(bound)).cast_mut().cast::<c_void>();
                ffi::duckdb_scalar_function_set_bind_data(info, data, Some(free_bound));
                // Without it DuckDB copies the expression with no bind data at all.
                ffi::duckdb_scalar_function_set_bind_data_copy(info, Some(copy_bound));
            }
            Err(panic) => {
                ffi::duckdb_scalar_function_bind_set_error(
                    info,
                    c_string(&panic_text(&*panic)).as_ptr(),
                );
            }
        }
    }
}

unsafe extern "C" fn free_bound(data: *mut c_void) {
    // SAFETY: `data` is one reference that `bind` or `copy_bound` gave away.
    drop(unsafe { Arc::from_raw(data.cast_const().cast::<Bound>()) });
}

unsafe extern "C" fn copy_bound(data: *mut c_void) -> *mut c_void {
    // SAFETY: `data` is a live reference; the copy is another one.
    unsafe { Arc::increment_strong_count(data.cast_const().cast::<Bound>()) };
    data
}

/// # Safety
/// For DuckDB only: called once per thread and call.
pub unsafe extern "C" fn init(info: ffi::duckdb_init_info) {
    let local = Box::into_raw(Box::<Local>::default()).cast::<c_void>();
    // SAFETY: DuckDB frees it with the callback given here.
    unsafe { ffi::duckdb_scalar_function_init_set_state(info, local, Some(free_local)) };
}

unsafe extern "C" fn free_local(data: *mut c_void) {
    // SAFETY: `data` is the box that `init` gave away.
    drop(unsafe { Box::from_raw(data.cast::<Local>()) });
}

/// # Safety
/// For DuckDB only: the function itself.
pub unsafe extern "C" fn execute(
    info: ffi::duckdb_function_info,
    chunk: ffi::duckdb_data_chunk,
    result: ffi::duckdb_vector,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: DuckDB gives back what `bind` and `init` made, the local state to one thread at a time.
        unsafe {
            let bound = ffi::duckdb_scalar_function_get_bind_data(info).cast::<Bound>();
            let local = ffi::duckdb_scalar_function_get_state(info).cast::<Local>();
            match (bound.as_ref(), local.as_mut()) {
                (Some(bound), Some(local)) => score(bound, local, chunk, result),
                _ => Err("sqlml: internal error: the call was not bound".into()),
            }
        }
    }));
    let error = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(panic) => panic_text(&*panic),
    };
    // SAFETY: the text is copied.
    unsafe { ffi::duckdb_scalar_function_set_error(info, c_string(&error).as_ptr()) };
}

/// # Safety
/// `chunk` and `result` are those of one call of the function that `bound` belongs to.
unsafe fn score(
    bound: &Bound,
    local: &mut Local,
    chunk: ffi::duckdb_data_chunk,
    result: ffi::duckdb_vector,
) -> std::result::Result<(), String> {
    // SAFETY: by this function's contract.
    unsafe {
        let rows = ffi::duckdb_data_chunk_get_size(chunk) as usize;
        if rows == 0 {
            return Ok(());
        }
        let ready = bound.ready(chunk)?;
        local
            .buffers
            .resize_with(ready.readings.len(), Buffer::default);
        // A vector has 2048 rows; a build of DuckDB with longer ones would get them in parts.
        for start in (0..rows).step_by(CHUNK) {
            let target = Target {
                vector: result,
                start,
                rows: CHUNK.min(rows - start),
            };
            part(bound, ready, local, chunk, target).map_err(|error| format!("sqlml: {error}"))?;
        }
        Ok(())
    }
}

/// # Safety
/// As `score`; the rows of `target` are there.
unsafe fn part(
    bound: &Bound,
    ready: &Ready,
    local: &mut Local,
    chunk: ffi::duckdb_data_chunk,
    target: Target,
) -> Result<()> {
    let Local {
        state,
        buffers,
        unreadable,
        errors,
    } = local;
    unreadable.reset(target.rows);
    let leading = bound.leading.count();
    let mut columns: Vec<Column<'_>> = Vec::with_capacity(buffers.len());
    let mut texts: Vec<&[Vec<u8>]> = Vec::new();
    for (
        index,
        (
            reading,
            Buffer {
                values,
                texts: interned,
            },
        ),
    ) in ready.readings.iter().zip(buffers).enumerate()
    {
        // SAFETY: by this function's contract the argument is there, and lives as long as the call.
        columns.push(unsafe {
            let vector = ffi::duckdb_data_chunk_get_vector(chunk, (leading + index) as ffi::idx_t);
            let rows = Rows::new(vector, target.start, target.rows);
            reading.read(rows, index, values, interned, unreadable)
        });
        if matches!(ready.how, How::Onnxruntime(_)) {
            texts.push(&interned.texts);
        }
    }
    match (ready.model.engine(), &ready.how) {
        (
            Engine::Native(program),
            How::Native {
                plan,
                columns: wanted,
            },
        ) => {
            let state = state.get_or_insert_with(|| program.state());
            let frame = program.run(plan, state, target.rows, &columns)?;
            errors.collect(
                wanted.error.map(|error| frame.column(error)),
                unreadable,
                target.rows,
            )?;
            let answer = Answer {
                index: wanted.index.map(|index| frame.column(index)),
                numbers: wanted
                    .numbers
                    .iter()
                    .map(|operand| frame.column(*operand))
                    .collect(),
            };
            // SAFETY: by this function's contract; the answer is what the shape asked for.
            unsafe { write(bound.shape, answer, errors, target) }
        }
        (Engine::Onnxruntime(session, _), How::Onnxruntime(wanted)) => {
            let found = session::run(session, wanted, &columns, &texts, target.rows)?;
            errors.collect(found.error(), unreadable, target.rows)?;
            // SAFETY: as above.
            unsafe { write(bound.shape, found.answer(bound.shape)?, errors, target) }
        }
        _ => Err(Error::Failed(
            "internal: the query was planned for another engine".into(),
        )),
    }
}
