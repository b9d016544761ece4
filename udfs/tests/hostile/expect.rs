//! What tests say of a model's bytes.

use super::run::{examine, Outcome};
use super::wire::Message;
use std::time::{Duration, Instant};

/// Without optimisation, and on processors that CI emulates, everything takes some twenty times as long.
const SLOW: bool = cfg!(debug_assertions) || !cfg!(target_arch = "x86_64");
/// Of the processor's time: another program that takes it fails no test.
const LIMIT: Duration = Duration::from_secs(if SLOW { 120 } else { 10 });

/// What this thread has computed so far, where Linux tells.
fn computed() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(told.split(' ').next()?.parse().ok()?))
}

#[track_caller]
pub fn outcome(bytes: &[u8]) -> Outcome {
    let start = Instant::now();
    let before = computed();
    let outcome = examine(bytes, 7).unwrap_or_else(|why| panic!("{why}"));
    let took = match (before, computed()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => start.elapsed(),
    };
    assert!(took < LIMIT, "{took:?} for {} bytes", bytes.len());
    outcome
}

#[track_caller]
pub fn refused(model: Message) {
    assert_eq!(outcome(&model.to_bytes()), Outcome::Refused);
}

/// Whatever it makes of it, it takes neither long nor much.
#[track_caller]
pub fn survived(model: Message) {
    outcome(&model.to_bytes());
}
