//! The slots of onnxruntime's `OrtApi` that are used here, each where the C header has it.
//!
//! The struct is append-only, and version 17 of it (onnxruntime 1.17) has all of them: that is the version asked for.
//! Written by hand because `ort-sys` 2.0.0-rc.15 needs rustc 1.92, and because its Rust enums would be undefined
//! behaviour as soon as a library answers with an element type that they do not list: here such things are integers.

use std::ffi::{c_char, c_int, c_void};

/// What `OrtApiBase::get_api` is asked for.
pub const API_VERSION: u32 = 17;

/// `OrtLoggingLevel` 4: nothing but what ends the process.
pub const FATAL: c_int = 4;
/// `GraphOptimizationLevel`: 1 removes and folds; levels above replace operators by fused ones that round differently.
pub const BASIC: c_int = 1;
/// `ExecutionMode` 0: one operator after the other.
pub const SEQUENTIAL: c_int = 0;
/// `OrtAllocatorType` 0 and `OrtMemType` 0: plain memory of the processor.
pub const DEVICE_ALLOCATOR: c_int = 0;
/// `OrtAllocatorType` 1: memory that onnxruntime asks for in large pieces, up to a bound.
pub const ARENA_ALLOCATOR: c_int = 1;
pub const DEFAULT_MEMORY: c_int = 0;

macro_rules! opaque {
    ($($name:ident)*) => {$(
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        }
    )*};
}
opaque!(Env Status SessionObject SessionOptions RunOptions Value Allocator MemoryInfo TypeInfo TensorInfo ArenaConfig);

/// Null when the call went well; otherwise to be released.
pub type StatusPointer = *mut Status;
type Unused = *const c_void;

#[repr(C)]
pub struct ApiBase {
    pub get_api: unsafe extern "C" fn(version: u32) -> *const Api,
    pub get_version: unsafe extern "C" fn() -> *const c_char,
}

/// The first 253 slots. `_<n>_to_<m>` are slots that nobody calls.
#[repr(C)]
pub struct Api {
    _0_to_1: [Unused; 2],
    pub get_error_message: unsafe extern "C" fn(*const Status) -> *const c_char,
    pub create_env: unsafe extern "C" fn(
        level: c_int,
        name: *const c_char,
        out: *mut *mut Env,
    ) -> StatusPointer,
    _4_to_5: [Unused; 2],
    pub disable_telemetry: unsafe extern "C" fn(*const Env) -> StatusPointer,
    _7: Unused,
    pub create_session: unsafe extern "C" fn(
        *const Env,
        bytes: *const c_void,
        length: usize,
        *const SessionOptions,
        out: *mut *mut SessionObject,
    ) -> StatusPointer,
    pub run: unsafe extern "C" fn(
        *mut SessionObject,
        *const RunOptions,
        input_names: *const *const c_char,
        inputs: *const *const Value,
        input_count: usize,
        output_names: *const *const c_char,
        output_count: usize,
        outputs: *mut *mut Value,
    ) -> StatusPointer,
    pub create_options: unsafe extern "C" fn(out: *mut *mut SessionOptions) -> StatusPointer,
    _11_to_12: [Unused; 2],
    pub set_execution_mode: unsafe extern "C" fn(*mut SessionOptions, mode: c_int) -> StatusPointer,
    _14_to_21: [Unused; 8],
    pub set_log_severity: unsafe extern "C" fn(*mut SessionOptions, level: c_int) -> StatusPointer,
    pub set_optimization: unsafe extern "C" fn(*mut SessionOptions, level: c_int) -> StatusPointer,
    pub set_intra_op_threads:
        unsafe extern "C" fn(*mut SessionOptions, threads: c_int) -> StatusPointer,
    pub set_inter_op_threads:
        unsafe extern "C" fn(*mut SessionOptions, threads: c_int) -> StatusPointer,
    _26_to_29: [Unused; 4],
    pub input_count: unsafe extern "C" fn(*const SessionObject, out: *mut usize) -> StatusPointer,
    pub output_count: unsafe extern "C" fn(*const SessionObject, out: *mut usize) -> StatusPointer,
    _32: Unused,
    pub input_type:
        unsafe extern "C" fn(*const SessionObject, usize, out: *mut *mut TypeInfo) -> StatusPointer,
    pub output_type:
        unsafe extern "C" fn(*const SessionObject, usize, out: *mut *mut TypeInfo) -> StatusPointer,
    _35: Unused,
    pub input_name: unsafe extern "C" fn(
        *const SessionObject,
        usize,
        *mut Allocator,
        out: *mut *mut c_char,
    ) -> StatusPointer,
    pub output_name: unsafe extern "C" fn(
        *const SessionObject,
        usize,
        *mut Allocator,
        out: *mut *mut c_char,
    ) -> StatusPointer,
    _38_to_47: [Unused; 10],
    pub create_tensor: unsafe extern "C" fn(
        *mut Allocator,
        shape: *const i64,
        rank: usize,
        element: c_int,
        out: *mut *mut Value,
    ) -> StatusPointer,
    pub create_tensor_over: unsafe extern "C" fn(
        *const MemoryInfo,
        memory: *mut c_void,
        bytes: usize,
        shape: *const i64,
        rank: usize,
        element: c_int,
        out: *mut *mut Value,
    ) -> StatusPointer,
    pub is_tensor: unsafe extern "C" fn(*const Value, out: *mut c_int) -> StatusPointer,
    pub tensor_memory: unsafe extern "C" fn(*mut Value, out: *mut *mut c_void) -> StatusPointer,
    _52_to_54: [Unused; 3],
    /// Null where the type is not a tensor; owned by the `TypeInfo`.
    pub as_tensor_info:
        unsafe extern "C" fn(*const TypeInfo, out: *mut *const TensorInfo) -> StatusPointer,
    _56_to_59: [Unused; 4],
    pub element_type: unsafe extern "C" fn(*const TensorInfo, out: *mut c_int) -> StatusPointer,
    pub rank: unsafe extern "C" fn(*const TensorInfo, out: *mut usize) -> StatusPointer,
    pub dimensions:
        unsafe extern "C" fn(*const TensorInfo, out: *mut i64, rank: usize) -> StatusPointer,
    _63_to_64: [Unused; 2],
    pub tensor_info: unsafe extern "C" fn(*const Value, out: *mut *mut TensorInfo) -> StatusPointer,
    _66_to_68: [Unused; 3],
    pub create_memory_info:
        unsafe extern "C" fn(c_int, c_int, out: *mut *mut MemoryInfo) -> StatusPointer,
    _70_to_75: [Unused; 6],
    pub allocator_free: unsafe extern "C" fn(*mut Allocator, *mut c_void) -> StatusPointer,
    _77: Unused,
    pub default_allocator: unsafe extern "C" fn(out: *mut *mut Allocator) -> StatusPointer,
    _79_to_91: [Unused; 13],
    pub release_env: unsafe extern "C" fn(*mut Env),
    pub release_status: unsafe extern "C" fn(*mut Status),
    pub release_memory_info: unsafe extern "C" fn(*mut MemoryInfo),
    pub release_session: unsafe extern "C" fn(*mut SessionObject),
    pub release_value: unsafe extern "C" fn(*mut Value),
    _97: Unused,
    pub release_type_info: unsafe extern "C" fn(*mut TypeInfo),
    pub release_tensor_info: unsafe extern "C" fn(*mut TensorInfo),
    pub release_options: unsafe extern "C" fn(*mut SessionOptions),
    _101_to_129: [Unused; 29],
    pub add_config: unsafe extern "C" fn(
        *mut SessionOptions,
        key: *const c_char,
        value: *const c_char,
    ) -> StatusPointer,
    _131_to_143: [Unused; 13],
    pub register_allocator:
        unsafe extern "C" fn(*mut Env, *const MemoryInfo, *const ArenaConfig) -> StatusPointer,
    _145_to_155: [Unused; 11],
    /// -1 in the last three is onnxruntime's own choice.
    pub create_arena_config: unsafe extern "C" fn(
        most: usize,
        strategy: c_int,
        first_bytes: c_int,
        dead_bytes: c_int,
        out: *mut *mut ArenaConfig,
    ) -> StatusPointer,
    pub release_arena_config: unsafe extern "C" fn(*mut ArenaConfig),
    _158_to_251: [Unused; 94],
    /// Takes the length of a text, so that one with a zero byte in it arrives whole.
    pub text_memory: unsafe extern "C" fn(
        *mut Value,
        index: usize,
        length: usize,
        out: *mut *mut c_char,
    ) -> StatusPointer,
}

#[cfg(test)]
mod tests {
    use super::Api;
    use std::mem::{offset_of, size_of};

    /// The numbers are those of `onnxruntime_c_api.h`, where static assertions pin 101 (`ReleaseCustomOpDomain`) and
    /// 254 (`GetBuildInfoString`), two after the last one here.
    #[test]
    fn slots_are_where_the_header_has_them() {
        let slot = |offset: usize| offset / size_of::<usize>();
        assert_eq!(slot(offset_of!(Api, run)), 9);
        assert_eq!(slot(offset_of!(Api, set_inter_op_threads)), 25);
        assert_eq!(slot(offset_of!(Api, output_name)), 37);
        assert_eq!(slot(offset_of!(Api, create_tensor_over)), 49);
        assert_eq!(slot(offset_of!(Api, as_tensor_info)), 55);
        assert_eq!(slot(offset_of!(Api, tensor_info)), 65);
        assert_eq!(slot(offset_of!(Api, default_allocator)), 78);
        assert_eq!(slot(offset_of!(Api, release_options)), 100);
        assert_eq!(slot(offset_of!(Api, add_config)), 130);
        assert_eq!(slot(offset_of!(Api, register_allocator)), 144);
        assert_eq!(slot(offset_of!(Api, create_arena_config)), 156);
        assert_eq!(slot(size_of::<Api>()), 253);
    }
}
