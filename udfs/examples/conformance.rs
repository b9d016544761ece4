#![allow(clippy::unwrap_used, clippy::panic)] // a tool for developers
//! Runs models natively and compares with the answers of onnxruntime that lie beside them.
//!
//! `cargo run --profile quick --example conformance -- <folder of .onnx> <folder of .rows> [name part]`
//! The form of `.rows` files: see `rows`.

mod rows;

use rows::{arrays, Array, Values};
use sqlml::error::Error;
use sqlml::lower::lower;
use sqlml::onnx::Graph;
use sqlml::program::{Column, Kind, Operand, Program, Scalar};
use std::collections::{BTreeMap, HashMap};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let part = arguments.get(2).map_or("", String::as_str);
    let mut files: Vec<_> = std::fs::read_dir(&arguments[0])
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension().is_some_and(|e| e == "onnx") && path.to_string_lossy().contains(part)
    });
    files.sort();
    let (mut exact, mut left, mut wrong) = (0, BTreeMap::<String, Vec<String>>::new(), 0);
    for path in &files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        let rows = arrays(&std::fs::read(format!("{}/{name}.rows", arguments[1])).unwrap());
        let outcome = Graph::read(&bytes).and_then(|graph| lower(&graph, bytes.len()));
        match outcome.and_then(|program| compare(&program, &rows)) {
            Ok(problems) if problems.is_empty() => exact += 1,
            Ok(problems) => {
                wrong += 1;
                println!("WRONG {name}: {}", problems.join("; "));
            }
            Err(Error::Unsupported(what)) => left.entry(what).or_default().push(name),
            Err(error) => {
                wrong += 1;
                println!("WRONG {name}: {error}");
            }
        }
    }
    for (what, names) in &left {
        println!("left: {what}: {} ({})", names.len(), names.first().unwrap());
    }
    println!(
        "{exact} of {} as onnxruntime, {wrong} wrong, {} left",
        files.len(),
        files.len() - exact - wrong
    );
}

fn compare(program: &Program, rows: &HashMap<String, Array>) -> Result<Vec<String>, Error> {
    let total = rows.values().next().map_or(0, |array| array.rows);
    let wanted: Vec<Operand> = program
        .outputs()
        .iter()
        .flat_map(|output| output.columns.clone())
        .collect();
    let plan = program.plan(&wanted);
    let mut state = program.state();
    let mut problems = Vec::new();
    // twice in one go, then in small pieces: the answers must not depend on it
    for step in [total, total, 7] {
        let mut start = 0;
        while start < total {
            let end = (start + step).min(total);
            chunk(program, rows, start..end, &plan, &mut state, &mut problems)?;
            start = end;
        }
    }
    problems.truncate(3);
    Ok(problems)
}

fn chunk(
    program: &Program,
    rows: &HashMap<String, Array>,
    range: std::ops::Range<usize>,
    plan: &sqlml::program::Plan,
    state: &mut sqlml::program::State,
    problems: &mut Vec<String>,
) -> Result<(), Error> {
    let mut codes = Vec::new();
    for input in program.inputs() {
        let array = &rows[&format!("in_{}", input.name)];
        codes.push(match &array.values {
            Values::Texts(texts) => texts[range.clone()]
                .iter()
                .map(|text| {
                    input
                        .texts
                        .iter()
                        .position(|known| known == text)
                        .map_or(0, |at| at as u32 + 1)
                })
                .collect(),
            _ => Vec::new(),
        });
    }
    let mut columns = Vec::new();
    for (input, codes) in program.inputs().iter().zip(&codes) {
        columns.push(
            match (&rows[&format!("in_{}", input.name)].values, input.kind) {
                (Values::Numbers(values), Kind::F64) => Column::F64(&values[range.clone()]),
                (Values::Integers(values), Kind::I64) => Column::I64(&values[range.clone()]),
                (Values::Texts(_), Kind::Code) => Column::Code(codes),
                _ => panic!("{} is of another kind", input.name),
            },
        );
    }
    let frame = program.run(plan, state, range.len(), &columns)?;
    let failed: Vec<bool> = match rows.get("out_error").map(|array| &array.values) {
        Some(Values::Integers(codes)) => {
            codes[range.clone()].iter().map(|code| *code != 0).collect()
        }
        _ => vec![false; range.len()],
    };
    for output in program.outputs() {
        let Some(array) = rows.get(&format!("out_{}", output.name)) else {
            continue;
        };
        if array.columns != output.columns.len() {
            problems.push(format!(
                "{} has {} columns, not {}",
                output.name,
                output.columns.len(),
                array.columns
            ));
            continue;
        }
        for (place, operand) in output.columns.iter().enumerate() {
            let column = frame.column(*operand);
            for (row, failed) in failed.iter().enumerate() {
                if *failed && output.name != "error" {
                    continue;
                }
                let at = (range.start + row) * array.columns + place;
                let got = number(column, row);
                let (want, single) = match &array.values {
                    Values::Numbers(values) => (values[at], array.single),
                    Values::Integers(values) => (values[at] as f64, false),
                    Values::Texts(_) => continue,
                };
                let allowed = if single { 1e-6 } else { tolerance() }
                    * want.abs().max(1.0).min(want.abs().max(1e-3));
                let same =
                    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= allowed;
                if !same {
                    problems.push(format!(
                        "{}[{place}] row {}: {got:?}, not {want:?}",
                        output.name,
                        range.start + row
                    ));
                }
            }
        }
    }
    Ok(())
}

fn tolerance() -> f64 {
    std::env::var("TOLERANCE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1e-9)
}

fn number(column: Column<'_>, row: usize) -> f64 {
    match column {
        Column::Uniform(Scalar::F64(value)) => value,
        Column::Uniform(other) => other.double().unwrap_or(f64::NAN),
        Column::F64(values) => values[row],
        Column::F32(values) => f64::from(values[row]),
        Column::I64(values) => values[row] as f64,
        Column::Bool(values) => f64::from(u8::from(values[row])),
        Column::Code(_) => f64::NAN,
    }
}
