//! Damaged models: refused or run, never a crash, a panic, a hang or memory without bounds, and the same answers with
//! every instruction set.
//!
//! SQLML_MUTATIONS is how many (a million takes some ten minutes with `--release`), SQLML_MODELS a folder of more .onnx
//! files to damage, SQLML_SEED another beginning. What fails is written to the target folder's tmp/ and named.

#![allow(clippy::expect_used, clippy::panic)] // a test may give up

mod hostile;

use hostile::memory::Counting;
use hostile::models::FAMILIES;
use hostile::mutate::{mutate, taken_apart};
use hostile::random::Random;
use hostile::run::{examine, Outcome};
use hostile::wire::Message;
use std::os::unix::fs::FileExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one case may take, run four times over; a debug build under an emulator has to manage, too.
const LIMIT: Duration = Duration::from_secs(60);
const BLOCK: u64 = 500;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

struct Bases {
    files: Vec<Message>,
}

impl Bases {
    fn new() -> Bases {
        let mut paths: Vec<PathBuf> = Vec::new();
        if let Some(folder) = std::env::var_os("SQLML_MODELS") {
            let entries = std::fs::read_dir(folder).expect("the folder of models");
            paths.extend(
                entries
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.extension().is_some_and(|x| x == "onnx")),
            );
        }
        paths.sort();
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .ok()
                .filter(|bytes| bytes.len() < 100_000)
        };
        Bases {
            files: paths
                .iter()
                .filter_map(read)
                .filter_map(|bytes| taken_apart(&bytes))
                .collect(),
        }
    }

    fn pick(&self, random: &mut Random) -> Message {
        match random
            .below(FAMILIES.len() + 2 * FAMILIES.len() * usize::from(!self.files.is_empty()))
        {
            family if family < FAMILIES.len() => FAMILIES[family].1(random),
            _ => random.pick(&self.files).clone(),
        }
    }
}

fn damaged(bases: &Bases, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let model = bases.pick(&mut random);
    let other = if random.chance(3) {
        bases.pick(&mut random)
    } else {
        model.clone()
    };
    mutate(&mut random, &model, &other)
}

thread_local! {
    /// Where the last panic was.
    static PLACE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Runs all cases; prints a line per block for the parent to compare, and one per failure.
fn all_cases(cases: u64) -> Vec<String> {
    static AT: AtomicU64 = AtomicU64::new(u64::MAX);
    let start = setting("SQLML_SEED", 1) << 32;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).expect("the target folder");
    std::panic::set_hook(Box::new(|panic| {
        PLACE.set(
            panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default(),
        );
    }));
    std::thread::spawn(|| {
        let (mut last, mut since) = (AT.load(Ordering::Relaxed), Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = AT.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > LIMIT {
                eprintln!("case {now} does not end");
                std::process::abort();
            }
        }
    });
    let progress =
        std::env::var_os("SQLML_PROGRESS").map(|path| std::fs::File::create(path).expect("a file"));
    let bases = Bases::new();
    let (mut refused, mut unsupported, mut ran, mut hash) = (0u64, 0u64, 0u64, 0u64);
    let mut failures = Vec::new();
    for case in 0..cases {
        let seed = start + case;
        AT.store(seed, Ordering::Relaxed);
        if let Some(file) = &progress {
            file.write_all_at(&seed.to_le_bytes(), 0)
                .expect("a written number");
        }
        let bytes = damaged(&bases, seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| examine(&bytes, seed)));
        let failure = match outcome {
            Ok(Ok(outcome)) => {
                match &outcome {
                    Outcome::Refused => refused += 1,
                    Outcome::Unsupported(_) => unsupported += 1,
                    Outcome::Ran(_) => ran += 1,
                }
                let found = if let Outcome::Ran(found) = &outcome {
                    *found
                } else {
                    0
                };
                hash = (hash ^ found)
                    .wrapping_mul(0x0000_0100_0000_01b3)
                    .rotate_left(23);
                None
            }
            Ok(Err(why)) => Some(why),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Some(format!(
                    "panicked at {}: {}",
                    PLACE.take(),
                    text.unwrap_or_default()
                ))
            }
        };
        if let Some(why) = failure {
            let path = folder.join(format!("case-{seed}.onnx"));
            std::fs::write(&path, &bytes).expect("the case written");
            println!("FAILED {seed}: {why} ({})", path.display());
            failures.push(format!("{seed}: {why}"));
        }
        if case % BLOCK == BLOCK - 1 {
            println!("BLOCK {} {hash:x}", case / BLOCK);
        }
    }
    let _ = std::panic::take_hook();
    println!("DONE {cases} cases: {ran} ran, {refused} refused, {unsupported} for onnxruntime, {} failed", failures.len());
    failures
}

#[test]
#[ignore = "what the test below starts, once per instruction set"]
fn cases_of_one_process() {
    assert!(all_cases(setting("SQLML_MUTATIONS", 0)).is_empty());
}

#[test]
fn damaged_models_are_refused_or_run() {
    let cases = setting(
        "SQLML_MUTATIONS",
        if cfg!(debug_assertions) {
            4_000
        } else {
            20_000
        },
    );
    if !cfg!(target_arch = "x86_64") || setting("SQLML_ONE_PROCESS", 0) == 1 {
        assert_eq!(all_cases(cases), Vec::<String>::new());
        return;
    }
    let mut answers: Vec<(&str, Vec<String>)> = Vec::new();
    for isa in ["portable", "avx2", "avx512"] {
        let progress = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("progress-{isa}"));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "cases_of_one_process",
            ])
            .env("SQLML_ISA", isa)
            .env("SQLML_MUTATIONS", cases.to_string())
            .env("SQLML_PROGRESS", &progress)
            .output()
            .expect("a process");
        let printed = String::from_utf8_lossy(&child.stdout).into_owned();
        let last = std::fs::read(&progress)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes);
        let failed: Vec<&str> = printed
            .lines()
            .filter(|line| line.contains("FAILED"))
            .take(20)
            .collect();
        let complaint = String::from_utf8_lossy(&child.stderr).into_owned();
        assert!(
            child.status.success(),
            "{isa}: {} at case {last:?}\n{}\n{complaint}",
            child.status,
            failed.join("\n")
        );
        println!(
            "{isa}: {}",
            printed
                .lines()
                .find(|line| line.contains("DONE"))
                .unwrap_or_default()
        );
        answers.push((
            isa,
            printed
                .lines()
                .filter(|line| line.contains("BLOCK"))
                .map(str::to_owned)
                .collect(),
        ));
    }
    for (isa, found) in &answers[1..] {
        let differing = found
            .iter()
            .zip(&answers[0].1)
            .find(|(found, portable)| found != portable);
        assert!(
            differing.is_none(),
            "{isa} has other answers than portable code: {differing:?}"
        );
        assert_eq!(found.len(), answers[0].1.len());
    }
}

/// Without damage, every family loads or is left to onnxruntime: what is damaged above is not nonsense to begin with.
#[test]
fn models_as_made_run() {
    let mut left: Vec<String> = Vec::new();
    for (name, made) in FAMILIES {
        for seed in 0..if cfg!(debug_assertions) { 20 } else { 60 } {
            let bytes = made(&mut Random(seed)).to_bytes();
            match examine(&bytes, seed) {
                Ok(Outcome::Ran(_)) => {}
                Ok(Outcome::Unsupported(what)) => left.push(format!("{name}: {what}")),
                other => panic!("{name} with seed {seed}: {other:?}"),
            }
        }
    }
    left.sort_unstable();
    left.dedup();
    println!("left to onnxruntime: {left:#?}");
}

/// For tools that need a file: a classifier of three columns.
#[test]
#[ignore = "looks at the file that SQLML_CASE names, as a failure wrote it"]
fn a_case_again() {
    if let Some(path) = std::env::var_os("SQLML_CASE") {
        let seed = setting("SQLML_SEED", 1);
        println!(
            "{:?}",
            examine(&std::fs::read(path).expect("the case"), seed)
        );
    }
}

#[test]
#[ignore = "writes the file that SQLML_WRITE_MODEL names"]
fn a_model_to_show() {
    if let Some(path) = std::env::var_os("SQLML_WRITE_MODEL") {
        let model = hostile::trees::classic(&mut Random(5), true, true);
        std::fs::write(path, model.to_bytes()).expect("a written file");
    }
}
