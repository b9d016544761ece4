//! A model opened in onnxruntime: its ports, and how it is set up.

use super::api::{
    Allocator, SessionObject, SessionOptions, TensorInfo, TypeInfo, BASIC, FATAL, SEQUENTIAL,
};
use super::library::{done, failed, library, Library};
use crate::error::Result;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut};

/// No table is so wide; a graph that says so is not believed.
const MAX_WIDTH: usize = 65_536;
const MAX_RANK: usize = 8;

/// What the elements of a port are, with the numbers of `ONNXTensorElementDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    I32,
    I64,
    Bool,
    Text,
    /// A tensor of another type, or no tensor at all (a ZipMap gives a sequence of maps).
    Other(c_int),
}

impl Kind {
    pub fn of(element: c_int) -> Kind {
        match element {
            1 => Kind::F32,
            6 => Kind::I32,
            7 => Kind::I64,
            8 => Kind::Text,
            9 => Kind::Bool,
            11 => Kind::F64,
            other => Kind::Other(other),
        }
    }

    pub fn element(self) -> c_int {
        match self {
            Kind::F32 => 1,
            Kind::I32 => 6,
            Kind::I64 => 7,
            Kind::Text => 8,
            Kind::Bool => 9,
            Kind::F64 => 11,
            Kind::Other(element) => element,
        }
    }

    pub fn is_numeric(self) -> bool {
        !matches!(self, Kind::Text | Kind::Other(_))
    }
}

/// An input or an output.
#[derive(Debug)]
pub struct Port {
    pub name: CString,
    pub kind: Kind,
    /// Dimensions after the first one (rows); -1 where the graph leaves one open.
    pub rest: Vec<i64>,
}

impl Port {
    /// How many columns it has, where the graph says so.
    pub fn width(&self) -> Option<usize> {
        let product = self.rest.iter().try_fold(1_usize, |product, &size| {
            product.checked_mul(usize::try_from(size).ok()?)
        })?;
        (product <= MAX_WIDTH).then_some(product)
    }

    pub fn shown(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }
}

/// A model that onnxruntime has read. `run` is in `run.rs`.
pub struct Session {
    pub(super) library: &'static Library,
    pub(super) object: *mut SessionObject,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

// SAFETY: onnxruntime's Run may be called from several threads at once, and nothing else changes a session.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session is ours, and nobody runs it: they would hold a reference.
        unsafe { (self.library.api.release_session)(self.object) }
    }
}

impl Session {
    pub fn load(bytes: &[u8]) -> Result<Session> {
        let library = library()?;
        let object = create(library, bytes).map_err(failed)?;
        // From here on the session is released whatever happens.
        let mut session = Session {
            library,
            object,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        session.inputs = session.ports(true).map_err(failed)?;
        session.outputs = session.ports(false).map_err(failed)?;
        if let Some(port) = session
            .inputs
            .iter()
            .find(|port| matches!(port.kind, Kind::Other(_)))
        {
            let Kind::Other(element) = port.kind else {
                return Ok(session);
            };
            return Err(failed(format!(
                "input {:?} is of ONNX element type {element}; numbers, booleans and texts can be given",
                port.shown()
            )));
        }
        Ok(session)
    }

    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The place of the output called `name`.
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs
            .iter()
            .position(|port| port.name.as_bytes() == name.as_bytes())
    }

    /// Where the library is and which one: for `sqlml_describe`.
    pub fn about(&self) -> String {
        format!(
            "onnxruntime {} ({})",
            self.library.version, self.library.path
        )
    }

    fn ports(&self, is_input: bool) -> std::result::Result<Vec<Port>, String> {
        let api = self.library.api;
        let (count_of, type_of, name_of) = if is_input {
            (api.input_count, api.input_type, api.input_name)
        } else {
            (api.output_count, api.output_type, api.output_name)
        };
        let mut count = 0;
        // SAFETY: an open session and a live out pointer.
        unsafe { done(api, count_of(self.object, &mut count))? };
        (0..count)
            .map(|index| {
                let (mut allocator, mut name): (*mut Allocator, *mut c_char) =
                    (null_mut(), null_mut());
                // SAFETY: index < count. The name is the default allocator's memory and given back to it.
                let name = unsafe {
                    done(api, (api.default_allocator)(&mut allocator))?;
                    done(api, name_of(self.object, index, allocator, &mut name))?;
                    let copy = CStr::from_ptr(name).to_owned();
                    done(api, (api.allocator_free)(allocator, name.cast()))?;
                    copy
                };
                let mut info: *mut TypeInfo = null_mut();
                // SAFETY: index < count; the type description is released after its last use.
                let found = unsafe {
                    done(api, type_of(self.object, index, &mut info))?;
                    let found = described(self.library, info);
                    (api.release_type_info)(info);
                    found
                };
                let (kind, mut dimensions) = found?;
                if !dimensions.is_empty() {
                    dimensions.remove(0);
                }
                Ok(Port {
                    name,
                    kind,
                    rest: dimensions,
                })
            })
            .collect()
    }
}

/// Releases what it holds when a step in between fails.
struct Options(&'static Library, *mut SessionOptions);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by create_options and released once.
        unsafe { (self.0.api.release_options)(self.1) }
    }
}

/// The same settings as the `python` engine's, so that both give the same bits.
fn create(
    library: &'static Library,
    bytes: &[u8],
) -> std::result::Result<*mut SessionObject, String> {
    let api = library.api;
    let (mut options, mut session) = (null_mut(), null_mut());
    // SAFETY: live out pointers; the bytes are copied by onnxruntime before the call returns.
    unsafe {
        done(api, (api.create_options)(&mut options))?;
        let options = Options(library, options);
        done(api, (api.set_intra_op_threads)(options.1, 1))?; // DuckDB brings the threads
        done(api, (api.set_inter_op_threads)(options.1, 1))?;
        done(api, (api.set_execution_mode)(options.1, SEQUENTIAL))?;
        done(api, (api.set_optimization)(options.1, BASIC))?;
        done(api, (api.set_log_severity)(options.1, FATAL))?;
        // The bounded one of `library::bound`, instead of one without bounds for each session.
        let key = c"session.use_env_allocators".as_ptr();
        done(api, (api.add_config)(options.1, key, c"1".as_ptr()))?;
        let start: *const c_void = bytes.as_ptr().cast();
        done(
            api,
            (api.create_session)(library.env, start, bytes.len(), options.1, &mut session),
        )?;
    }
    Ok(session)
}

/// # Safety
/// `info` is a type description that is not released yet.
unsafe fn described(
    library: &Library,
    info: *const TypeInfo,
) -> std::result::Result<(Kind, Vec<i64>), String> {
    let mut tensor: *const TensorInfo = null();
    // SAFETY: the caller's promise; what comes back belongs to `info`.
    unsafe {
        done(library.api, (library.api.as_tensor_info)(info, &mut tensor))?;
        if tensor.is_null() {
            Ok((Kind::Other(0), Vec::new()))
        } else {
            shape(library, tensor)
        }
    }
}

/// Element type and dimensions.
///
/// # Safety
/// `tensor` is a tensor description that is not released yet.
pub(super) unsafe fn shape(
    library: &Library,
    tensor: *const TensorInfo,
) -> std::result::Result<(Kind, Vec<i64>), String> {
    let api = library.api;
    let (mut element, mut rank) = (0, 0);
    // SAFETY: the caller's promise; the vector has as many places as are asked to be filled.
    unsafe {
        done(api, (api.element_type)(tensor, &mut element))?;
        done(api, (api.rank)(tensor, &mut rank))?;
        if rank > MAX_RANK {
            return Err(format!("a tensor of {rank} dimensions"));
        }
        let mut dimensions = vec![0; rank];
        done(api, (api.dimensions)(tensor, dimensions.as_mut_ptr(), rank))?;
        Ok((Kind::of(element), dimensions))
    }
}
