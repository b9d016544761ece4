#![allow(clippy::unwrap_used, clippy::panic)] // a tool for developers
//! Time per row and step over chunks of 2048 rows.
//!
//! `cargo run --release --example speed -- <folder of .onnx> <folder of .rows> <name>...`

mod rows;

use rows::{arrays, Values};
use sqlml::lower::lower;
use sqlml::onnx::Graph;
use sqlml::program::{Column, Kind, Operand, State, CHUNK};
use std::time::Instant;

enum Owned {
    Numbers(Vec<f64>),
    Codes(Vec<u32>),
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for name in &arguments[2..] {
        let bytes = std::fs::read(format!("{}/{name}.onnx", arguments[0])).unwrap();
        let arrays = arrays(&std::fs::read(format!("{}/{name}.rows", arguments[1])).unwrap());
        let program = lower(&Graph::read(&bytes).unwrap(), bytes.len()).unwrap();
        let mut owned = Vec::new();
        for input in program.inputs() {
            // The usual ones among the rows, again and again: one denormal costs as much as a thousand others.
            owned.push(match &arrays[&format!("in_{}", input.name)].values {
                Values::Numbers(values) => {
                    let usual: Vec<f64> = values
                        .iter()
                        .copied()
                        .filter(|v| (1e-6..1e6).contains(&v.abs()))
                        .collect();
                    Owned::Numbers((0..CHUNK).map(|row| usual[row * 7 % usual.len()]).collect())
                }
                Values::Texts(texts) => {
                    let code = |text: &Vec<u8>| {
                        input
                            .texts
                            .iter()
                            .position(|t| t == text)
                            .map_or(0, |at| at as u32 + 1)
                    };
                    Owned::Codes(
                        (0..CHUNK)
                            .map(|row| code(&texts[row * 7 % texts.len()]))
                            .collect(),
                    )
                }
                Values::Integers(_) => panic!("integers"),
            });
        }
        let columns: Vec<Column<'_>> = owned
            .iter()
            .map(|column| match column {
                Owned::Numbers(values) => Column::F64(values),
                Owned::Codes(values) => Column::Code(values),
            })
            .collect();
        assert!(program
            .inputs()
            .iter()
            .all(|input| matches!(input.kind, Kind::F64 | Kind::Code)));
        let all: Vec<Operand> = program
            .outputs()
            .iter()
            .flat_map(|output| output.columns.clone())
            .collect();
        let error: Vec<Operand> = program
            .output("error")
            .map_or(Vec::new(), |output| output.columns.clone());
        for (what, wanted) in [("all", all), ("error", error)] {
            let (plan, mut state) = (program.plan(&wanted), program.state());
            // The best of single chunks: another process's time slice is longer than one of them.
            let best = |columns: &[Column<'_>], rows: usize, state: &mut State| {
                let mut best = f64::MAX;
                for _ in 0..2000 {
                    let start = Instant::now();
                    assert_eq!(
                        program.run(&plan, state, rows, columns).unwrap().rows(),
                        rows
                    );
                    best = best.min(start.elapsed().as_nanos() as f64);
                }
                best
            };
            let one: Vec<Column<'_>> = columns
                .iter()
                .map(|column| match column {
                    Column::F64(values) => Column::F64(&values[..1]),
                    Column::Code(values) => Column::Code(&values[..1]),
                    other => *other,
                })
                .collect();
            let chunk = best(&columns, CHUNK, &mut state) / CHUNK as f64;
            let single = best(&one, 1, &mut state);
            let steps = program.steps().len();
            println!("{name} {what}: {chunk:.2} ns/row, one row {single} ns, {steps} steps");
            if std::env::var("STEPS").is_ok() && what == "all" {
                let mut best = vec![f64::MAX; program.steps().len()];
                let mut order = Vec::new();
                for _ in 0..200 {
                    order.clear();
                    let mut start = Instant::now();
                    let watch = |step: usize| {
                        best[step] = best[step].min(start.elapsed().as_nanos() as f64);
                        order.push(step);
                        start = Instant::now();
                    };
                    program
                        .run_watched(&plan, &mut state, CHUNK, &columns, watch)
                        .unwrap();
                }
                for step in order {
                    println!(
                        "  {:8.3} ns/row  {}",
                        best[step] / CHUNK as f64,
                        program.steps()[step].name()
                    );
                }
            }
        }
    }
}
