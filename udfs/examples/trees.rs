//! What trees cost: `trees model.onnx...` prints nanoseconds per row and thread of each tree operator in the files, over
//! doubles drawn from a normal distribution, for each instruction set, and of a single row.

use sqlml::isa::Isa;
use sqlml::onnx::Graph;
use sqlml::program::CHUNK;
use sqlml::trees::{Ensemble, Feature, Forest, Number, Precision, Work};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that this thread had a processor, where Linux tells: a busy machine would double what clocks say.
fn spent(since: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let graph = Graph::read(&std::fs::read(&path)?)?;
        for node in graph
            .nodes
            .iter()
            .filter(|node| node.op.starts_with("TreeEnsemble"))
        {
            let ensemble = Ensemble::of(node, 1 << 16)?;
            let features = ensemble
                .branches()
                .map(|branch| branch.feature as usize + 1)
                .max()
                .unwrap_or(0);
            let ensemble = Arc::new(Ensemble {
                features,
                ..ensemble
            });
            // Trees of scikit-learn compare what was rounded to float32.
            let rounded = graph
                .nodes
                .iter()
                .any(|other| other.op == "Cast" && other.int("to") == Some(1));
            match ensemble.precision {
                Precision::F64 => measure::<f64>(&path, &ensemble, rounded),
                Precision::F32 => measure::<f32>(&path, &ensemble, true),
            }
        }
    }
    Ok(())
}

fn measure<N: Number>(path: &str, ensemble: &Arc<Ensemble>, rounded: bool) {
    const CHUNKS: usize = 8;
    let columns: Vec<Vec<f64>> = normals(CHUNKS * ensemble.features)
        .chunks(CHUNK)
        .map(<[f64]>::to_vec)
        .collect();
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        if isa > Isa::current() {
            continue;
        }
        let forest = Forest::<N>::new(ensemble.clone(), vec![rounded; ensemble.features], isa);
        let mut work = Work::default();
        let mut run = |chunk: usize, rows: usize| {
            let columns = &columns[chunk * ensemble.features..(chunk + 1) * ensemble.features];
            let features: Vec<Feature<'_>> = columns
                .iter()
                .map(|column| Feature::F64(&column[..rows]))
                .collect();
            let start = Instant::now();
            forest.run(&features, rows, &mut work);
            (start.elapsed(), work.sums(0, rows)[0].double())
        };
        let (mut best, mut sum) = (Duration::MAX, 0.0);
        let (start, before, mut chunks) = (Instant::now(), spent(Instant::now()), 0);
        while start.elapsed() < Duration::from_millis(1500) {
            chunks += CHUNKS as u32;
            for chunk in 0..CHUNKS {
                let (time, value) = run(chunk, CHUNK);
                best = best.min(time);
                sum += value;
            }
        }
        // The fastest chunk, or the mean of what the processor was busy: whatever was less disturbed.
        best = best.min((spent(start) - before) / chunks);
        let one = (0..200)
            .map(|at| run(at % CHUNKS, 1).0)
            .min()
            .unwrap_or_default();
        let each = best.as_nanos() as f64 / CHUNK as f64;
        println!(
            "{path}: {each:.1} ns per row, {:.1} us for one row, {}, {} bytes ({sum:.3})",
            one.as_nanos() as f64 / 1e3,
            forest.describe(),
            forest.bytes()
        );
    }
}

fn normals(chunks: usize) -> Vec<f64> {
    let mut state = 88172645463325252u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..chunks * CHUNK)
        .map(|_| {
            (-2.0 * uniform().max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
        })
        .collect()
}
