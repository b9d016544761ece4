//! One chunk through a session: columns in, numbers out.

use super::answer::Tensor;
use super::api::Value;
use super::give::{Column, Given};
use super::library::{done, failed, Library};
use super::session::{Port, Session};
use crate::error::Result;
use std::ffi::c_char;
use std::ptr::{null, null_mut};

/// With onnxruntime's words, or ours about what it was given.
pub type Outcome<T> = std::result::Result<T, String>;

impl Session {
    /// The wanted outputs (by their place in `outputs()`) for `rows` rows.
    pub fn run(
        &self,
        columns: &[Column<'_>],
        rows: usize,
        wanted: &[usize],
    ) -> Result<Vec<Tensor>> {
        self.run_or_say(columns, rows, wanted).map_err(failed)
    }

    fn run_or_say(
        &self,
        columns: &[Column<'_>],
        rows: usize,
        wanted: &[usize],
    ) -> Outcome<Vec<Tensor>> {
        let outputs: Vec<&Port> = wanted
            .iter()
            .map(|&index| {
                self.outputs()
                    .get(index)
                    .ok_or_else(|| format!("there is no output {index}"))
            })
            .collect::<Outcome<_>>()?;
        let widths = self.widths(columns.len())?;
        let mut rest = columns;
        let mut given = Vec::with_capacity(widths.len());
        for (port, &width) in self.inputs().iter().zip(&widths) {
            let (mine, others) = rest.split_at(width); // widths() made sure of the sum
            given.push(Given::new(self.library, port, mine, rows)?);
            rest = others;
        }
        let input_names: Vec<*const c_char> = self
            .inputs()
            .iter()
            .map(|port| port.name.as_ptr())
            .collect();
        let input_values: Vec<*const Value> = given
            .iter()
            .map(|one| one.value.pointer.cast_const())
            .collect();
        let output_names: Vec<*const c_char> =
            outputs.iter().map(|port| port.name.as_ptr()).collect();
        let mut found: Vec<*mut Value> = vec![null_mut(); outputs.len()];
        let api = self.library.api;
        // SAFETY: names and values are as many as is said, and live until the call returns; onnxruntime does not write
        // to its inputs. What it made belongs to us, also when it failed half-way.
        let outcome = unsafe {
            done(
                api,
                (api.run)(
                    self.object,
                    null(),
                    input_names.as_ptr(),
                    input_values.as_ptr(),
                    input_values.len(),
                    output_names.as_ptr(),
                    output_names.len(),
                    found.as_mut_ptr(),
                ),
            )
        };
        let found: Vec<Owned> = found
            .into_iter()
            .map(|pointer| Owned {
                library: self.library,
                pointer,
            })
            .collect();
        outcome?;
        found
            .iter()
            .zip(outputs)
            .map(|(value, port)| value.numbers(rows, port))
            .collect()
    }

    /// How many columns each input takes. One input may leave its width open: it takes what the others do not.
    fn widths(&self, columns: usize) -> Outcome<Vec<usize>> {
        let known: usize = self.inputs().iter().filter_map(Port::width).sum();
        let open = self
            .inputs()
            .iter()
            .filter(|port| port.width().is_none())
            .count();
        let left = match columns.checked_sub(known) {
            Some(0) if open == 0 => 0,
            Some(left) if open == 1 && left > 0 => left,
            _ if open > 1 => return Err("several inputs leave their width open".to_owned()),
            _ => {
                let more = if open == 1 { " or more" } else { "" };
                return Err(format!(
                    "the model takes {}{more} columns, got {columns}",
                    known + open
                ));
            }
        };
        Ok(self
            .inputs()
            .iter()
            .map(|port| port.width().unwrap_or(left))
            .collect())
    }
}

/// A value of onnxruntime's that is released with this; null where a run failed before making it.
pub struct Owned {
    pub library: &'static Library,
    pub pointer: *mut Value,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: ours, and released once.
            unsafe { (self.library.api.release_value)(self.pointer) }
        }
    }
}
