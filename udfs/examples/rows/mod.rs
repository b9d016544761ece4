#![allow(dead_code)] // each tool uses a part of it
//! Rows for models, written by another program: arrays one after the other, each with its name's length and name, its kind
//! (d f q s), rows, columns and values; all little endian. `in_<input>` is fed, `out_<output>` is the known answer.

use std::collections::HashMap;

pub enum Values {
    Numbers(Vec<f64>),
    Integers(Vec<i64>),
    Texts(Vec<Vec<u8>>),
}

pub struct Array {
    /// Of onnxruntime's float32, kept as doubles.
    pub single: bool,
    pub rows: usize,
    pub columns: usize,
    pub values: Values,
}

pub fn arrays(mut bytes: &[u8]) -> HashMap<String, Array> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    fn size(bytes: &mut &[u8]) -> usize {
        u32::from_le_bytes(take(bytes, 4).try_into().unwrap()) as usize
    }
    let mut found = HashMap::new();
    while !bytes.is_empty() {
        let length = size(&mut bytes);
        let name = String::from_utf8(take(&mut bytes, length).to_vec()).unwrap();
        let kind = take(&mut bytes, 1)[0];
        let (rows, columns) = (size(&mut bytes), size(&mut bytes));
        let count = rows * columns;
        let values = match kind {
            b's' => Values::Texts(
                (0..count)
                    .map(|_| {
                        let length = size(&mut bytes);
                        take(&mut bytes, length).to_vec()
                    })
                    .collect(),
            ),
            b'q' => Values::Integers(
                take(&mut bytes, count * 8)
                    .chunks(8)
                    .map(|c| i64::from_le_bytes(c.try_into().unwrap()))
                    .collect(),
            ),
            _ => Values::Numbers(
                take(&mut bytes, count * 8)
                    .chunks(8)
                    .map(|c| f64::from_le_bytes(c.try_into().unwrap()))
                    .collect(),
            ),
        };
        found.insert(
            name,
            Array {
                single: kind == b'f',
                rows,
                columns,
                values,
            },
        );
    }
    found
}
