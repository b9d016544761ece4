//! The step that explains one tree ensemble, and how a graph gets it.

use super::paths::{path_trees, Features, PathTree, NONE};
use super::request::Asked;
use super::walk::{walk, Lanes, Walker, LANES};
use super::{covers, quadrature};
use crate::error::{malformed, unsupported, Result};
use crate::isa::Isa;
use crate::lower::Rows;
use crate::onnx::{Graph, Node};
use crate::program::{Arm, Builder, Frame, Kernel, Kind, Operand, Scalar, Scratch, Slot};
use crate::trees::{Aggregate, Ensemble};

/// Working memory of one thread; a tree as deep as its features are many takes the square of that.
const LARGEST: usize = 64 << 20;

/// One ensemble's trees and where their features come from.
pub struct Explain {
    inputs: Vec<Operand>,
    outputs: Vec<(Slot, Kind)>,
    /// Per output: its place among scores x columns.
    places: Vec<usize>,
    trees: Vec<PathTree>,
    sets: Vec<Vec<f64>>,
    columns: usize,
    scores: usize,
    depth: usize,
    features: usize,
}

/// What an ensemble says on average, by score, and per score and column the operand of its contributions.
pub struct Made {
    pub base: Vec<f64>,
    pub contributions: Vec<Operand>,
}

#[derive(Default)]
struct Working {
    walker: Option<((usize, usize, usize), Walker)>,
    inputs: Vec<Lanes>,
    sums: Vec<Lanes>,
}

impl Explain {
    /// Adds the step for the trees of `node`, whose input the builder has as `rows`.
    pub fn lower(
        node: &Node,
        note: &str,
        asked: &Asked,
        (scores, columns): (usize, usize),
        rows: &Rows,
        builder: &mut Builder,
    ) -> Result<Made> {
        let width = rows.columns.len();
        let ensemble = ensemble(node, note, width)?;
        if asked.columns.len() != width {
            return malformed(format!(
                "a request about {} of {width} features",
                asked.columns.len()
            ));
        }
        if asked.players.iter().any(|player| *player as usize >= width) {
            return malformed("a feature that is a part of none");
        }
        let mut used = vec![false; width];
        for branch in ensemble.branches() {
            used[branch.feature as usize] = true;
        }
        let (mut places, mut inputs) = (vec![NONE; width], Vec::new());
        for (feature, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            if asked.columns[feature] != NONE {
                places[feature] = inputs.len() as u32;
                inputs.push(rows.columns[feature]);
            }
        }
        let features = Features {
            places: &places,
            players: &asked.players,
            columns: &asked.columns,
            terms: &asked.terms,
        };
        let trees = path_trees(&ensemble, &features)?;
        let mut made = Explain {
            inputs,
            outputs: Vec::new(),
            places: Vec::new(),
            depth: trees.iter().map(|tree| tree.depth).max().unwrap_or(0),
            features: trees.iter().map(|tree| tree.features).max().unwrap_or(0),
            trees,
            sets: ensemble.sets,
            columns,
            scores,
        };
        builder.spend(made.held())?;
        if made.working() > LARGEST {
            return unsupported("explaining trees so deep");
        }
        let mut base = vec![0.0; scores];
        let mut touched = vec![false; scores * columns];
        for tree in &made.trees {
            for (score, mean) in tree.scores.iter().zip(&tree.mean) {
                base[*score as usize] += mean;
                for edge in &tree.edges {
                    touched[*score as usize * columns + edge.column as usize] = true;
                }
            }
        }
        let mut contributions = vec![Operand::Constant(Scalar::F64(0.0)); scores * columns];
        for place in (0..touched.len()).filter(|place| touched[*place]) {
            let slot = builder.slot(Kind::F64)?;
            made.outputs.push((slot, Kind::F64));
            made.places.push(place);
            contributions[place] = Operand::Slot(slot);
        }
        if !made.outputs.is_empty() {
            builder.push(made);
        }
        Ok(Made {
            base,
            contributions,
        })
    }

    fn outputs_of_a_tree(&self) -> usize {
        self.trees
            .iter()
            .map(|tree| tree.scores.len())
            .max()
            .unwrap_or(0)
    }

    fn held(&self) -> usize {
        self.trees
            .iter()
            .map(|tree| 48 * (tree.edges.len() + tree.splits.len()) + 8 * tree.values.len())
            .sum()
    }

    fn working(&self) -> usize {
        let points = quadrature::points(self.features);
        let level = points.saturating_mul((2 + self.outputs_of_a_tree()) * size_of::<Lanes>());
        let accounts = (self.scores * self.columns + self.inputs.len()) * size_of::<Lanes>();
        level
            .saturating_mul(self.depth + 1)
            .saturating_add(accounts)
    }
}

impl Kernel for Explain {
    fn name(&self) -> &'static str {
        "tree explanation"
    }

    fn inputs(&self) -> &[Operand] {
        &self.inputs
    }

    fn outputs(&self) -> &[(Slot, Kind)] {
        &self.outputs
    }

    fn run(&self, frame: &mut Frame<'_>, scratch: &mut Scratch) -> Result<()> {
        let rows = frame.rows();
        let mut out: Vec<Vec<f64>> = self.outputs.iter().map(|_| frame.take::<f64>()).collect();
        let columns = self
            .inputs
            .iter()
            .map(|operand| Given::of(frame, *operand))
            .collect::<Result<Vec<_>>>()?;
        let working = scratch.get::<Working>();
        let size = (self.features, self.depth, self.outputs_of_a_tree());
        let walker = match &mut working.walker {
            Some((known, walker)) if *known == size => walker,
            other => &mut other.insert((size, Walker::new(size.0, size.1, size.2))).1,
        };
        working.inputs.resize(columns.len(), [0.0; LANES]);
        for start in (0..rows).step_by(LANES) {
            let count = LANES.min(rows - start);
            for (lanes, column) in working.inputs.iter_mut().zip(&columns) {
                column.fill(start, count, lanes);
            }
            working.sums.clear();
            working
                .sums
                .resize(self.scores * self.columns, [0.0; LANES]);
            walk(
                Isa::current(),
                walker,
                &self.trees,
                &working.inputs,
                &self.sets,
                &mut working.sums,
                self.columns,
            );
            for (values, place) in out.iter_mut().zip(&self.places) {
                values[start..start + count].copy_from_slice(&working.sums[*place][..count]);
            }
        }
        for ((slot, _), values) in self.outputs.iter().zip(out) {
            frame.put(*slot, values);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.held()
    }
}

/// A feature's values, in double whatever the trees compare in.
enum Given<'a> {
    Double(Arm<'a, f64>),
    Single(Arm<'a, f32>),
}

impl Given<'_> {
    fn of<'a>(frame: &'a Frame<'_>, operand: Operand) -> Result<Given<'a>> {
        match frame.read::<f64>(operand) {
            Ok(values) => Ok(Given::Double(values)),
            Err(_) => Ok(Given::Single(frame.read::<f32>(operand)?)),
        }
    }

    /// Lanes past the last row keep what they had: nobody reads what becomes of them.
    fn fill(&self, start: usize, count: usize, lanes: &mut Lanes) {
        for (i, lane) in lanes.iter_mut().take(count).enumerate() {
            *lane = match self {
                Given::Double(values) => values.at(start + i),
                Given::Single(values) => f64::from(values.at(start + i)),
            };
        }
    }
}

/// The trees of a TreeEnsemble that adds its leaves up, with the training weights of its leaves.
fn ensemble(node: &Node, note: &str, features: usize) -> Result<Ensemble> {
    let Some(covers) = covers::read(note) else {
        return malformed("training weights that are none");
    };
    let ensemble = Ensemble::with_covers(node, features, &covers)?;
    let plain = node.int("post_transform").unwrap_or(0) == 0 && ensemble.base.is_empty();
    if ensemble.aggregate != Aggregate::Sum || !plain {
        return unsupported("explaining trees that are not added up");
    }
    Ok(ensemble)
}

/// The node that makes a tensor.
pub fn maker<'g>(graph: &'g Graph, tensor: &str) -> Option<&'g Node> {
    graph
        .nodes
        .iter()
        .find(|node| node.op == "TreeEnsemble" && node.outputs.iter().any(|name| name == tensor))
}
