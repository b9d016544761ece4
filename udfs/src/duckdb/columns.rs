//! One argument of a scoring function as one column of a model.

use super::buffers::{Interned, Unreadable, Values, REMEMBERED};
use super::numbers::{Bool, Number};
use super::numeric::{decimals, doubles, finished, floats, number_of, same, wide, Sink};
use super::text::{Codes, Text};
use super::types::{Source, Wanted, Width};
use super::values::{self, Spelt};
use super::vectors::{uniform, Rows};
use crate::program::{Column, Kind, Scalar};
use std::collections::HashMap;
use std::sync::Arc;

/// The text that stands for NULL (`MISSING_TEXT` in sqlml/convert/onnx_model.py).
const MISSING_TEXT: &[u8] = "\u{10ffff}missing\u{10ffff}".as_bytes();

/// How a column is read: settled once per query.
pub struct Reading {
    source: Source,
    wanted: Wanted,
    kind: Kind,
    codes: Option<Arc<Codes>>,
    missing: u32,
    /// ENUM: what each of its values is to the model, so that no text is looked at again.
    entries: Entries,
}

enum Entries {
    None,
    Codes(Vec<u32>),
    Numbers(Vec<Option<f64>>),
}

impl Reading {
    pub fn new(source: Source, wanted: Wanted, kind: Kind, codes: Option<Arc<Codes>>) -> Reading {
        let code = |text: &[u8]| codes.as_ref().map_or(0, |codes| codes.code(text));
        let entries = match (&source, wanted) {
            (Source::Enum { texts, .. }, Wanted::Text) => {
                Entries::Codes(texts.iter().map(|text| code(text.as_bytes())).collect())
            }
            (Source::Enum { texts, .. }, _) => Entries::Numbers(
                texts
                    .iter()
                    .map(|text| Spelt(text.as_bytes()).read(wanted))
                    .collect(),
            ),
            _ => Entries::None,
        };
        let missing = code(MISSING_TEXT);
        Reading {
            source,
            wanted,
            kind,
            codes,
            missing,
            entries,
        }
    }

    /// # Safety
    /// `rows` are of the type that this reading was made for, and its vector outlives the column.
    pub unsafe fn read<'a>(
        &self,
        rows: Rows,
        index: usize,
        buffer: &'a mut Values,
        texts: &mut Interned,
        unreadable: &mut Unreadable,
    ) -> Column<'a> {
        if self.kind == Kind::Code {
            // SAFETY: by this function's contract.
            return unsafe {
                match &self.codes {
                    Some(codes) => self.codes(codes, rows, buffer),
                    None => self.interned(rows, buffer, texts),
                }
            };
        }
        if rows.all_valid() {
            // SAFETY: by this function's contract the values are of that type, and outlive the column.
            unsafe {
                match (&self.source, self.wanted, self.kind) {
                    (Source::F64, Wanted::Double, Kind::F64) => return doubles(rows.values()),
                    (Source::F32, Wanted::Float, Kind::F32) => return floats(rows.values()),
                    _ => {}
                }
            }
        }
        buffer.f64.clear();
        buffer.f64.resize(rows.count, f64::NAN);
        let mut sink = Sink {
            wanted: self.wanted,
            rows,
            column: index,
            unreadable,
        };
        // SAFETY: by this function's contract.
        unsafe { self.numbers(&mut sink, &mut buffer.f64, &mut buffer.spelt) };
        finished(self.kind, buffer, index, unreadable)
    }

    /// # Safety
    /// As `read`.
    unsafe fn numbers(
        &self,
        sink: &mut Sink<'_>,
        out: &mut [f64],
        spelt: &mut HashMap<Vec<u8>, Option<f64>>,
    ) {
        let rows = sink.rows;
        // SAFETY: the slices are of the vector's own type; texts are read in rows that are not NULL.
        unsafe {
            match &self.source {
                Source::Boolean => sink.fill(out, rows.values::<u8>(), Bool),
                Source::I8 => sink.fill(out, rows.values::<i8>(), same),
                Source::I16 => sink.fill(out, rows.values::<i16>(), same),
                Source::I32 => sink.fill(out, rows.values::<i32>(), same),
                Source::I64 => sink.fill(out, rows.values::<i64>(), same),
                Source::I128 => {
                    sink.fill(out, rows.values::<[u64; 2]>(), |value| wide(value) as i128)
                }
                Source::U8 => sink.fill(out, rows.values::<u8>(), same),
                Source::U16 => sink.fill(out, rows.values::<u16>(), same),
                Source::U32 => sink.fill(out, rows.values::<u32>(), same),
                Source::U64 => sink.fill(out, rows.values::<u64>(), same),
                Source::U128 => sink.fill(out, rows.values::<[u64; 2]>(), wide),
                Source::F32 => sink.fill(out, rows.values::<f32>(), same),
                Source::F64 => sink.fill(out, rows.values::<f64>(), same),
                Source::Decimal { storage, scale, .. } => decimals(sink, out, *storage, *scale),
                Source::Text => sink.each(out, |row| {
                    let text = rows.values::<Text>().get(row)?;
                    number_of(text.bytes(), self.wanted, spelt)
                }),
                Source::Enum { storage, .. } => sink.each(out, |row| {
                    let Entries::Numbers(numbers) = &self.entries else {
                        return None;
                    };
                    numbers.get(entry(*storage, rows, row)).copied().flatten()
                }),
                // No number to DuckDB: TRY_CAST gives NULL for every value.
                Source::Written(..) => sink.each(out, |_| None),
                Source::Null => {}
            }
        }
    }

    /// # Safety
    /// As `read`.
    unsafe fn codes<'a>(&self, known: &Codes, rows: Rows, buffer: &'a mut Values) -> Column<'a> {
        let out = &mut buffer.codes;
        out.clear();
        out.resize(rows.count, self.missing);
        match (&self.source, &self.entries) {
            (Source::Null, _) => {}
            (Source::Text, _) => {
                // SAFETY: the vector is one of texts; rows that are NULL are left out.
                unsafe {
                    match rows.all_valid() {
                        true => known.encode(rows.values(), |_| true, self.missing, out),
                        false => {
                            known.encode(rows.values(), |row| rows.is_valid(row), self.missing, out)
                        }
                    }
                }
            }
            (Source::Enum { storage, .. }, Entries::Codes(entries)) => {
                for (row, code) in out.iter_mut().enumerate() {
                    if rows.is_valid(row) {
                        // SAFETY: the row is there.
                        let entry = unsafe { entry(*storage, rows, row) };
                        *code = entries.get(entry).copied().unwrap_or_default();
                    }
                }
            }
            (source, _) => {
                // SAFETY: by this function's contract.
                unsafe { spelled_out(source, rows, known, &mut buffer.coded, out) }
            }
        }
        coded(out)
    }

    /// # Safety
    /// As `read`.
    unsafe fn interned<'a>(
        &self,
        rows: Rows,
        buffer: &'a mut Values,
        texts: &mut Interned,
    ) -> Column<'a> {
        texts.trim();
        buffer.codes.clear();
        for row in 0..rows.count {
            // SAFETY: by this function's contract; only rows that are not NULL are looked at.
            let code = unsafe {
                match &self.source {
                    _ if !rows.is_valid(row) => texts.code(MISSING_TEXT),
                    Source::Text => texts.code(
                        rows.values::<Text>()
                            .get(row)
                            .map_or(&[], |text| text.bytes()),
                    ),
                    Source::Enum {
                        storage,
                        texts: all,
                    } => texts.code(
                        all.get(entry(*storage, rows, row))
                            .map_or(&[], String::as_bytes),
                    ),
                    Source::Null => texts.code(MISSING_TEXT),
                    source => {
                        let raw = values::raw(source, rows.first(values::size(source)), row);
                        texts.code(values::text(source, raw).unwrap_or_default().as_bytes())
                    }
                }
            };
            buffer.codes.push(code);
        }
        coded(&buffer.codes)
    }
}

fn coded(codes: &[u32]) -> Column<'_> {
    match (uniform(codes, |code| code), codes) {
        (true, [first, ..]) => Column::Uniform(Scalar::Code(*first)),
        _ => Column::Code(codes),
    }
}

/// # Safety
/// The vector is one of ENUMs with this storage, and the row is there.
unsafe fn entry(storage: Width, rows: Rows, row: usize) -> usize {
    // SAFETY: by this function's contract.
    unsafe {
        match storage {
            Width::W1 => rows
                .values::<u8>()
                .get(row)
                .map_or(usize::MAX, |code| usize::from(*code)),
            Width::W2 => rows
                .values::<u16>()
                .get(row)
                .map_or(usize::MAX, |code| usize::from(*code)),
            _ => rows
                .values::<u32>()
                .get(row)
                .map_or(usize::MAX, |code| *code as usize),
        }
    }
}

/// Codes of values that are no texts, by the text that DuckDB's cast gives.
///
/// # Safety
/// The vector is of this type.
unsafe fn spelled_out(
    source: &Source,
    rows: Rows,
    codes: &Codes,
    coded: &mut HashMap<u128, u32>,
    out: &mut [u32],
) {
    let data = rows.first(values::size(source));
    for (row, code) in out.iter_mut().enumerate() {
        if !rows.is_valid(row) {
            continue;
        }
        // SAFETY: by this function's contract, the row is there.
        let raw = unsafe { values::raw(source, data, row) };
        if coded.len() >= REMEMBERED {
            coded.clear();
        }
        *code = *coded.entry(raw).or_insert_with(|| {
            values::text(source, raw).map_or(0, |text| codes.code(text.as_bytes()))
        });
    }
}
