//! Numbers that begin where a line of the cache does.

use std::ops::{Deref, DerefMut};

/// Bytes of a line, and of the widest register: one that lies in two lines takes two loads. A vector begins 16 bytes behind
/// a page where the allocator puts its own numbers first, so that each register of it would.
const LINE: usize = 64;

#[derive(Default)]
pub(super) struct Lines<T> {
    numbers: Vec<T>,
    start: usize,
}

impl<T: Copy + Default> Lines<T> {
    /// At least so many, of which those that were there stay as they are unless more are needed than ever.
    pub fn grow(&mut self, count: usize) {
        if self.len() < count {
            self.numbers = vec![T::default(); count + LINE / size_of::<T>()];
            self.start = self.numbers.as_ptr().align_offset(LINE);
        }
    }

    /// So many zeros at least.
    pub fn clear(&mut self, count: usize) {
        self.grow(count);
        self[..count].fill(T::default());
    }
}

impl<T> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let count = self.numbers.len().saturating_sub(LINE / size_of::<T>());
        &self.numbers[self.start..self.start + count]
    }
}

impl<T> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let count = self.numbers.len().saturating_sub(LINE / size_of::<T>());
        &mut self.numbers[self.start..self.start + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_begin_at_a_line_and_stay_until_more_are_needed() {
        let mut numbers = Lines::<u16>::default();
        assert!(numbers.is_empty());
        for count in [1, 31, 5, 4096, 33] {
            numbers.grow(count);
            assert!(numbers.len() >= count);
            assert_eq!(numbers.as_ptr().align_offset(LINE), 0);
        }
        numbers[4095] = 7;
        numbers.clear(4095);
        assert_eq!(numbers[4095], 7);
        numbers.clear(4096);
        assert!(numbers.iter().all(|number| *number == 0));
    }
}
