//! The answers of a chunk into DuckDB's result vector, column by column.

use super::buffers::Unreadable;
use super::shapes::Shape;
use crate::error::{Error, Result};
use crate::program::{Column, Scalar};
use libduckdb_sys as ffi;

/// The rows of a result vector that a chunk fills.
#[derive(Clone, Copy)]
pub struct Target {
    pub vector: ffi::duckdb_vector,
    /// A multiple of 64.
    pub start: usize,
    pub rows: usize,
}

impl Target {
    /// # Safety
    /// The vector is live, of values laid out as `T`, and has room for all rows.
    unsafe fn values<'a, T>(self) -> &'a mut [T] {
        // SAFETY: by this function's contract; nobody else writes to a result vector.
        unsafe {
            let data = ffi::duckdb_vector_get_data(self.vector).cast::<T>();
            std::slice::from_raw_parts_mut(data.add(self.start), self.rows)
        }
    }

    /// # Safety
    /// The vector is live and has room for all rows.
    unsafe fn set_valid(self, words: impl Fn(usize) -> u64) {
        // SAFETY: by this function's contract; the mask, once it is there, has a word for each 64 rows.
        unsafe {
            ffi::duckdb_vector_ensure_validity_writable(self.vector);
            let mask = ffi::duckdb_vector_get_validity(self.vector).add(self.start / 64);
            for word in 0..self.rows.div_ceil(64) {
                *mask.add(word) = words(word);
            }
        }
    }

    /// # Safety
    /// The vector is a live STRUCT with more than `index` fields.
    unsafe fn field(self, index: usize) -> Target {
        // SAFETY: by this function's contract.
        let vector =
            unsafe { ffi::duckdb_struct_vector_get_child(self.vector, index as ffi::idx_t) };
        Target { vector, ..self }
    }
}

/// Which rows have an answer, and why the others have none.
#[derive(Default)]
pub struct Errors {
    /// By row: 0, or what the field `error` says.
    codes: Vec<i64>,
    /// By 64 rows: a bit for each row with an answer.
    valid: Vec<u64>,
    any: bool,
}

impl Errors {
    /// A column that could not be read comes before what the model says of the row.
    pub fn collect(
        &mut self,
        model: Option<Column<'_>>,
        unreadable: &Unreadable,
        rows: usize,
    ) -> Result<()> {
        self.any = unreadable.any;
        // The usual chunk: nothing is written down, since nothing of it is read.
        if !self.any && matches!(model, None | Some(Column::Uniform(Scalar::I64(0)))) {
            return Ok(());
        }
        self.codes.clear();
        match model {
            None | Some(Column::Uniform(Scalar::I64(0))) => self.codes.resize(rows, 0),
            Some(Column::Uniform(Scalar::I64(code))) => self.codes.resize(rows, code),
            Some(Column::I64(codes)) => self.codes.extend_from_slice(codes),
            Some(_) => {
                return Err(Error::Failed(
                    "the model's error output is no integer".into(),
                ))
            }
        }
        if unreadable.any {
            for (code, column) in self.codes.iter_mut().zip(&unreadable.columns) {
                if *column != 0 {
                    *code = -i64::from(*column);
                }
            }
        }
        let words = self.codes.chunks(64).map(|codes| {
            codes
                .iter()
                .enumerate()
                .fold(0, |word, (row, code)| word | u64::from(*code == 0) << row)
        });
        self.valid.clear();
        self.valid.extend(words);
        let left = rows % 64;
        let full = |word: usize| {
            if word + 1 == rows.div_ceil(64) && left != 0 {
                (1 << left) - 1
            } else {
                u64::MAX
            }
        };
        self.any = self
            .valid
            .iter()
            .enumerate()
            .any(|(word, valid)| *valid != full(word));
        Ok(())
    }

    fn word(&self, word: usize) -> u64 {
        self.valid.get(word).copied().unwrap_or(u64::MAX)
    }

    /// # Safety
    /// As `Target::set_valid`.
    unsafe fn mask(&self, target: Target) {
        if self.any {
            // SAFETY: by this function's contract.
            unsafe { target.set_valid(|word| self.word(word)) };
        }
    }
}

/// What a model says of a chunk's rows, in the order of the shape's fields.
pub struct Answer<'a> {
    pub index: Option<Column<'a>>,
    pub numbers: Vec<Column<'a>>,
}

/// # Safety
/// `target` is a result vector of this shape, and `answer` has as many columns as it.
pub unsafe fn write(
    shape: Shape,
    answer: Answer<'_>,
    errors: &Errors,
    target: Target,
) -> Result<()> {
    let Answer { index, numbers } = answer;
    // SAFETY: the fields are those that `Shape::result` gives to this shape, in that order.
    unsafe {
        match shape {
            Shape::Number => numbers
                .into_iter()
                .take(1)
                .try_for_each(|column| doubles(column, errors, target)),
            Shape::Probabilities | Shape::Explanation | Shape::Outputs => {
                list(numbers, errors, target)
            }
            Shape::Class(_) | Shape::Value(_) | Shape::ClassMany | Shape::ValueMany => {
                error_field(errors, target.field(0));
                let mut field = 1;
                if let Some(index) = index {
                    integers(index, errors, target.field(1))?;
                    field = 2;
                }
                if matches!(shape, Shape::ClassMany | Shape::ValueMany) {
                    return list(numbers, errors, target.field(field));
                }
                for (index, column) in numbers.into_iter().enumerate() {
                    doubles(column, errors, target.field(field + index))?;
                }
                Ok(())
            }
        }
    }
}

/// # Safety
/// `target` is a vector of BIGINT.
unsafe fn error_field(errors: &Errors, target: Target) {
    // SAFETY: by this function's contract.
    unsafe {
        if errors.any {
            target.values::<i64>().copy_from_slice(&errors.codes);
            target.set_valid(|word| !errors.word(word));
        } else {
            target.set_valid(|_| 0);
        }
    }
}

/// # Safety
/// `target` is a vector of BIGINT.
unsafe fn integers(column: Column<'_>, errors: &Errors, target: Target) -> Result<()> {
    // SAFETY: by this function's contract.
    unsafe {
        match column {
            Column::I64(values) => target.values::<i64>().copy_from_slice(values),
            Column::Uniform(Scalar::I64(value)) => target.values::<i64>().fill(value),
            _ => {
                return Err(Error::Failed(
                    "internal: the prediction is no integer".into(),
                ))
            }
        }
        errors.mask(target);
    }
    Ok(())
}

/// # Safety
/// `target` is a vector of DOUBLE.
unsafe fn doubles(column: Column<'_>, errors: &Errors, target: Target) -> Result<()> {
    // SAFETY: by this function's contract.
    unsafe {
        copied(column, target.values::<f64>())?;
        errors.mask(target);
    }
    Ok(())
}

fn copied(column: Column<'_>, out: &mut [f64]) -> Result<()> {
    match column {
        Column::F64(values) => out.copy_from_slice(values),
        Column::F32(values) => convert(values, out, f64::from),
        Column::I64(values) => convert(values, out, |value| value as f64),
        Column::Bool(values) => convert(values, out, |value| f64::from(u8::from(value))),
        Column::Uniform(value) => match value.double() {
            Some(value) => out.fill(value),
            None => {
                return Err(Error::Failed(
                    "internal: a text where a number belongs".into(),
                ))
            }
        },
        Column::Code(_) => {
            return Err(Error::Failed(
                "internal: a text where a number belongs".into(),
            ))
        }
    }
    Ok(())
}

fn convert<T: Copy>(values: &[T], out: &mut [f64], number: impl Fn(T) -> f64) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = number(*value);
    }
}

/// # Safety
/// `target` is a vector of DOUBLE[].
unsafe fn list(columns: Vec<Column<'_>>, errors: &Errors, target: Target) -> Result<()> {
    let (rows, width) = (target.rows, columns.len());
    // SAFETY: by this function's contract; the child has room for what was reserved.
    unsafe {
        // Result vectors come back with the chunk before's list still in them.
        let before = match target.start {
            0 => 0,
            _ => ffi::duckdb_list_vector_get_size(target.vector) as usize,
        };
        let total = (before + rows * width) as ffi::idx_t;
        let reserved = ffi::duckdb_list_vector_reserve(target.vector, total) == ffi::DuckDBSuccess;
        if !reserved || ffi::duckdb_list_vector_set_size(target.vector, total) != ffi::DuckDBSuccess
        {
            return Err(Error::Failed("no memory for the result".into()));
        }
        let child = ffi::duckdb_list_vector_get_child(target.vector);
        let data = ffi::duckdb_vector_get_data(child).cast::<f64>();
        let values = std::slice::from_raw_parts_mut(data.add(before), rows * width);
        let mut column_values = vec![0.0; rows];
        for (index, column) in columns.into_iter().enumerate() {
            copied(column, &mut column_values)?;
            for (out, value) in values
                .iter_mut()
                .skip(index)
                .step_by(width.max(1))
                .zip(&column_values)
            {
                *out = *value;
            }
        }
        for (row, entry) in target
            .values::<ffi::duckdb_list_entry>()
            .iter_mut()
            .enumerate()
        {
            entry.offset = (before + row * width) as u64;
            entry.length = width as u64;
        }
        errors.mask(target);
    }
    Ok(())
}
