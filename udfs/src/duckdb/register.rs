//! Everything that the extension adds to a database.

use super::bind::Function;
use super::handle::{c_string, LogicalType};
use super::leading::Leading;
use super::shapes::{Shape, Types};
use super::{admin, execute, tables, take};
use libduckdb_sys as ffi;
use std::ffi::c_void;

/// A scalar function's code: bind and per-thread state are optional.
#[derive(Clone, Copy)]
pub struct Callbacks {
    pub bind: ffi::duckdb_scalar_function_bind_t,
    pub init: ffi::duckdb_scalar_function_init_t,
    pub run: ffi::duckdb_scalar_function_t,
}

/// A scalar function being made.
pub struct Scalar {
    name: String,
    function: ffi::duckdb_scalar_function,
}

impl Scalar {
    pub fn new(
        name: &str,
        parameters: &[LogicalType],
        result: &LogicalType,
        callbacks: Callbacks,
    ) -> Scalar {
        // SAFETY: the function is new; names and types are copied.
        let function = unsafe {
            let function = ffi::duckdb_create_scalar_function();
            ffi::duckdb_scalar_function_set_name(function, c_string(name).as_ptr());
            for parameter in parameters {
                ffi::duckdb_scalar_function_add_parameter(function, parameter.raw());
            }
            ffi::duckdb_scalar_function_set_return_type(function, result.raw());
            if callbacks.bind.is_some() {
                ffi::duckdb_scalar_function_set_bind(function, callbacks.bind);
            }
            if callbacks.init.is_some() {
                ffi::duckdb_scalar_function_set_init(function, callbacks.init);
            }
            ffi::duckdb_scalar_function_set_function(function, callbacks.run);
            function
        };
        Scalar {
            name: name.to_owned(),
            function,
        }
    }

    /// Any number of arguments of any type after the parameters; NULLs reach the function.
    pub fn with_columns(self) -> Scalar {
        // SAFETY: the function is live; the type is copied.
        unsafe {
            ffi::duckdb_scalar_function_set_varargs(self.function, LogicalType::any().raw());
            ffi::duckdb_scalar_function_set_special_handling(self.function);
        }
        self
    }

    /// NULLs reach the function; without this DuckDB answers a literal NULL with NULL itself.
    pub fn with_nulls(self) -> Scalar {
        // SAFETY: the function is live.
        unsafe { ffi::duckdb_scalar_function_set_special_handling(self.function) };
        self
    }

    /// Not folded: called each time that a query runs.
    pub fn volatile(self) -> Scalar {
        // SAFETY: the function is live.
        unsafe { ffi::duckdb_scalar_function_set_volatile(self.function) };
        self
    }

    /// What the callbacks find as extra info.
    ///
    /// Two calls in one SELECT list are evaluated once if DuckDB finds them equal: the same arguments, and the same extra
    /// info and code (`CScalarFunctionBindData::Equals`; bind data is not compared). So it is one allocation per function.
    pub fn with_extra<T: Copy + Send + 'static>(self, extra: T) -> Scalar {
        unsafe extern "C" fn free<T>(extra: *mut c_void) {
            // SAFETY: `extra` is the box that was given away below.
            drop(unsafe { Box::from_raw(extra.cast::<T>()) });
        }
        let extra = Box::into_raw(Box::new(extra)).cast::<c_void>();
        // SAFETY: the function is live, and frees what it is given.
        unsafe {
            ffi::duckdb_scalar_function_set_extra_info(self.function, extra, Some(free::<T>))
        };
        self
    }

    /// # Safety
    /// The connection is live.
    pub unsafe fn register(self, connection: ffi::duckdb_connection) -> Result<(), String> {
        // SAFETY: by this function's contract; DuckDB copies the function.
        let state = unsafe { ffi::duckdb_register_scalar_function(connection, self.function) };
        match state == ffi::DuckDBSuccess {
            true => Ok(()),
            false => Err(format!("sqlml: cannot register {}", self.name)),
        }
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        // SAFETY: owned, and not used again.
        unsafe { ffi::duckdb_destroy_scalar_function(&mut self.function) };
    }
}

/// # Safety
/// The connection is live, and the C API is there.
pub unsafe fn register(connection: ffi::duckdb_connection) -> Result<(), String> {
    // SAFETY: by this function's contract.
    unsafe {
        let types = Types::new();
        // Measured: 10 ms of CPU for all 400 functions, in both versions; a type and its field names made anew for each
        // function took 80 ms.
        for shape in Shape::all() {
            for function in scoring(shape, &types) {
                function.register(connection)?;
            }
        }
        for function in admin::functions() {
            function.register(connection)?;
        }
        take::function().register(connection)?;
        tables::register(connection)
    }
}

/// The functions of one shape of answer.
fn scoring(shape: Shape, types: &Types) -> impl Iterator<Item = Scalar> {
    let callbacks = Callbacks {
        bind: Some(execute::bind),
        init: Some(execute::init),
        run: Some(execute::execute),
    };
    let result = shape.result(types);
    Leading::ALL.into_iter().map(move |leading| {
        let function = Function { shape, leading };
        Scalar::new(&function.name(), &leading.parameters(), &result, callbacks)
            .with_columns()
            .with_extra(function)
    })
}
