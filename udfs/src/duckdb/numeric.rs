//! Numbers of any type into a column of DOUBLEs, and from there into what the program takes.

use super::buffers::{Unreadable, Values, REMEMBERED};
use super::numbers::{Decimal, Number};
use super::types::{Wanted, Width};
use super::values::{decimals_are_rounded_once, Spelt};
use super::vectors::{uniform, Rows};
use crate::isa::Isa;
use crate::kernels::dispatch::for_each_isa;
use crate::program::{Column, Kind, Scalar};
use std::collections::HashMap;

const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// Numbers go where they belong; what cannot be read is noted.
pub struct Sink<'u> {
    pub wanted: Wanted,
    pub rows: Rows,
    pub column: usize,
    pub unreadable: &'u mut Unreadable,
}

impl Sink<'_> {
    pub fn fill<T: Copy, N: Number>(
        &mut self,
        out: &mut [f64],
        values: &[T],
        number: impl Fn(T) -> N + Copy,
    ) {
        let wanted = self.wanted;
        let isa = Isa::current();
        let mut plain = self.rows.all_valid();
        if plain {
            all_plain(isa, values, wanted, number, &mut plain);
        }
        if plain {
            return convert(isa, out, values, wanted, number);
        }
        for (word, (out, values)) in out.chunks_mut(64).zip(values.chunks(64)).enumerate() {
            let valid = self.rows.valid_word(word);
            if valid == u64::MAX && values.iter().all(|value| number(*value).plain(wanted)) {
                for (out, value) in out.iter_mut().zip(values) {
                    *out = number(*value).fast(wanted);
                }
                continue;
            }
            for (row, (out, value)) in out.iter_mut().zip(values).enumerate() {
                if valid >> row & 1 == 0 {
                    continue;
                }
                match number(*value).read(wanted) {
                    Some(number) => *out = number,
                    None => self.unreadable.mark(word * 64 + row, self.column),
                }
            }
        }
    }

    pub fn each(&mut self, out: &mut [f64], mut number: impl FnMut(usize) -> Option<f64>) {
        for (row, out) in out.iter_mut().enumerate() {
            if self.rows.is_valid(row) {
                match number(row) {
                    Some(number) => *out = number,
                    None => self.unreadable.mark(row, self.column),
                }
            }
        }
    }
}

for_each_isa! {
    fn all_plain<T: Copy, N: Number, F: Fn(T) -> N>(values: &[T], wanted: Wanted, number: F, plain: &mut bool) {
        // Without a way out in the middle the loop is one of vectors.
        let odd = values.iter().fold(false, |odd, value| odd | !number(*value).plain(wanted));
        *plain = !odd;
    }
}

for_each_isa! {
    fn convert<T: Copy, N: Number, F: Fn(T) -> N>(out: &mut [f64], values: &[T], wanted: Wanted, number: F) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = number(*value).fast(wanted);
        }
    }
}

pub fn same<T>(value: T) -> T {
    value
}

pub fn wide(words: [u64; 2]) -> u128 {
    u128::from(words[1]) << 64 | u128::from(words[0])
}

/// # Safety
/// The vector is one of DECIMALs with this storage.
pub unsafe fn decimals(sink: &mut Sink<'_>, out: &mut [f64], storage: Width, scale: u8) {
    let power = 10i128.checked_pow(u32::from(scale)).unwrap_or(1); // scales end at 38
    let exact = decimals_are_rounded_once();
    let decimal = |value: i128| Decimal {
        value,
        power,
        divisor: power as f64,
        scale,
        exact,
        wide: matches!(storage, Width::W1 | Width::W16),
    };
    let rows = sink.rows;
    // SAFETY: by this function's contract.
    unsafe {
        match storage {
            Width::W2 => sink.fill(out, rows.values::<i16>(), |value| {
                decimal(i128::from(value))
            }),
            Width::W4 => sink.fill(out, rows.values::<i32>(), |value| {
                decimal(i128::from(value))
            }),
            Width::W8 => sink.fill(out, rows.values::<i64>(), |value| {
                decimal(i128::from(value))
            }),
            Width::W1 | Width::W16 => sink.fill(out, rows.values::<[u64; 2]>(), |value| {
                decimal(wide(value) as i128)
            }),
        }
    }
}

pub fn number_of(
    text: &[u8],
    wanted: Wanted,
    known: &mut HashMap<Vec<u8>, Option<f64>>,
) -> Option<f64> {
    if let Some(number) = known.get(text) {
        return *number;
    }
    let number = Spelt(text).read(wanted);
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(text.to_vec(), number);
    number
}

pub fn doubles(values: &[f64]) -> Column<'_> {
    match (uniform(values, f64::to_bits), values) {
        (true, [first, ..]) => Column::Uniform(Scalar::F64(*first)),
        _ => Column::F64(values),
    }
}

pub fn floats(values: &[f32]) -> Column<'_> {
    match (uniform(values, f32::to_bits), values) {
        (true, [first, ..]) => Column::Uniform(Scalar::F32(*first)),
        _ => Column::F32(values),
    }
}

/// The numbers as the kind that the program takes. An integer or a truth value that is missing cannot be read.
pub fn finished<'a>(
    kind: Kind,
    buffer: &'a mut Values,
    column: usize,
    unreadable: &mut Unreadable,
) -> Column<'a> {
    let numbers = &buffer.f64;
    if matches!(kind, Kind::I64 | Kind::Bool) {
        for (row, number) in numbers.iter().enumerate() {
            if !(-TWO_63..TWO_63).contains(number) {
                unreadable.mark(row, column);
            }
        }
    }
    match kind {
        Kind::F32 => {
            buffer.f32.clear();
            buffer
                .f32
                .extend(numbers.iter().map(|number| *number as f32));
            floats(&buffer.f32)
        }
        Kind::I64 => {
            buffer.i64.clear();
            buffer
                .i64
                .extend(numbers.iter().map(|number| *number as i64));
            match (uniform(&buffer.i64, |value| value), buffer.i64.as_slice()) {
                (true, [first, ..]) => Column::Uniform(Scalar::I64(*first)),
                (_, values) => Column::I64(values),
            }
        }
        Kind::Bool => {
            buffer.bool.clear();
            buffer
                .bool
                .extend(numbers.iter().map(|number| *number != 0.0));
            match (uniform(&buffer.bool, |value| value), buffer.bool.as_slice()) {
                (true, [first, ..]) => Column::Uniform(Scalar::Bool(*first)),
                (_, values) => Column::Bool(values),
            }
        }
        Kind::F64 | Kind::Code => doubles(&buffer.f64),
    }
}
