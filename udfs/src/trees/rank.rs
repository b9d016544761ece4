//! Values to ranks: how many thresholds of a feature lie below each value.
//!
//! The range between the smallest and the largest threshold is cut into equal buckets; a bucket knows how many thresholds
//! lie before it, and a search over the few inside it does the rest. Both are monotone in floating point, so the rank is
//! exact wherever thresholds lie. A binary search alone would be 7 to 12 dependent gathers; buckets leave 2 or 3.

use super::ensemble::contains;
use super::plain::{By, Ranked};
use crate::isa::Isa;

pub(super) struct Ranks {
    pub feature: u32,
    pub missing_low: bool,
    /// The column before ranks the same feature by the same thresholds: only NaN differs.
    pub copies_last: bool,
    pub by: Search,
}

pub(super) enum Search {
    /// So few that each is compared with.
    Count(Vec<f64>),
    Buckets(Buckets),
    Set(Vec<f64>),
}

pub(super) struct Buckets {
    /// Followed by infinities, so that the search may look behind the end.
    pub thresholds: Vec<f64>,
    /// Thresholds before each bucket.
    pub starts: Vec<u32>,
    pub low: f64,
    pub factor: f64,
    /// Number of the last bucket.
    pub last: f64,
    /// 2^steps - 1 thresholds are the most in a bucket.
    pub steps: u32,
}

const FEW: usize = 8;
const MOST_BUCKETS: usize = 8192;

/// Ranks as trees compare them. `MISSING_HIGH` is above every bin.
pub(super) trait Lane: Copy + Default + PartialOrd + Send + Sync + 'static {
    const MISSING_HIGH: Self;
    fn of(rank: u32) -> Self;
    fn number(self) -> u32;
}

impl Lane for u8 {
    const MISSING_HIGH: u8 = u8::MAX;
    fn of(rank: u32) -> u8 {
        rank as u8
    }
    fn number(self) -> u32 {
        u32::from(self)
    }
}

impl Lane for u16 {
    const MISSING_HIGH: u16 = u16::MAX;
    fn of(rank: u32) -> u16 {
        rank as u16
    }
    fn number(self) -> u32 {
        u32::from(self)
    }
}

impl Lane for u32 {
    /// Nodes have 24 bits for a bin.
    const MISSING_HIGH: u32 = (1 << 24) - 1;
    fn of(rank: u32) -> u32 {
        rank
    }
    fn number(self) -> u32 {
        self
    }
}

/// The most thresholds of a feature that an integer of this many values can rank: bins then end one below `MISSING_HIGH`.
pub(super) const MOST_U8: usize = u8::MAX as usize;
pub(super) const MOST_U16: usize = u16::MAX as usize;
pub(super) const MOST_U24: usize = (1 << 24) - 2;

pub(super) fn searches(columns: Vec<Ranked>) -> Vec<Ranks> {
    let mut found: Vec<Ranks> = Vec::with_capacity(columns.len());
    for column in columns {
        let copies_last = match (&column.by, found.last()) {
            (By::Thresholds(_), Some(last)) => {
                last.feature == column.feature && !matches!(last.by, Search::Set(_))
            }
            _ => false,
        };
        let by = match column.by {
            By::Set(set) => Search::Set(set),
            By::Thresholds(thresholds) if thresholds.len() <= FEW => Search::Count(thresholds),
            By::Thresholds(thresholds) => Search::Buckets(Buckets::new(thresholds)),
        };
        found.push(Ranks {
            feature: column.feature,
            missing_low: column.missing_low,
            copies_last,
            by,
        });
    }
    found
}

impl Buckets {
    /// As few buckets as leave the fewest thresholds in the fullest one, within reason.
    pub fn new(mut thresholds: Vec<f64>) -> Buckets {
        let count = thresholds.len();
        let finite = |value: &&f64| value.is_finite();
        let low = thresholds.iter().find(finite).copied().unwrap_or(0.0);
        let high = thresholds.iter().rfind(finite).copied().unwrap_or(0.0);
        let mut best = Buckets {
            thresholds: Vec::new(),
            starts: vec![0],
            low: 0.0,
            factor: 0.0,
            last: 0.0,
            steps: steps(count),
        };
        let mut buckets = 16;
        while best.steps > 1 && buckets <= MOST_BUCKETS && buckets <= 16 * count.next_power_of_two()
        {
            let factor = (buckets as f64 - 1.0) / (high - low);
            if !factor.is_normal() || factor < 0.0 {
                break;
            }
            let mut tried = Buckets {
                thresholds: Vec::new(),
                starts: Vec::new(),
                low,
                factor,
                last: buckets as f64 - 1.0,
                steps: 0,
            };
            let mut counts = vec![0usize; buckets];
            thresholds
                .iter()
                .for_each(|threshold| counts[tried.bucket(*threshold)] += 1);
            tried.steps = steps(counts.iter().copied().max().unwrap_or_default());
            if tried.steps < best.steps {
                let mut before = 0;
                for count in counts {
                    tried.starts.push(before as u32);
                    before += count;
                }
                best = tried;
            }
            buckets *= 2;
        }
        thresholds.resize(count + (1 << best.steps), f64::INFINITY);
        best.thresholds = thresholds;
        best
    }

    /// The SIMD kernels do exactly this: subtract, multiply, clamp (NaN becomes 0), truncate.
    fn bucket(&self, value: f64) -> usize {
        let place = (value - self.low) * self.factor;
        let place = if place > 0.0 { place } else { 0.0 };
        (if place < self.last { place } else { self.last }) as usize
    }

    pub fn rank(&self, value: f64) -> u32 {
        let mut rank = self.starts[self.bucket(value)] as usize;
        for step in (0..self.steps).rev() {
            // One past the end of the bucket is another bucket's threshold, which is above the value, or infinity.
            let probe = self.thresholds[(rank + (1 << step) - 1).min(self.thresholds.len() - 1)];
            rank += usize::from(probe < value) << step;
        }
        rank as u32
    }
}

/// How often a search over so many thresholds looks.
fn steps(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}

impl Ranks {
    pub fn count(&self) -> usize {
        match &self.by {
            Search::Count(thresholds) => thresholds.len(),
            Search::Buckets(buckets) => buckets.thresholds.len() - (1 << buckets.steps),
            Search::Set(_) => 1,
        }
    }

    pub fn bytes(&self) -> usize {
        size_of::<Ranks>()
            + match &self.by {
                Search::Count(values) | Search::Set(values) => size_of_val(values.as_slice()),
                Search::Buckets(buckets) => {
                    size_of_val(buckets.thresholds.as_slice())
                        + size_of_val(buckets.starts.as_slice())
                }
            }
    }

    pub fn one<L: Lane>(&self, value: f64) -> L {
        if value.is_nan() {
            return if self.missing_low {
                L::of(0)
            } else {
                L::MISSING_HIGH
            };
        }
        L::of(match &self.by {
            Search::Count(thresholds) => thresholds
                .iter()
                .map(|threshold| u32::from(*threshold < value))
                .sum(),
            Search::Buckets(buckets) => buckets.rank(value),
            Search::Set(set) => u32::from(!contains(set, value)),
        })
    }

    /// `out` is as long as `values`. Whether there may be a NaN.
    pub fn many<L: RankLane>(&self, isa: Isa, values: &[f64], out: &mut [L]) -> bool {
        let has_nan = match &self.by {
            Search::Set(set) => {
                for (value, out) in values.iter().zip(&mut *out) {
                    *out = L::of(u32::from(!contains(set, *value)));
                }
                true
            }
            Search::Count(thresholds) => L::count(isa, thresholds, values, out),
            Search::Buckets(buckets) => L::search(isa, buckets, values, out),
        };
        if has_nan {
            self.place_missing(values, out);
        }
        has_nan
    }

    pub fn place_missing<L: Lane>(&self, values: &[f64], out: &mut [L]) {
        let missing = if self.missing_low {
            L::of(0)
        } else {
            L::MISSING_HIGH
        };
        for (value, out) in values.iter().zip(out) {
            if value.is_nan() {
                *out = missing;
            }
        }
    }
}

/// The instruction sets' ways; each returns whether there may be a NaN, whose rank is any.
pub(super) trait RankLane: Lane {
    fn count(isa: Isa, thresholds: &[f64], values: &[f64], out: &mut [Self]) -> bool;
    fn search(isa: Isa, buckets: &Buckets, values: &[f64], out: &mut [Self]) -> bool;
}

macro_rules! rank_lane {
    ($lane:ty, $count:ident, $search:ident) => {
        impl RankLane for $lane {
            fn count(isa: Isa, thresholds: &[f64], values: &[f64], out: &mut [Self]) -> bool {
                match isa {
                    // SAFETY: the processor has the instructions that `isa` stands for.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => unsafe { super::rank_avx512::$count(thresholds, values, out) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => unsafe { super::rank_avx2::$count(thresholds, values, out) },
                    _ => count(thresholds, values, out),
                }
            }

            fn search(isa: Isa, buckets: &Buckets, values: &[f64], out: &mut [Self]) -> bool {
                match isa {
                    // SAFETY: the processor has the instructions that `isa` stands for.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => unsafe { super::rank_avx512::$search(buckets, values, out) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => unsafe { super::rank_avx2::$search(buckets, values, out) },
                    _ => search(buckets, values, out),
                }
            }
        }
    };
}

rank_lane!(u8, count_u8, search_u8);
rank_lane!(u16, count_u16, search_u16);
rank_lane!(u32, count_u32, search_u32);

pub(super) fn count<L: Lane>(thresholds: &[f64], values: &[f64], out: &mut [L]) -> bool {
    let mut has_nan = false;
    for (value, out) in values.iter().zip(out) {
        *out = L::of(
            thresholds
                .iter()
                .map(|threshold| u32::from(*threshold < *value))
                .sum(),
        );
        has_nan |= value.is_nan();
    }
    has_nan
}

pub(super) fn search<L: Lane>(buckets: &Buckets, values: &[f64], out: &mut [L]) -> bool {
    let mut has_nan = false;
    for (value, out) in values.iter().zip(out) {
        *out = L::of(buckets.rank(*value));
        has_nan |= value.is_nan();
    }
    has_nan
}
