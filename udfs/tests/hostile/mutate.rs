//! Ways to damage a model: in its bytes, and in its fields.

use super::random::Random;
use super::wire::{parse, varint, Kind, Message, Value};

const NUMBERS: [i64; 17] = [
    0,
    1,
    2,
    3,
    7,
    11,
    -1,
    -2,
    255,
    2048,
    65_536,
    1_000_000_000,
    1 << 31,
    (1 << 31) - 1,
    1 << 62,
    i64::MAX,
    i64::MIN,
];

const DOUBLES: [f64; 12] = [
    0.0,
    -0.0,
    1.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN_POSITIVE,
    5e-324,
    1e-45,
    1e300,
    -1.0000000000000002,
];

const OPS: [&str; 24] = [
    "Add",
    "Concat",
    "Gather",
    "Reshape",
    "MatMul",
    "Gemm",
    "Identity",
    "Cast",
    "Where",
    "ArgMax",
    "TopK",
    "Slice",
    "ReduceMin",
    "ReduceSum",
    "Softmax",
    "LabelEncoder",
    "OneHotEncoder",
    "Scaler",
    "Normalizer",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "LinearClassifier",
    "SVMClassifier",
];

/// A damaged copy of a model; `other` lends parts.
pub fn mutate(random: &mut Random, model: &Message, other: &Message) -> Vec<u8> {
    let mut message = model.clone();
    let kind = random.below(4);
    if kind != 0 {
        for _ in 0..1 + random.below(3) {
            in_fields(random, &mut message, other);
        }
    }
    let mut bytes = message.to_bytes();
    if kind == 0 || random.chance(8) {
        for _ in 0..1 + random.below(4) {
            in_bytes(random, &mut bytes);
        }
    }
    bytes
}

pub fn in_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(16)).min(bytes.len());
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copied = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copied);
        }
        5 => {
            let mut bomb = Vec::new();
            varint(*random.pick(&NUMBERS) as u64, &mut bomb);
            bytes.splice(at..(at + bomb.len()).min(bytes.len()), bomb);
        }
        6 => drop(bytes.splice(at..at, [0xff; 11])),
        _ => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
    }
}

/// Changes one field, chosen among all of the message and of what is in it.
pub fn in_fields(random: &mut Random, message: &mut Message, other: &Message) {
    let names = names(message);
    let mut place = random.below(count(message));
    let found = nth(message, &mut place);
    let Some((holder, at)) = found else { return };
    match random.below(9) {
        0 => drop(holder.0.remove(at)),
        1 => {
            let copied = holder.0[at].clone();
            holder.0.push(copied);
        }
        2 => {
            let with = random.below(holder.0.len());
            holder.0.swap(at, with);
        }
        3 => {
            let mut from = random.below(count(other));
            let mut other = other.clone();
            if let Some((lender, place)) = nth(&mut other, &mut from) {
                let field = if random.chance(2) {
                    holder.0[at].0
                } else {
                    lender.0[place].0
                };
                holder.0[at] = (field, lender.0[place].1.clone());
            }
        }
        4 => holder.0[at].0 = 1 + random.below(20) as u64,
        _ => change(random, &mut holder.0[at], &names),
    }
}

fn change(random: &mut Random, (field, value): &mut (u64, Value), names: &[Vec<u8>]) {
    match value {
        Value::Number(number) => {
            *number = if random.chance(2) {
                number.wrapping_add(*random.pick(&[1, u64::MAX, 2, 8]))
            } else {
                *random.pick(&NUMBERS) as u64
            }
        }
        Value::Fixed32(bits) => *bits = (*random.pick(&DOUBLES) as f32).to_bits(),
        Value::Fixed64(bits) => *bits = random.pick(&DOUBLES).to_bits(),
        Value::Message(inner) => inner.0.truncate(random.below(inner.0.len() + 1)),
        Value::Bytes(bytes) => match random.below(8) {
            0 => bytes.clear(),
            1 => bytes.truncate(random.below(bytes.len() + 1)),
            2 => *bytes = random.pick(names).clone(),
            3 => *bytes = random.pick(&OPS).as_bytes().to_vec(),
            4 => *bytes = vec![0xff, 0, 0xc3],
            5 if !bytes.is_empty() => numbers(random, bytes),
            6 if *field != 1 && bytes.len() < 4096 => *bytes = bytes.repeat(1 + random.below(4)),
            // Every value of a packed list is a varint: one of another length shifts nothing else.
            _ => in_bytes(random, bytes),
        },
    }
}

/// Overwrites one value of a list of floats, doubles or integers.
fn numbers(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(3) {
        0 if bytes.len() >= 8 => {
            let at = 8 * random.below(bytes.len() / 8);
            bytes[at..at + 8].copy_from_slice(&random.pick(&DOUBLES).to_le_bytes());
        }
        1 if bytes.len() >= 4 => {
            let at = 4 * random.below(bytes.len() / 4);
            bytes[at..at + 4].copy_from_slice(&(*random.pick(&DOUBLES) as f32).to_le_bytes());
        }
        _ => {
            // The varint that ends here, exchanged for another one.
            let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] < 0x80).collect();
            if ends.is_empty() {
                return;
            }
            let which = random.below(ends.len());
            let start = if which == 0 { 0 } else { ends[which - 1] + 1 };
            let mut number = Vec::new();
            let value = if random.chance(2) {
                *random.pick(&NUMBERS)
            } else {
                random.below(ends.len() + 2) as i64
            };
            varint(value as u64, &mut number);
            bytes.splice(start..=ends[which], number);
        }
    }
}

fn count(message: &Message) -> usize {
    message
        .0
        .iter()
        .map(|(_, value)| {
            if let Value::Message(inner) = value {
                1 + count(inner)
            } else {
                1
            }
        })
        .sum()
}

fn nth<'a>(message: &'a mut Message, place: &mut usize) -> Option<(&'a mut Message, usize)> {
    let mut inside = None;
    for (at, (_, value)) in message.0.iter().enumerate() {
        if *place == 0 {
            return Some((message, at));
        }
        *place -= 1;
        if let Value::Message(inner) = value {
            let within = count(inner);
            if *place < within {
                inside = Some(at);
                break;
            }
            *place -= within;
        }
    }
    match &mut message.0[inside?].1 {
        Value::Message(inner) => nth(inner, place),
        _ => None,
    }
}

/// Short byte strings of the model: names of values, above all. Exchanging them makes cycles and missing inputs.
fn names(message: &Message) -> Vec<Vec<u8>> {
    let mut found = vec![vec![], b"x".to_vec()];
    for (_, value) in &message.0 {
        match value {
            Value::Bytes(bytes) if bytes.len() < 24 => found.push(bytes.clone()),
            Value::Message(inner) => found.extend(names(inner)),
            _ => {}
        }
    }
    found
}

/// A model file as fields; None if it cannot be taken apart.
pub fn taken_apart(bytes: &[u8]) -> Option<Message> {
    parse(bytes, Kind::Model, 30)
}
