//! Texts as numbers, and functions of one text column as tables: one-hot encoding never compares a text twice.

use super::{Kind, Scalar};
use std::collections::{BTreeMap, HashMap};

/// Every text that is not in `Texts`: all that is known of it is that it is none of them.
pub const OTHER: u32 = 0;

/// All texts that a model knows, numbered from 1.
#[derive(Debug, Default)]
pub struct Texts {
    codes: HashMap<Vec<u8>, u32>,
    texts: Vec<Vec<u8>>,
}

impl Texts {
    pub fn code(&mut self, text: &[u8]) -> u32 {
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        self.texts.push(text.to_vec());
        let code = self.texts.len() as u32; // a file of 2^32 texts does not fit into 64 times its own size
        self.codes.insert(text.to_vec(), code);
        code
    }

    pub fn text(&self, code: u32) -> Option<&[u8]> {
        let index = (code as usize).checked_sub(1)?;
        self.texts.get(index).map(Vec::as_slice)
    }

    pub fn all(&self) -> &[Vec<u8>] {
        &self.texts
    }
}

/// A function of one text column: a value for some texts, and one for the rest.
///
/// Where the values are texts, a default of `OTHER` means "the text itself", known or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub default: Scalar,
    pub entries: BTreeMap<u32, Scalar>,
}

impl Table {
    /// The text column itself.
    pub fn identity() -> Table {
        Table {
            default: Scalar::Code(OTHER),
            entries: BTreeMap::new(),
        }
    }

    pub fn kind(&self) -> Kind {
        self.default.kind()
    }

    pub fn value(&self, code: u32) -> Scalar {
        match (self.entries.get(&code), self.default) {
            (Some(value), _) => *value,
            (None, Scalar::Code(OTHER)) => Scalar::Code(code),
            (None, default) => default,
        }
    }
}
