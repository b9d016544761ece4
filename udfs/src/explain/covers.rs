//! The training weight in each leaf, as sqlml's converters note it: ONNX has no place for it.
//!
//! `sqlml/convert/isolated/explaining.py` says how: "f4:" or "f8:", then little-endian numbers in base64.

/// None where it is no such list of weights.
pub fn read(note: &str) -> Option<Vec<f64>> {
    let (kind, text) = note.split_once(':')?;
    let bytes = base64(text.as_bytes())?;
    let weights: Vec<f64> = match kind {
        "f4" => numbers(&bytes, |four: [u8; 4]| f64::from(f32::from_le_bytes(four)))?,
        "f8" => numbers(&bytes, f64::from_le_bytes)?,
        _ => return None,
    };
    weights
        .iter()
        .all(|weight| weight.is_finite() && *weight >= 0.0)
        .then_some(weights)
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
    let chunks = bytes.chunks_exact(N);
    if !chunks.remainder().is_empty() {
        return None;
    }
    chunks
        .map(|chunk| chunk.try_into().ok().map(&number))
        .collect()
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text
        .iter()
        .rev()
        .take(2)
        .take_while(|c| **c == b'=')
        .count();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for (place, four) in text.chunks_exact(4).enumerate() {
        let last = (place + 1) * 4 == text.len();
        let mut bits = 0_u32;
        for (i, c) in four.iter().enumerate() {
            let padded = last && i >= 4 - padding;
            bits = bits << 6 | if padded { 0 } else { digit(*c)? };
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    bytes.truncate(bytes.len() - padding);
    Some(bytes)
}

fn digit(c: u8) -> Option<u32> {
    let value = match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read() {
        // numpy: b64encode(np.array([1, 2.5, 3], "<f4")), and "<f8" of 0.1 and 0
        assert_eq!(read("f4:AACAPwAAIEAAAEBA"), Some(vec![1.0, 2.5, 3.0]));
        assert_eq!(read("f8:mpmZmZmZuT8AAAAAAAAAAA=="), Some(vec![0.1, 0.0]));
        assert_eq!(read("f4:"), Some(vec![]));
    }

    #[test]
    fn anything_else_is_none() {
        for note in [
            "",
            "f4",
            "f4:A",
            "f4:AACAPw==AACA",
            "f4:AACA",
            "f2:AACAPwAAIEAAAEBA",
            "f4:AACAP*AA",
            "f4:====",
            "f4:AADAfwAAIEAAAEBA",
            "f4:AACAvwAAIEAAAEBA",
        ] {
            assert_eq!(read(note), None, "{note}");
        }
    }
}
