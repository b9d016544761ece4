//! DuckDB's strings, and texts to the codes that a program takes.

use std::hash::{BuildHasher, RandomState};

#[cfg(target_endian = "big")]
compile_error!("the layout of DuckDB's strings is read as on little-endian machines");

/// Texts up to this length stand in the handle itself, padded with zeros: equal texts are equal handles.
const INLINED: usize = 12;
/// No text has it: its length would be 4 GB, and yet inlined.
const FREE: [u64; 2] = [u64::MAX; 2];

/// `duckdb_string_t`: the length in 4 bytes, then the text, or its first 4 bytes and a pointer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text(pub [u64; 2]);

impl Text {
    fn len(&self) -> usize {
        (self.0[0] & 0xffff_ffff) as usize
    }

    fn inlined(&self) -> bool {
        self.len() <= INLINED
    }

    /// # Safety
    /// The handle lies in a live vector, in a row that is not NULL.
    pub unsafe fn bytes(&self) -> &[u8] {
        let start = match self.inlined() {
            true => std::ptr::from_ref(self).cast::<u8>().wrapping_add(4),
            false => self.0[1] as *const u8,
        };
        // SAFETY: DuckDB keeps `len` bytes there while the vector lives; the text starts after the 4 bytes of length.
        unsafe { std::slice::from_raw_parts(start, self.len()) }
    }

    /// The handle of a short text.
    fn of(text: &[u8]) -> Option<Text> {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(text.len() as u32).to_ne_bytes());
        bytes
            .get_mut(4..)
            .filter(|_| text.len() <= INLINED)?
            .get_mut(..text.len())?
            .copy_from_slice(text);
        let (first, second) = bytes.split_at(8);
        Some(Text([
            u64::from_ne_bytes(first.try_into().ok()?),
            u64::from_ne_bytes(second.try_into().ok()?),
        ]))
    }
}

/// The codes 1, 2, ... of a column's texts; 0 is any other text.
pub struct Codes {
    /// Open addressing, at most half full: nearly every look-up is one comparison of 16 bytes.
    short: Vec<([u64; 2], u32)>,
    /// The same for longer texts, by `key`: code and text, no text where a place is free.
    long: Vec<(u64, u32, Box<[u8]>)>,
    /// Whether few of the longer texts share their length and first bytes: then these are the key, which the handle has
    /// already, and no text is hashed.
    heads: bool,
    multipliers: [u64; 2],
}

impl Codes {
    pub fn new(texts: &[Vec<u8>]) -> Codes {
        let long = texts.iter().filter(|text| text.len() > INLINED).count();
        let places = |count: usize| (count * 2).next_power_of_two().max(16);
        // Not the same ones in every process: a model cannot be made to fill one place of the table.
        let random = RandomState::new();
        let mut codes = Codes {
            short: vec![(FREE, 0); places(texts.len() - long)],
            long: vec![(0, 0, Box::default()); places(long)],
            heads: few_share_heads(texts),
            multipliers: [random.hash_one(1) | 1, random.hash_one(2) | 1],
        };
        for (text, code) in texts.iter().zip(1..) {
            match Text::of(text) {
                Some(key) => codes.insert(key, code),
                None => codes.insert_long(text, code),
            }
        }
        codes
    }

    /// Memory that it holds, roughly.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.long.iter().map(|(_, _, text)| text.len()).sum();
        size_of_val(self.short.as_slice()) + size_of_val(self.long.as_slice()) + texts
    }

    fn mixed(&self, key: [u64; 2]) -> u64 {
        let mixed =
            key[0].wrapping_mul(self.multipliers[0]) ^ key[1].wrapping_mul(self.multipliers[1]);
        // The high bits of a product depend on all bits of its factors; a second product mixes both words.
        mixed.wrapping_mul(self.multipliers[1])
    }

    fn hash(&self, text: &[u8]) -> u64 {
        text.chunks(8).fold(text.len() as u64, |hash, chunk| {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.mixed([hash.rotate_left(32), u64::from_ne_bytes(word)])
        })
    }

    fn insert(&mut self, key: Text, code: u32) {
        let mut place = first(self.mixed(key.0), self.short.len());
        while self.short[place].0 != FREE {
            place = (place + 1) & (self.short.len() - 1);
        }
        self.short[place] = (key.0, code);
    }

    /// Of a longer text, and the place where its search begins.
    fn key(&self, text: &[u8]) -> (u64, usize) {
        let (key, hash) = match self.heads {
            true => (head(text), self.mixed([head(text), 0])),
            false => {
                let hash = self.hash(text);
                (hash, hash)
            }
        };
        (key, first(hash, self.long.len()))
    }

    fn insert_long(&mut self, text: &[u8], code: u32) {
        let (hash, mut place) = self.key(text);
        while !self.long[place].2.is_empty() {
            place = (place + 1) & (self.long.len() - 1);
        }
        self.long[place] = (hash, code, text.into());
    }

    fn short(&self, key: [u64; 2]) -> u32 {
        let mut place = first(self.mixed(key), self.short.len());
        loop {
            let (known, code) = self.short[place & (self.short.len() - 1)];
            if known == key || known == FREE {
                return code;
            }
            place += 1;
        }
    }

    fn long(&self, text: &[u8]) -> u32 {
        let (hash, mut place) = self.key(text);
        loop {
            let (known, code, found) = &self.long[place & (self.long.len() - 1)];
            if found.is_empty() || (*known == hash && same(found, text)) {
                return *code;
            }
            place += 1;
        }
    }

    pub fn code(&self, text: &[u8]) -> u32 {
        match Text::of(text) {
            Some(key) => self.short(key.0),
            None => self.long(text),
        }
    }

    /// The codes of a vector's rows.
    ///
    /// # Safety
    /// The handles lie in a live vector, and every row that `valid` does not rule out is a text.
    pub unsafe fn encode(
        &self,
        texts: &[Text],
        valid: impl Fn(usize) -> bool,
        missing: u32,
        codes: &mut [u32],
    ) {
        // A short text is found by two multiplications and one comparison: nothing is gained by looking at the row before.
        // Long ones are hashed byte by byte, and rows of one dictionary entry share the pointer.
        let mut last = (Text(FREE), 0);
        for (row, (text, code)) in texts.iter().zip(codes).enumerate() {
            *code = if !valid(row) {
                missing
            } else if text.inlined() {
                self.short(text.0)
            } else {
                if last.0 != *text {
                    // SAFETY: by this function's contract.
                    last = (*text, self.long(unsafe { text.bytes() }));
                }
                last.1
            };
        }
    }
}

/// The first word of a longer text's handle: its length and its first 4 bytes.
fn head(text: &[u8]) -> u64 {
    let start = text
        .first_chunk::<4>()
        .map_or(0, |start| u32::from_ne_bytes(*start));
    u64::from(text.len() as u32) | u64::from(start) << 32
}

/// A search by heads compares with every text of the same head: more than some would be slower than hashing, and a model
/// could be made so that all share one.
fn few_share_heads(texts: &[Vec<u8>]) -> bool {
    const FEW: usize = 4;
    let mut heads: Vec<u64> = texts
        .iter()
        .filter(|text| text.len() > INLINED)
        .map(|text| head(text))
        .collect();
    heads.sort_unstable();
    heads.chunk_by(|a, b| a == b).all(|same| same.len() <= FEW)
}

/// Texts of 8 bytes and more, word by word: a call of memcmp takes longer than they are compared.
fn same(one: &[u8], two: &[u8]) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    let (Some(last), Some(other)) = (one.last_chunk::<8>(), two.last_chunk::<8>()) else {
        return one == two;
    };
    let words = one.as_chunks::<8>().0.iter().zip(two.as_chunks::<8>().0);
    one.len() == two.len()
        && word(last) == word(other)
        && words.into_iter().all(|(one, two)| word(one) == word(two))
}

/// Where the search for a hash begins in a table whose size is a power of two: by its high bits.
fn first(hash: u64, places: usize) -> usize {
    (hash >> (64 - places.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_all_lengths_find_their_codes() {
        let texts: Vec<Vec<u8>> = (0..10_000)
            .map(|i| format!("{i}").repeat(1 + i % 7).into_bytes())
            .collect();
        let codes = Codes::new(&texts);
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(codes.code(text), index as u32 + 1);
        }
        assert_eq!(codes.code(b""), 0);
        assert_eq!(codes.code(b"unknown"), 0);
        assert_eq!(codes.code(b"unknown and longer than a handle"), 0);
    }

    #[test]
    fn long_texts_that_are_alike_are_told_apart() {
        // By their heads, where few share one, and by their hashes: any byte may be the one that differs.
        for count in [4, 60] {
            let texts: Vec<Vec<u8>> = (0..count)
                .map(|at| {
                    let mut text = b"category ".repeat(8);
                    text[6 + at] ^= 1;
                    text
                })
                .collect();
            let codes = Codes::new(&texts);
            assert_eq!(codes.heads, count == 4);
            for (index, text) in texts.iter().enumerate() {
                assert_eq!(codes.code(text), index as u32 + 1);
                assert_eq!(codes.code(&text[..text.len() - 1]), 0);
            }
            assert_eq!(codes.code(&b"category ".repeat(8)), 0);
        }
    }

    #[test]
    fn the_empty_text_and_one_with_a_nul_are_texts() {
        let codes = Codes::new(&[b"".to_vec(), b"a\0".to_vec(), b"a".to_vec()]);
        assert_eq!(
            (
                codes.code(b""),
                codes.code(b"a\0"),
                codes.code(b"a"),
                codes.code(b"a\0\0")
            ),
            (1, 2, 3, 0)
        );
    }

    #[test]
    fn rows_without_a_text_are_missing() {
        let codes = Codes::new(&[b"yes".to_vec(), b"a longer category than that".to_vec()]);
        let long = b"a longer category than that".to_vec();
        let mut handle = [0u8; 16];
        handle[..4].copy_from_slice(&(long.len() as u32).to_ne_bytes());
        handle[8..].copy_from_slice(&(long.as_ptr() as u64).to_ne_bytes());
        let word = |at: usize| u64::from_ne_bytes(handle[at..at + 8].try_into().unwrap());
        let rows = [
            Text::of(b"yes").unwrap(),
            Text([word(0), word(8)]),
            Text(FREE),
            Text([word(0), word(8)]),
        ];
        let mut found = [9; 4];
        // SAFETY: `long` outlives the call, and row 2 is ruled out.
        unsafe { codes.encode(&rows, |row| row != 2, 7, &mut found) };
        assert_eq!(found, [1, 2, 7, 2]);
    }
}
