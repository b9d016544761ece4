//! An ensemble made ready for scoring: features to ranks, ranks to leaves, leaves to sums.

use super::chase::Chase;
use super::descend::Descend;
use super::ensemble::{Aggregate, Ensemble};
use super::leaves::Number;
use super::lines::Lines;
use super::plain::{plain, PlainTree};
use super::rank::{searches, RankLane, Ranks, MOST_U16, MOST_U24, MOST_U8};
use super::select::{Arena, Select};
use super::walk;
use super::work::{rank_columns, Work};
use crate::isa::Isa;
use crate::program::CHUNK;
use std::sync::Arc;

/// The values of a feature in a chunk.
#[derive(Debug, Clone, Copy)]
pub enum Feature<'a> {
    One(f64),
    F64(&'a [f64]),
    F32(&'a [f32]),
}

pub struct Forest<N> {
    ensemble: Arc<Ensemble>,
    /// Features that are rounded to float32 before they are compared.
    rounded: Vec<bool>,
    isa: Isa,
    ranks: Vec<Ranks>,
    layout: Layout<N>,
}

enum Layout<N> {
    Walk,
    Select8(Select<u8, N>),
    Select16(Select<u16, N>),
    Descend(Descend<N>),
    Chase(Chase<N>),
}

/// Up to so many rows, ranking and blocks cost more than walking them.
const FEW_ROWS: usize = 6;

impl<N: Number> Forest<N> {
    /// `rounded`: one flag per feature. Answers do not depend on `isa`.
    pub fn new(ensemble: Arc<Ensemble>, rounded: Vec<bool>, isa: Isa) -> Forest<N> {
        let (ranks, layout) =
            layout(&ensemble, &rounded, isa).unwrap_or((Vec::new(), Layout::Walk));
        Forest {
            ensemble,
            rounded,
            isa,
            ranks,
            layout,
        }
    }

    /// One whose `Work::scored` tells which targets any leaf added to.
    pub fn walking(ensemble: Arc<Ensemble>, rounded: Vec<bool>) -> Forest<N> {
        Forest {
            ensemble,
            rounded,
            isa: Isa::Portable,
            ranks: Vec::new(),
            layout: Layout::Walk,
        }
    }

    pub fn is_walked(&self) -> bool {
        matches!(self.layout, Layout::Walk)
    }

    pub fn ensemble(&self) -> &Arc<Ensemble> {
        &self.ensemble
    }

    /// Leaves in `work` what the trees say of `rows` rows (at most a chunk): sums, or the smallest or largest leaf. Averages
    /// are not divided, and base values are not added. One entry of `features` per feature.
    pub fn run(&self, features: &[Feature<'_>], rows: usize, work: &mut Work<N>) {
        work.clear(self.ensemble.targets);
        let walked = match self.layout {
            Layout::Walk => true,
            Layout::Select8(_) | Layout::Select16(_) => rows <= FEW_ROWS,
            Layout::Descend(_) | Layout::Chase(_) => false,
        };
        if walked {
            walk::run(
                &self.ensemble,
                &self.rounded,
                features,
                rows,
                &mut work.sums,
                &mut work.scored,
            );
            return;
        }
        match &self.layout {
            Layout::Select8(select) => {
                self.rank(features, rows, &mut work.ranks8, &mut work.values);
                let arena = work.arena8.get_or_insert_with(Arena::new::<u8>);
                select.run(self.isa, &work.ranks8, rows, arena, &mut work.sums);
            }
            Layout::Select16(select) => {
                self.rank(features, rows, &mut work.ranks16, &mut work.values);
                let arena = work.arena16.get_or_insert_with(Arena::new::<u16>);
                select.run(self.isa, &work.ranks16, rows, arena, &mut work.sums);
            }
            Layout::Descend(descend) => {
                self.rank(features, rows, &mut work.ranks16, &mut work.values);
                descend.run(
                    self.isa,
                    &work.ranks16,
                    rows,
                    &mut work.by_row,
                    &mut work.sums,
                );
            }
            Layout::Chase(chase) => {
                self.rank(features, rows, &mut work.ranks32, &mut work.values);
                chase.run(
                    self.isa,
                    &work.ranks32,
                    rows,
                    &mut work.by_row,
                    &mut work.sums,
                );
            }
            Layout::Walk => {}
        }
    }

    fn rank<L: RankLane>(
        &self,
        features: &[Feature<'_>],
        rows: usize,
        ranks: &mut Lines<L>,
        values: &mut Vec<f64>,
    ) {
        rank_columns(
            &self.ranks,
            &self.rounded,
            self.isa,
            features,
            rows,
            ranks,
            values,
        );
    }

    /// For `sqlml_describe`.
    pub fn describe(&self) -> String {
        let most = self.ranks.iter().map(Ranks::count).max().unwrap_or(0);
        let layout = match &self.layout {
            Layout::Walk => "walked".to_owned(),
            Layout::Select8(_) => "selected by 8-bit ranks".to_owned(),
            Layout::Select16(_) => "selected by 16-bit ranks".to_owned(),
            Layout::Descend(descend) => descend.describe(),
            Layout::Chase(_) => "chased".to_owned(),
        };
        let (trees, columns) = (self.ensemble.trees.len(), self.ranks.len());
        format!(
            "{trees} trees, {layout}, {columns} columns of up to {most} thresholds, {:?}",
            self.isa
        )
    }

    /// Memory that it holds, the ensemble included.
    pub fn bytes(&self) -> usize {
        let layout = match &self.layout {
            Layout::Walk => 0,
            Layout::Select8(select) => select.bytes(),
            Layout::Select16(select) => select.bytes(),
            Layout::Descend(descend) => descend.bytes(),
            Layout::Chase(chase) => chase.bytes(),
        };
        self.ensemble.bytes() + self.ranks.iter().map(Ranks::bytes).sum::<usize>() + layout
    }
}

fn layout<N: Number>(
    ensemble: &Ensemble,
    rounded: &[bool],
    isa: Isa,
) -> Option<(Vec<Ranks>, Layout<N>)> {
    if !matches!(ensemble.aggregate, Aggregate::Sum | Aggregate::Average) {
        return None;
    }
    let plain = plain(ensemble, rounded)?;
    let ranks = searches(plain.columns);
    let most = ranks.iter().map(Ranks::count).max().unwrap_or(0);
    let trees = &plain.trees;
    let costs = Costs::of(isa);
    // An infinite cost of selecting is not below.
    let descending = (descend_levels(trees) * costs.level).min(f64::MAX);
    let steps = select_steps(trees);
    let layout = if most <= MOST_U8 && steps * costs.step8 <= descending {
        Layout::Select8(Select::new(trees)?)
    } else if most <= MOST_U16 && steps * costs.step16 <= descending {
        Layout::Select16(Select::new(trees)?)
    } else if most <= MOST_U16 && descending < f64::MAX {
        Layout::Descend(Descend::new(trees, ranks.len()))
    } else if most <= MOST_U24 {
        Layout::Chase(Chase::new(trees, ranks.len())?)
    } else {
        return None;
    };
    Some((ranks, layout))
}

/// Nanoseconds of a row, measured (`examples/trees.rs`) with 33,000 leaves in 300 trees of depth 8, 800 in 100 of depth 3, and
/// 255,000 in 1,000: selecting by 16-bit ranks reads twice the bytes, and takes more than twice the time.
struct Costs {
    step8: f64,
    step16: f64,
    /// Of a level of a tree that a row descends.
    level: f64,
}

impl Costs {
    const fn of(isa: Isa) -> Costs {
        let (step8, step16, level) = match isa {
            Isa::Avx512 => (0.015, 0.045, 0.19),
            Isa::Avx2 => (0.03, 0.065, 0.38),
            Isa::Portable => (0.35, 0.7, 1.4),
        };
        Costs {
            step8,
            step16,
            level,
        }
    }
}

/// Steps of selecting: one for each inner node.
fn select_steps(trees: &[PlainTree]) -> f64 {
    let of_tree = |tree: &PlainTree| match tree.leaves() > super::steps::MOST_LEAVES {
        true => f64::INFINITY,
        false => tree.splits() as f64,
    };
    trees.iter().map(of_tree).sum()
}

/// Levels that a row goes down, and its leaf, which takes as long as one and a third.
fn descend_levels(trees: &[PlainTree]) -> f64 {
    super::descend::groups(trees).map_or(f64::INFINITY, |groups| {
        let of_group = |(trees, depth): &(&[PlainTree], u32)| {
            trees.len() as f64 * (f64::from(*depth) + 4.0 / 3.0)
        };
        groups.iter().map(of_group).sum()
    })
}

/// Rows of a chunk that kernels work on: whole blocks.
pub(super) fn whole(rows: usize, block: usize) -> usize {
    (rows.div_ceil(block) * block).min(CHUNK)
}
