//! DuckDB's columns as onnxruntime's tensors.

use super::api::{Allocator, Value};
use super::library::{done, Library};
use super::run::{Outcome, Owned};
use super::session::{Kind, Port};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

/// The values of one column, at least as many as there are rows, or one value for all rows.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    I64(&'a [i64]),
    Bool(&'a [bool]),
    Text(&'a [&'a [u8]]),
    Number(f64),
    Whole(i64),
    OneText(&'a [u8]),
}

/// Memory that an input tensor lies over. Fields drop in order: the tensor goes before its memory.
pub struct Given<'a> {
    pub value: Owned,
    _memory: Memory<'a>,
}

enum Memory<'a> {
    Borrowed(&'a [f64]),
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
    /// Texts are copied into the tensor.
    None,
}

impl<'a> Given<'a> {
    pub fn new(
        library: &'static Library,
        port: &Port,
        columns: &[Column<'a>],
        rows: usize,
    ) -> Outcome<Given<'a>> {
        let shape = shape_for(port, columns.len(), rows)?;
        let mut memory = memory_for(port.kind, columns, rows)?;
        let (start, bytes): (*mut c_void, usize) = match &mut memory {
            Memory::Borrowed(values) => (values.as_ptr().cast_mut().cast(), size_of_val(*values)),
            Memory::F64(values) => (values.as_mut_ptr().cast(), size_of_val(values.as_slice())),
            Memory::F32(values) => (values.as_mut_ptr().cast(), size_of_val(values.as_slice())),
            Memory::I64(values) => (values.as_mut_ptr().cast(), size_of_val(values.as_slice())),
            Memory::I32(values) => (values.as_mut_ptr().cast(), size_of_val(values.as_slice())),
            Memory::Bool(values) => (values.as_mut_ptr().cast(), size_of_val(values.as_slice())),
            Memory::None => {
                return Ok(Given {
                    value: text_tensor(library, port, columns, rows, &shape)?,
                    _memory: memory,
                })
            }
        };
        let mut pointer = null_mut();
        // SAFETY: the memory is as long as is said and outlives the tensor (it moves, but what it points to does not);
        // onnxruntime does not write to inputs of a run.
        unsafe {
            let (api, element) = (library.api, port.kind.element());
            let over = api.create_tensor_over;
            done(
                api,
                over(
                    library.memory,
                    start,
                    bytes,
                    shape.as_ptr(),
                    shape.len(),
                    element,
                    &mut pointer,
                ),
            )?;
        }
        Ok(Given {
            value: Owned { library, pointer },
            _memory: memory,
        })
    }
}

/// [rows, ...] as the graph has it; an open dimension takes the columns that are left.
fn shape_for(port: &Port, width: usize, rows: usize) -> Outcome<Vec<i64>> {
    let unfit = || {
        format!(
            "input {:?} of shape {:?} cannot take {width} columns",
            port.shown(),
            port.rest
        )
    };
    let whole = |size: usize| i64::try_from(size).map_err(|_| unfit());
    let mut fixed = port.rest.iter().filter(|&&size| size >= 0);
    let known = fixed
        .try_fold(1_i64, |product, &size| product.checked_mul(size))
        .ok_or_else(unfit)?;
    let open = whole(width)?.checked_div(known).ok_or_else(unfit)?;
    let mut shape = vec![whole(rows)?];
    shape.extend(
        port.rest
            .iter()
            .map(|&size| if size < 0 { open } else { size }),
    );
    // Also false where two dimensions are open, and where the columns do not fill the open one.
    let taken = shape
        .iter()
        .skip(1)
        .try_fold(1_i64, |product, &size| product.checked_mul(size));
    if taken == Some(whole(width)?) {
        Ok(shape)
    } else {
        Err(unfit())
    }
}

fn memory_for<'a>(kind: Kind, columns: &[Column<'a>], rows: usize) -> Outcome<Memory<'a>> {
    Ok(match (kind, columns) {
        (Kind::F64, [Column::F64(values)]) => {
            Memory::Borrowed(values.get(..rows).ok_or("a column is too short")?)
        }
        (Kind::F64, _) => Memory::F64(interleaved(
            columns,
            rows,
            |number| number,
            |whole| whole as f64,
        )?),
        (Kind::F32, _) => Memory::F32(interleaved(
            columns,
            rows,
            |number| number as f32,
            |whole| whole as f32,
        )?),
        // `as` saturates and makes 0 of NaN: a graph that takes integers has no way to be told of a missing one.
        (Kind::I64, _) => Memory::I64(interleaved(
            columns,
            rows,
            |number| number as i64,
            |whole| whole,
        )?),
        (Kind::I32, _) => Memory::I32(interleaved(
            columns,
            rows,
            |number| number as i32,
            |whole| whole as i32,
        )?),
        (Kind::Bool, _) => Memory::Bool(interleaved(
            columns,
            rows,
            |number| number != 0.0,
            |whole| whole != 0,
        )?),
        (Kind::Text | Kind::Other(_), _) => Memory::None,
    })
}

/// Row-major values out of columns.
fn interleaved<T: Copy + Default>(
    columns: &[Column<'_>],
    rows: usize,
    number: impl Fn(f64) -> T,
    whole: impl Fn(i64) -> T,
) -> Outcome<Vec<T>> {
    let width = columns.len();
    let mut values = vec![T::default(); rows.checked_mul(width).ok_or("too many values")?];
    for (place, column) in columns.iter().enumerate() {
        let into = values.iter_mut().skip(place).step_by(width);
        let length = match column {
            Column::F64(from) => fill(into, from, |&v| number(v)),
            Column::F32(from) => fill(into, from, |&v| number(f64::from(v))),
            Column::I64(from) => fill(into, from, |&v| whole(v)),
            Column::Bool(from) => fill(into, from, |&v| whole(i64::from(v))),
            Column::Number(one) => fill_with(into, number(*one), rows),
            Column::Whole(one) => fill_with(into, whole(*one), rows),
            Column::Text(_) | Column::OneText(_) => {
                return Err("text was given where the model takes numbers".into())
            }
        };
        if length < rows {
            return Err("a column is too short".into());
        }
    }
    Ok(values)
}

fn fill<'v, S, T: 'v>(
    into: impl Iterator<Item = &'v mut T>,
    from: &[S],
    convert: impl Fn(&S) -> T,
) -> usize {
    into.zip(from)
        .for_each(|(place, value)| *place = convert(value));
    from.len()
}

fn fill_with<'v, T: Copy + 'v>(
    into: impl Iterator<Item = &'v mut T>,
    value: T,
    rows: usize,
) -> usize {
    into.for_each(|place| *place = value);
    rows
}

fn text_tensor(
    library: &'static Library,
    port: &Port,
    columns: &[Column<'_>],
    rows: usize,
    shape: &[i64],
) -> Outcome<Owned> {
    let api = library.api;
    let (mut allocator, mut pointer): (*mut Allocator, *mut Value) = (null_mut(), null_mut());
    // SAFETY: live out pointers, and a shape as long as is said.
    let tensor = unsafe {
        done(api, (api.default_allocator)(&mut allocator))?;
        let element = Kind::Text.element();
        done(
            api,
            (api.create_tensor)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                element,
                &mut pointer,
            ),
        )?;
        Owned { library, pointer }
    };
    for (place, column) in columns.iter().enumerate() {
        for row in 0..rows {
            let text = match column {
                Column::Text(values) => values.get(row).ok_or("a column is too short")?,
                Column::OneText(text) => text,
                _ => return Err(format!("input {:?} takes text", port.shown())),
            };
            let mut memory: *mut c_char = null_mut();
            // SAFETY: the index is inside the tensor; the memory has as many bytes as were asked for.
            unsafe {
                let index = row * columns.len() + place;
                done(
                    api,
                    (api.text_memory)(tensor.pointer, index, text.len(), &mut memory),
                )?;
                std::ptr::copy_nonoverlapping(text.as_ptr().cast(), memory, text.len());
            }
        }
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    fn columns_become_rows() {
        let columns = [
            Column::F64(&[1.0, 2.0]),
            Column::I64(&[3, 4]),
            Column::Number(5.0),
        ];
        let rows = interleaved(&columns, 2, |v| v as f32, |v| v as f32).expect("numbers");
        assert_eq!(rows, [1.0, 3.0, 5.0, 2.0, 4.0, 5.0]);
    }

    #[test]
    fn a_short_column_and_a_text_are_refused() {
        assert!(interleaved(&[Column::F64(&[1.0])], 2, |v| v, |v| v as f64).is_err());
        assert!(interleaved(&[Column::OneText(b"a")], 2, |v| v, |v| v as f64).is_err());
    }

    #[test]
    fn an_open_dimension_takes_what_is_left() {
        let port = |rest: &[i64]| Port {
            name: CString::default(),
            kind: Kind::F32,
            rest: rest.to_vec(),
        };
        assert_eq!(shape_for(&port(&[-1]), 4, 7), Ok(vec![7, 4]));
        assert_eq!(shape_for(&port(&[2, -1]), 4, 7), Ok(vec![7, 2, 2]));
        assert_eq!(shape_for(&port(&[]), 1, 7), Ok(vec![7]));
        assert!(shape_for(&port(&[-1, -1]), 4, 7).is_err());
        assert!(shape_for(&port(&[3, -1]), 4, 7).is_err());
        assert!(shape_for(&port(&[0, -1]), 4, 7).is_err());
        assert!(shape_for(&port(&[i64::MAX, i64::MAX]), 4, 7).is_err());
        assert_eq!(port(&[2, -1]).width(), None);
        assert_eq!(port(&[i64::MAX, 3]).width(), None);
        assert_eq!(port(&[2, 3]).width(), Some(6));
    }
}
