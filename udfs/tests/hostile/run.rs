//! Loads what may be a model and runs it over hostile rows.

use super::memory::peak;
use super::random::Random;
use sqlml::error::Error;
use sqlml::onnx::Graph;
use sqlml::program::{Column, Kind, Operand, Program, Scalar, CHUNK};

/// Memory while a model is read and lowered: at most this many times its bytes, and this much on top (onnx/mod.rs and
/// program/builder.rs say why).
pub const TIMES: usize = 80;
pub const BASE: usize = 160 << 20;

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Refused,
    /// For onnxruntime, and why.
    Unsupported(String),
    /// With all answers, as one number.
    Ran(u64),
}

/// Reads, lowers and runs; an error here is a bug in the crate.
pub fn examine(bytes: &[u8], seed: u64) -> Result<Outcome, String> {
    let (program, most) =
        peak(|| Graph::read(bytes).and_then(|graph| sqlml::lower::lower(&graph, bytes.len())));
    let allowed = TIMES * bytes.len() + BASE;
    if most > allowed {
        return Err(format!(
            "{most} bytes of memory for a file of {}",
            bytes.len()
        ));
    }
    match program {
        Ok(program) => answers(&program, seed).map(Outcome::Ran),
        Err(Error::Unsupported(what)) => Ok(Outcome::Unsupported(what)),
        Err(Error::Malformed(_)) => Ok(Outcome::Refused),
        Err(Error::Failed(why)) => Err(format!("failed while it was loaded: {why}")),
    }
}

/// Inputs of a model that is run on whole chunks.
const DISTINCT: usize = 64;

enum Held {
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
    Code(Vec<u32>),
}

impl Held {
    fn made(random: &mut Random, kind: Kind, texts: usize) -> Held {
        let mut each = |_: usize| number(random);
        match kind {
            Kind::F64 => Held::F64((0..CHUNK).map(each).collect()),
            Kind::F32 => Held::F32((0..CHUNK).map(|row| each(row) as f32).collect()),
            Kind::I64 => Held::I64((0..CHUNK).map(|_| integer(random)).collect()),
            Kind::Bool => Held::Bool((0..CHUNK).map(|_| random.chance(2)).collect()),
            Kind::Code => Held::Code((0..CHUNK).map(|_| random.below(texts + 1) as u32).collect()),
        }
    }

    fn part(&self, from: usize, rows: usize) -> Column<'_> {
        match self {
            Held::F64(values) => Column::F64(&values[from..from + rows]),
            Held::F32(values) => Column::F32(&values[from..from + rows]),
            Held::I64(values) => Column::I64(&values[from..from + rows]),
            Held::Bool(values) => Column::Bool(&values[from..from + rows]),
            Held::Code(values) => Column::Code(&values[from..from + rows]),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Held::F64(_) => Kind::F64,
            Held::F32(_) => Kind::F32,
            Held::I64(_) => Kind::I64,
            Held::Bool(_) => Kind::Bool,
            Held::Code(_) => Kind::Code,
        }
    }

    fn uniform(&self, row: usize) -> Column<'_> {
        Column::Uniform(match self {
            Held::F64(values) => Scalar::F64(values[row]),
            Held::F32(values) => Scalar::F32(values[row]),
            Held::I64(values) => Scalar::I64(values[row]),
            Held::Bool(values) => Scalar::Bool(values[row]),
            Held::Code(values) => Scalar::Code(values[row]),
        })
    }
}

fn number(random: &mut Random) -> f64 {
    const ODD: [f64; 12] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        5e-324,
        f64::MIN_POSITIVE,
        1e-45,
        f64::MAX,
        f64::MIN,
        3e38,
        4e38,
    ];
    match random.below(4) {
        0 => *random.pick(&ODD),
        1 => {
            // A neighbour of what thresholds are.
            let bits = random.value().to_bits();
            f64::from_bits(bits.wrapping_add(random.below(3) as u64).wrapping_sub(1))
        }
        _ => random.value(),
    }
}

fn integer(random: &mut Random) -> i64 {
    match random.below(4) {
        0 => *random.pick(&[i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1, 0, -1]),
        _ => random.below(20) as i64 - 5,
    }
}

fn answers(program: &Program, seed: u64) -> Result<u64, String> {
    let mut random = Random(seed);
    // Of a thousand inputs the last ones are as the first: a chunk of each would be gigabytes.
    let mut held: Vec<Held> = Vec::new();
    for input in program.inputs().iter().take(DISTINCT) {
        held.push(Held::made(&mut random, input.kind, input.texts.len()));
    }
    if program.inputs().len() > DISTINCT {
        return wide(program, &held);
    }
    let wanted: Vec<Operand> = program
        .outputs()
        .iter()
        .flat_map(|output| output.columns.iter().copied())
        .collect();
    // Some mutations say a thousand times the same output.
    let wanted = &wanted[..wanted.len().min(64)];
    let part = |from: usize, rows: usize| {
        held.iter()
            .map(|column| column.part(from, rows))
            .collect::<Vec<_>>()
    };
    let whole = run(program, wanted, CHUNK, &part(0, CHUNK))?;
    // An answer of a row hangs on that row alone: not on how many others there are, or whether they are the same.
    for (from, rows) in [(0, 0), (CHUNK - 1, 1), (64, 7)] {
        let some = run(program, wanted, rows, &part(from, rows))?;
        compare(
            &whole,
            &some,
            |row| from + row,
            &format!("{rows} rows from row {from}"),
        )?;
    }
    let row = random.below(CHUNK);
    let uniform: Vec<Column> = held.iter().map(|column| column.uniform(row)).collect();
    compare(
        &whole,
        &run(program, wanted, 7, &uniform)?,
        |_| row,
        &format!("row {row} seven times"),
    )?;
    let Some(whole) = whole else { return Ok(1) };
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for bits in whole.iter().flatten() {
        hash = (hash ^ bits)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(17);
    }
    Ok(hash)
}

/// A model of very many inputs: that it runs is enough.
fn wide(program: &Program, held: &[Held]) -> Result<u64, String> {
    let wanted: Vec<Operand> = program
        .outputs()
        .iter()
        .flat_map(|output| output.columns.clone())
        .take(64)
        .collect();
    let mut inputs = Vec::new();
    for (place, input) in program.inputs().iter().enumerate() {
        let Some(same) = held[place % held.len()..]
            .iter()
            .find(|held| held.kind() == input.kind)
        else {
            return Ok(2);
        };
        inputs.push(same.part(0, 7));
    }
    run(program, &wanted, 7, &inputs).map(|_| 3)
}

type Answers = Vec<Vec<u64>>;

/// The bits of every wanted column; None if some row makes the model fail.
fn run(
    program: &Program,
    wanted: &[Operand],
    rows: usize,
    inputs: &[Column<'_>],
) -> Result<Option<Answers>, String> {
    let plan = program.plan(wanted);
    let mut state = program.state();
    // Twice with one state: the second chunk meets the buffers of the first.
    let mut last = None;
    for _ in 0..2 {
        let frame = match program.run(&plan, &mut state, rows, inputs) {
            Ok(frame) => frame,
            Err(Error::Failed(why)) if !why.contains("internal") => return Ok(None),
            Err(error) => return Err(format!("{error:?} while it ran")),
        };
        let columns = wanted
            .iter()
            .map(|operand| bits(frame.column(*operand), rows))
            .collect::<Result<Answers, _>>()?;
        if last.as_ref().is_some_and(|last| *last != columns) {
            return Err("the second chunk has other answers than the first".into());
        }
        last = Some(columns);
    }
    Ok(last)
}

/// NaN is NaN: which of its bits a processor keeps depends on the order of operands.
fn bits(column: Column<'_>, rows: usize) -> Result<Vec<u64>, String> {
    let double = |value: f64| {
        if value.is_nan() {
            u64::MAX
        } else {
            value.to_bits()
        }
    };
    let single = |value: f32| {
        if value.is_nan() {
            u64::MAX
        } else {
            u64::from(value.to_bits())
        }
    };
    let found: Vec<u64> = match column {
        Column::Uniform(Scalar::F64(value)) => vec![double(value); rows],
        Column::Uniform(Scalar::F32(value)) => vec![single(value); rows],
        Column::Uniform(value) => vec![value.bits().1; rows],
        Column::F64(values) => values.iter().map(|value| double(*value)).collect(),
        Column::F32(values) => values.iter().map(|value| single(*value)).collect(),
        Column::I64(values) => values.iter().map(|value| *value as u64).collect(),
        Column::Bool(values) => values.iter().map(|value| u64::from(*value)).collect(),
        Column::Code(values) => values.iter().map(|value| u64::from(*value)).collect(),
    };
    if found.len() != rows {
        return Err(format!("{} values for {rows} rows", found.len()));
    }
    Ok(found)
}

fn compare(
    whole: &Option<Answers>,
    some: &Option<Answers>,
    row_of: impl Fn(usize) -> usize,
    what: &str,
) -> Result<(), String> {
    let (Some(whole), Some(some)) = (whole, some) else {
        return Ok(());
    };
    for (column, (whole, some)) in whole.iter().zip(some).enumerate() {
        for (row, found) in some.iter().enumerate() {
            let expected = whole[row_of(row)];
            if *found != expected {
                return Err(format!(
                    "column {column}: {found:x} for {what}, {expected:x} among all rows"
                ));
            }
        }
    }
    Ok(())
}
