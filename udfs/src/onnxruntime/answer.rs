//! Onnxruntime's tensors as numbers.

use super::api::TensorInfo;
use super::library::done;
use super::run::{Outcome, Owned};
use super::session::{shape, Kind, Port};
use std::ffi::c_void;
use std::ptr::null_mut;

/// A chunk may answer so many values; a graph that gives more (a Tile, an outer product) is refused.
const MAX_VALUES: usize = 1 << 28;

/// The answer of one output, row after row.
#[derive(Debug, PartialEq)]
pub struct Tensor {
    pub width: usize,
    pub values: Values,
}

#[derive(Debug, PartialEq)]
pub enum Values {
    F64(Vec<f64>),
    I64(Vec<i64>),
}

impl Owned {
    /// A copy of the numbers, which must be a row's width for every row.
    pub fn numbers(&self, rows: usize, port: &Port) -> Outcome<Tensor> {
        let (library, api) = (self.library, self.library.api);
        let about = |what: String| format!("output {:?} {what}", port.shown());
        if self.pointer.is_null() {
            return Err(about("was not made".to_owned()));
        }
        let mut is_tensor = 0;
        let mut info: *mut TensorInfo = null_mut();
        // SAFETY: a value of onnxruntime's; the description is released after its last use.
        let (kind, dimensions) = unsafe {
            done(api, (api.is_tensor)(self.pointer, &mut is_tensor))?;
            if is_tensor == 0 {
                return Err(about("is not a tensor".to_owned()));
            }
            done(api, (api.tensor_info)(self.pointer, &mut info))?;
            let found = shape(library, info);
            (api.release_tensor_info)(info);
            found?
        };
        let total = dimensions.iter().try_fold(1_usize, |product, &size| {
            product.checked_mul(usize::try_from(size).ok()?)
        });
        let total = total
            .filter(|&total| total <= MAX_VALUES)
            .ok_or_else(|| about("is too large".to_owned()))?;
        if rows == 0
            || total % rows != 0
            || dimensions
                .first()
                .is_none_or(|&first| usize::try_from(first) != Ok(rows))
        {
            return Err(about(format!(
                "has the shape {dimensions:?} for {rows} rows"
            )));
        }
        let mut memory: *mut c_void = null_mut();
        if !kind.is_numeric() {
            return Err(about("is not numeric".to_owned()));
        }
        // SAFETY: a tensor of numbers.
        unsafe { done(api, (api.tensor_memory)(self.pointer, &mut memory))? };
        // SAFETY: onnxruntime's memory of that element type, `total` long, until the value is released.
        let values = unsafe {
            match kind {
                Kind::F64 => Values::F64(copied(memory, total, |v: f64| v)),
                Kind::F32 => Values::F64(copied(memory, total, |v: f32| f64::from(v))),
                Kind::I32 => Values::I64(copied(memory, total, |v: i32| i64::from(v))),
                Kind::I64 => Values::I64(copied(memory, total, |v: i64| v)),
                _ => Values::I64(copied(memory, total, |v: u8| i64::from(v != 0))),
            }
        };
        Ok(Tensor {
            width: total / rows,
            values,
        })
    }
}

/// # Safety
/// `memory` holds `length` values of `T`, or is null or anything at all where `length` is 0.
unsafe fn copied<T: Copy, U>(
    memory: *const c_void,
    length: usize,
    convert: impl Fn(T) -> U,
) -> Vec<U> {
    if length == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise; onnxruntime aligns its tensors.
    unsafe { std::slice::from_raw_parts(memory.cast::<T>(), length) }
        .iter()
        .map(|&value| convert(value))
        .collect()
}
