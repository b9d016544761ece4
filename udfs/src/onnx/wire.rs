//! Protocol buffers as far as ONNX needs them. Claimed lengths are checked against what is left before anything is kept.

use crate::error::{malformed, Result};

/// The payload of one field.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64(u64),
}

pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The next field's number and payload; None at the end.
    pub fn field(&mut self) -> Result<Option<(u64, Payload<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let payload = match key & 7 {
            0 => Payload::Number(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return malformed(format!("wire type {other}")),
        };
        Ok(Some((key >> 3, payload)))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for place in 0..10 {
            let Some((&byte, rest)) = self.0.split_first() else {
                return malformed("it ends inside a number");
            };
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        malformed("a number longer than 10 bytes")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        match usize::try_from(length)
            .ok()
            .and_then(|n| self.0.split_at_checked(n))
        {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => malformed("it ends inside a field"),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.0.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(*taken)
            }
            None => malformed("it ends inside a field"),
        }
    }
}

impl<'a> Payload<'a> {
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => malformed("a number where a message or text belongs"),
        }
    }

    pub fn text(self) -> Result<String> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => malformed("a name is not UTF-8"),
        }
    }

    pub fn number(self) -> Result<i64> {
        match self {
            Payload::Number(value) => Ok(value as i64),
            _ => malformed("something else where an integer belongs"),
        }
    }

    pub fn float(self) -> Result<f32> {
        match self {
            Payload::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => malformed("something else where a float belongs"),
        }
    }

    /// A repeated integer field, packed or not.
    pub fn push_integers(self, into: &mut Vec<i64>) -> Result<()> {
        match self {
            Payload::Number(value) => into.push(value as i64),
            Payload::Bytes(packed) => {
                // A number ends at its first byte below 128: counted first, so that growing never doubles the memory.
                into.reserve_exact(packed.iter().filter(|byte| **byte < 0x80).count());
                let mut reader = Reader(packed);
                while !reader.0.is_empty() {
                    into.push(reader.varint()? as i64);
                }
            }
            _ => return malformed("something else where integers belong"),
        }
        Ok(())
    }

    pub fn push_floats(self, into: &mut Vec<f32>) -> Result<()> {
        match self {
            Payload::Fixed32(bits) => into.push(f32::from_bits(bits)),
            Payload::Bytes(packed) => into.extend(chunks::<4>(packed)?.map(f32::from_le_bytes)),
            _ => return malformed("something else where floats belong"),
        }
        Ok(())
    }

    pub fn push_doubles(self, into: &mut Vec<f64>) -> Result<()> {
        match self {
            Payload::Fixed64(bits) => into.push(f64::from_bits(bits)),
            Payload::Bytes(packed) => into.extend(chunks::<8>(packed)?.map(f64::from_le_bytes)),
            _ => return malformed("something else where doubles belong"),
        }
        Ok(())
    }
}

/// Values of N bytes each, little endian as ONNX stores them.
pub fn chunks<const N: usize>(bytes: &[u8]) -> Result<impl ExactSizeIterator<Item = [u8; N]> + '_> {
    if !bytes.len().is_multiple_of(N) {
        return malformed(format!(
            "{} bytes hold no whole number of values of {N} bytes",
            bytes.len()
        ));
    }
    Ok(bytes.chunks_exact(N).map(|chunk| {
        let mut value = [0; N];
        value.copy_from_slice(chunk);
        value
    }))
}
