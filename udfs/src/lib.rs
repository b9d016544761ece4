//! sqlml's native engine: registered ONNX models as functions of DuckDB, one binary for every client.

pub mod cache;
pub mod duckdb;
pub mod error;
pub mod explain;
pub mod isa;
pub mod kernels;
pub mod lower;
pub mod model;
pub mod onnx;
pub mod onnxruntime;
pub mod program;
pub mod trees;

use duckdb::handle::c_string;
use libduckdb_sys as ffi;
use std::panic::catch_unwind;

/// The C API that is asked for, and that `build.py` stamps: the first one with bind callbacks. DuckDB 1.5.6 and 2.0.0 both
/// serve it to the same binary; a v2 stamp is refused by both.
const API_VERSION: &str = "v1.5.6";

/// # Safety
/// For DuckDB only, on LOAD: the pointers are those that it gives to every extension.
#[no_mangle]
pub unsafe extern "C" fn sqlml_init_c_api(
    info: ffi::duckdb_extension_info,
    access: *const ffi::duckdb_extension_access,
) -> bool {
    let outcome = catch_unwind(|| {
        // SAFETY: by this function's contract.
        unsafe { start(info, access) }
    });
    let error = match outcome {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error,
        Err(_) => "sqlml: internal error while it was loaded".to_owned(),
    };
    // SAFETY: by this function's contract; the text is copied.
    unsafe {
        if let Some(set_error) = access.as_ref().and_then(|access| access.set_error) {
            set_error(info, c_string(&error).as_ptr());
        }
    }
    false
}

/// # Safety
/// As `sqlml_init_c_api`.
unsafe fn start(
    info: ffi::duckdb_extension_info,
    access: *const ffi::duckdb_extension_access,
) -> Result<(), String> {
    cache::check_environment()?;
    isa::check_environment()?;
    // SAFETY: by this function's contract. The connection is closed again: one that is kept would keep the database open.
    unsafe {
        match ffi::duckdb_rs_extension_api_init(info, access, API_VERSION) {
            Ok(true) => {}
            _ => {
                return Err(format!(
                    "sqlml: this DuckDB has no C API {API_VERSION}: it needs DuckDB 1.5.6 or newer"
                ))
            }
        }
        let database = access
            .as_ref()
            .and_then(|access| access.get_database)
            .map(|get| get(info));
        let Some(database) = database.filter(|database| !database.is_null()) else {
            return Err("sqlml: DuckDB gave no database".into());
        };
        let mut connection: ffi::duckdb_connection = std::ptr::null_mut();
        if ffi::duckdb_connect(*database, &mut connection) != ffi::DuckDBSuccess {
            return Err("sqlml: cannot connect to the database".into());
        }
        let outcome = duckdb::register::register(connection);
        ffi::duckdb_disconnect(&mut connection);
        outcome
    }
}
