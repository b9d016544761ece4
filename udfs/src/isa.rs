//! The instruction set that kernels use, detected once.

use std::sync::OnceLock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    Portable,
    Avx2,
    Avx512,
}

impl Isa {
    /// The best one that this processor has and that `SQLML_ISA` allows.
    pub fn current() -> Isa {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| detect().min(limit().unwrap_or(Isa::Avx512)))
    }
}

/// What is wrong with the environment's limit, if anything: answers are the same, but measurements would be of another set.
pub fn check_environment() -> Result<(), String> {
    limit().map(|_| ())
}

fn limit() -> Result<Isa, String> {
    let Some(named) = std::env::var_os("SQLML_ISA").filter(|named| !named.is_empty()) else {
        return Ok(Isa::Avx512);
    };
    match named.to_str() {
        Some("portable") => Ok(Isa::Portable),
        Some("avx2") => Ok(Isa::Avx2),
        Some("avx512") => Ok(Isa::Avx512),
        _ => Err(format!(
            "sqlml: SQLML_ISA is {named:?}, not portable, avx2 or avx512"
        )),
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("fma")
    {
        Isa::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Isa::Avx2
    } else {
        Isa::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Portable
}
