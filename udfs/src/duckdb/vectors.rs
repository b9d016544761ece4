//! A vector's rows: DuckDB gives C functions flat vectors only.
//!
//! Constant and dictionary vectors are flattened before the call (`CAPIScalarFunction` in DuckDB's
//! src/main/capi/scalar_function-c.cpp: `input.Flatten()`, in 1.5.6 and 2.0.0), and nothing in the C API tells what they
//! were. A column of one value is found by looking (`uniform`): the second row ends the search in nearly all others.

use libduckdb_sys as ffi;

/// Rows of a vector from `start` on.
#[derive(Clone, Copy)]
pub struct Rows {
    data: *const u8,
    validity: *const u64,
    start: usize,
    pub count: usize,
}

impl Rows {
    /// # Safety
    /// `vector` is live and flat, and stays so while this value is used; `start + count` rows are there. `start` is a multiple of 64.
    pub unsafe fn new(vector: ffi::duckdb_vector, start: usize, count: usize) -> Rows {
        // SAFETY: by this function's contract.
        let (data, validity) = unsafe {
            (
                ffi::duckdb_vector_get_data(vector),
                ffi::duckdb_vector_get_validity(vector),
            )
        };
        Rows {
            data: data.cast_const().cast(),
            validity: validity.cast_const(),
            start,
            count,
        }
    }

    /// # Safety
    /// The vector's values are laid out as `T`.
    pub unsafe fn values<'a, T: Copy>(&self) -> &'a [T] {
        // SAFETY: by the contracts of `new` and of this function: so many values are there.
        unsafe { std::slice::from_raw_parts(self.data.cast::<T>().add(self.start), self.count) }
    }

    /// The first byte of the first row's value of so many bytes.
    pub fn first(&self, size: usize) -> *const u8 {
        self.data.wrapping_add(self.start * size)
    }

    /// Bit i: whether row 64 * word + i is not NULL. Bits past the last row are set or not, as it happens.
    pub fn valid_word(&self, word: usize) -> u64 {
        if self.validity.is_null() {
            return u64::MAX;
        }
        // SAFETY: a mask covers all rows of its vector.
        unsafe { *self.validity.add(self.start / 64 + word) }
    }

    pub fn is_valid(&self, row: usize) -> bool {
        self.valid_word(row / 64) >> (row % 64) & 1 == 1
    }

    pub fn all_valid(&self) -> bool {
        self.validity.is_null()
            || (0..self.count.div_ceil(64))
                .all(|word| self.valid_word(word) | past(self.count, word) == u64::MAX)
    }
}

/// The bits of a word that lie past the last row.
fn past(rows: usize, word: usize) -> u64 {
    match rows - word * 64 {
        left @ 0..64 => u64::MAX << left,
        _ => 0,
    }
}

/// Whether all values are the same, bit for bit.
pub fn uniform<T: Copy, K: PartialEq>(values: &[T], bits: impl Fn(T) -> K) -> bool {
    match values {
        [first, rest @ ..] if !rest.is_empty() => {
            let first = bits(*first);
            rest.iter().all(|value| bits(*value) == first)
        }
        _ => false,
    }
}
