//! What a thread keeps between chunks, and what it notes of the one it reads.

use std::collections::HashMap;

/// Values that a thread remembers per column: what they are as a number, or which code they have.
pub const REMEMBERED: usize = 1 << 12;

/// What a thread keeps for a column between chunks.
#[derive(Default)]
pub struct Buffer {
    pub values: Values,
    pub texts: Interned,
}

/// Texts of a column that onnxruntime takes as they are: its codes are places in this list.
#[derive(Default)]
pub struct Interned {
    pub texts: Vec<Vec<u8>>,
    places: HashMap<Vec<u8>, u32>,
}

impl Interned {
    pub fn code(&mut self, text: &[u8]) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.texts.len() as u32; // no more than rows in a chunk, after `trim`
        self.texts.push(text.to_vec());
        self.places.insert(text.to_vec(), place);
        place
    }

    pub fn trim(&mut self) {
        if self.texts.len() > REMEMBERED {
            self.texts.clear();
            self.places.clear();
        }
    }
}

#[derive(Default)]
pub struct Values {
    pub f64: Vec<f64>,
    pub f32: Vec<f32>,
    pub i64: Vec<i64>,
    pub bool: Vec<bool>,
    pub codes: Vec<u32>,
    pub spelt: HashMap<Vec<u8>, Option<f64>>,
    pub coded: HashMap<u128, u32>,
}

/// The first column, counted from 1, that could not be read, by row; 0 where all could.
#[derive(Default)]
pub struct Unreadable {
    pub columns: Vec<u32>,
    pub any: bool,
}

impl Unreadable {
    pub fn reset(&mut self, rows: usize) {
        if self.any || self.columns.len() != rows {
            self.columns.clear();
            self.columns.resize(rows, 0);
        }
        self.any = false;
    }

    pub fn mark(&mut self, row: usize, column: usize) {
        self.any = true;
        if let Some(first) = self.columns.get_mut(row).filter(|first| **first == 0) {
            *first = column as u32 + 1;
        }
    }
}
