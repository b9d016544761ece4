//! A value by a number's key.

use crate::error::{unsupported, Result};
use crate::program::{Arm, Buffered, Element, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot};

struct Label<K, T> {
    inputs: [Operand; 1],
    outputs: [(Slot, Kind); 1],
    /// By `order`, each key once.
    keys: Vec<K>,
    values: Vec<T>,
    default: T,
}

/// Numbers in an order in which equal ones are neighbours and NaN equals NaN.
trait Key: Element {
    fn order(self) -> i64;
}

impl Key for i64 {
    fn order(self) -> i64 {
        self
    }
}

impl Key for f64 {
    fn order(self) -> i64 {
        // -0.0 is 0.0, all NaN are one
        let bits = if self == 0.0 {
            0
        } else if self.is_nan() {
            f64::NAN.to_bits() as i64
        } else {
            self.to_bits() as i64
        };
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    }
}

impl Key for f32 {
    fn order(self) -> i64 {
        f64::from(self).order()
    }
}

/// The first of equal keys counts. Keys are of the column's kind, values of the default's.
pub fn kernel(
    column: Operand,
    slot: Slot,
    pairs: &[(Scalar, Scalar)],
    default: Scalar,
) -> Result<Box<dyn Kernel>> {
    match pairs.first().map(|(key, _)| key.kind()) {
        Some(Kind::I64) => valued::<i64>(column, slot, pairs, default),
        Some(Kind::F64) => valued::<f64>(column, slot, pairs, default),
        Some(Kind::F32) => valued::<f32>(column, slot, pairs, default),
        other => unsupported(format!("keys of kind {other:?}")),
    }
}

fn valued<K: Key>(
    column: Operand,
    slot: Slot,
    pairs: &[(Scalar, Scalar)],
    default: Scalar,
) -> Result<Box<dyn Kernel>> {
    Ok(match default {
        Scalar::F64(value) => typed::<K, f64>(column, slot, pairs, value),
        Scalar::F32(value) => typed::<K, f32>(column, slot, pairs, value),
        Scalar::I64(value) => typed::<K, i64>(column, slot, pairs, value),
        Scalar::Bool(value) => typed::<K, bool>(column, slot, pairs, value),
        Scalar::Code(value) => typed::<K, u32>(column, slot, pairs, value),
    })
}

fn typed<K: Key, T: Buffered>(
    column: Operand,
    slot: Slot,
    pairs: &[(Scalar, Scalar)],
    default: T,
) -> Box<dyn Kernel> {
    let mut sorted: Vec<(K, T)> = pairs
        .iter()
        .filter_map(|(key, value)| Some((K::of(*key)?, T::of(*value)?)))
        .collect();
    sorted.sort_by_key(|(key, _)| key.order()); // stable: the first stays first
    sorted.dedup_by_key(|(key, _)| key.order());
    let (keys, values) = sorted.into_iter().unzip();
    Box::new(Label {
        inputs: [column],
        outputs: [(slot, T::KIND)],
        keys,
        values,
        default,
    })
}

impl<K: Key, T: Buffered> Label<K, T> {
    fn value(&self, key: K) -> T {
        let place = self
            .keys
            .binary_search_by_key(&key.order(), |key| key.order());
        place
            .ok()
            .and_then(|place| self.values.get(place))
            .copied()
            .unwrap_or(self.default)
    }
}

impl<K: Key, T: Buffered> Kernel for Label<K, T> {
    fn name(&self) -> &'static str {
        "label"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, _: &mut Scratch) -> Result<()> {
        let mut out = frame.take::<T>();
        match frame.read::<K>(self.inputs[0])? {
            Arm::One(key) => {
                let value = self.value(key);
                frame.give_back(out);
                frame.put_uniform(self.outputs[0].0, value.scalar());
            }
            Arm::Many(keys) => {
                for (out, key) in out.iter_mut().zip(keys) {
                    *out = self.value(*key);
                }
                frame.put(self.outputs[0].0, out);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.keys.len() * (K::KIND.size() + T::KIND.size())
    }
}
