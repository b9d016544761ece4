//! Dense columns, in register tiles.

use super::tile::{self, Part};
use crate::isa::Isa;
use crate::program::Column;

/// Input columns packed at once: 256 x 16 doubles stay in a 48 kB first-level cache beside their weights.
const PANEL: usize = 256;
/// Rows for which all blocks of outputs are computed while their packed columns are in the cache.
const STRIP: usize = 256;
/// Values packed at once where there is more than one block: half of that cache, beside the block's weights.
const VALUES: usize = 3 << 10;

/// Scratch: tiles of 16 rows of up to `PANEL` columns.
pub type Packed = Vec<[f64; tile::ROWS]>;

/// A constant matrix [inputs, outputs], kept in the order in which the tiles read it.
#[derive(Debug)]
pub struct Weights {
    inputs: usize,
    outputs: usize,
    /// Blocks of outputs; in each, for every input, the block's weights (the last block is filled up with 0).
    tiles: Vec<[f64; tile::OUTPUTS]>,
}

impl Weights {
    /// `value(input, output)` is asked once for every weight.
    pub fn new(inputs: usize, outputs: usize, value: impl Fn(usize, usize) -> f64) -> Weights {
        let blocks = outputs.div_ceil(tile::OUTPUTS);
        let mut tiles = Vec::with_capacity(blocks * inputs);
        for block in 0..blocks {
            for input in 0..inputs {
                let mut tile = [0.0; tile::OUTPUTS];
                for (lane, weight) in tile.iter_mut().enumerate() {
                    let output = block * tile::OUTPUTS + lane;
                    if output < outputs {
                        *weight = value(input, output);
                    }
                }
                tiles.push(tile);
            }
        }
        Weights {
            inputs,
            outputs,
            tiles,
        }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn bytes(&self) -> usize {
        self.tiles.len() * size_of::<[f64; tile::OUTPUTS]>()
    }
}

/// Adds columns x weights to the sums, one vector of `rows` values per output.
pub fn add_product(
    isa: Isa,
    columns: &[Column<'_>],
    weights: &Weights,
    part: Part<'_>,
    rows: usize,
    sums: &mut [Vec<f64>],
    packed: &mut Packed,
) {
    let panels = columns.len().div_ceil(PANEL);
    for (panel, columns) in columns.chunks(PANEL).enumerate() {
        let weights = Panel {
            weights,
            first: panel * PANEL,
            part: Part {
                first: part.first && panel == 0,
                finish: match panel + 1 == panels {
                    true => part.finish,
                    false => &[],
                },
            },
        };
        let whole = rows - rows % tile::ROWS;
        let step = match weights.weights.outputs <= tile::OUTPUTS {
            true => STRIP,
            false => (VALUES / columns.len() / tile::ROWS * tile::ROWS).clamp(tile::ROWS, STRIP),
        };
        for start in (0..whole).step_by(step) {
            let length = step.min(whole - start);
            strip(isa, columns, &weights, start, length, sums, packed);
        }
        if whole < rows {
            tail(isa, columns, &weights, whole, rows - whole, sums, packed);
        }
    }
}

/// The weights of some inputs, from the first on.
struct Panel<'a> {
    weights: &'a Weights,
    first: usize,
    part: Part<'a>,
}

impl<'a> Panel<'a> {
    /// Each block's weights, and what is done with its sums.
    fn blocks(&self) -> impl Iterator<Item = (&'a [[f64; tile::OUTPUTS]], Part<'a>)> {
        let (first, part) = (self.first, self.part);
        let blocks = self.weights.tiles.chunks_exact(self.weights.inputs.max(1));
        blocks.enumerate().map(move |(index, block)| {
            let finish = part.finish.get(index * tile::OUTPUTS..).unwrap_or_default();
            (&block[first..], Part { finish, ..part })
        })
    }
}

/// Rows that are whole tiles.
fn strip(
    isa: Isa,
    columns: &[Column<'_>],
    weights: &Panel<'_>,
    start: usize,
    length: usize,
    sums: &mut [Vec<f64>],
    packed: &mut Packed,
) {
    let tiles = length / tile::ROWS;
    // Columns as they are, if one block of outputs reads them once. Otherwise they are packed: columns lie 16 kB apart, in
    // the same few places of the first-level cache.
    let mut inputs: Vec<&tile::Tiles> = Vec::with_capacity(columns.len());
    if weights.weights.outputs <= tile::OUTPUTS {
        inputs.extend(columns.iter().map_while(|column| match column {
            Column::F64(values) => Some(values.get(start..start + length)?.as_chunks().0),
            _ => None,
        }));
    }
    if inputs.len() < columns.len() {
        packed.resize(columns.len() * tiles, [0.0; tile::ROWS]);
        for (column, packed) in columns.iter().zip(packed.chunks_exact_mut(tiles)) {
            for (index, lanes) in packed.iter_mut().enumerate() {
                pack(column, start + index * tile::ROWS, tile::ROWS, lanes);
            }
        }
        inputs.clear();
        inputs.extend(packed.chunks_exact(tiles));
    }
    for ((block, part), sums) in weights.blocks().zip(sums.chunks_mut(tile::OUTPUTS)) {
        let mut sums: Vec<&mut tile::Tiles> = sums
            .iter_mut()
            .map(|sums| sums[start..start + length].as_chunks_mut().0)
            .collect();
        tile::add_product(isa, &inputs, block, part, &mut sums);
    }
}

/// The last rows, fewer than a tile.
fn tail(
    isa: Isa,
    columns: &[Column<'_>],
    weights: &Panel<'_>,
    start: usize,
    length: usize,
    sums: &mut [Vec<f64>],
    packed: &mut Packed,
) {
    gather_tile(columns, start, length, packed);
    let inputs: Vec<&tile::Tiles> = packed.chunks_exact(1).collect();
    for ((block, part), sums) in weights.blocks().zip(sums.chunks_mut(tile::OUTPUTS)) {
        let mut filled = [[[0.0; tile::ROWS]; 1]; tile::OUTPUTS];
        for (filled, sums) in filled.iter_mut().zip(sums.iter()) {
            filled[0][..length].copy_from_slice(&sums[start..start + length]);
        }
        let mut tiles: Vec<&mut tile::Tiles> = filled
            .iter_mut()
            .take(sums.len())
            .map(|filled| &mut filled[..])
            .collect();
        tile::add_product(isa, &inputs, block, part, &mut tiles);
        for (filled, sums) in filled.iter().zip(sums.iter_mut()) {
            sums[start..start + length].copy_from_slice(&filled[0][..length]);
        }
    }
}

/// The rows from `start` on of all columns, 16 together.
pub fn gather_tile(columns: &[Column<'_>], start: usize, length: usize, packed: &mut Packed) {
    packed.resize(columns.len(), [0.0; tile::ROWS]);
    for (column, lanes) in columns.iter().zip(packed.iter_mut()) {
        pack(column, start, length, lanes);
    }
}

#[inline(always)]
fn pack(column: &Column<'_>, start: usize, length: usize, lanes: &mut [f64; tile::ROWS]) {
    match column {
        Column::F64(values) => match values[start..].first_chunk::<{ tile::ROWS }>() {
            Some(whole) if length == tile::ROWS => *lanes = *whole,
            _ => lanes[..length].copy_from_slice(&values[start..start + length]),
        },
        Column::F32(values) => {
            for (lane, value) in lanes.iter_mut().zip(&values[start..start + length]) {
                *lane = f64::from(*value);
            }
        }
        other => lanes.fill(uniform(other)),
    }
}

fn uniform(column: &Column<'_>) -> f64 {
    match column {
        Column::Uniform(value) => value.double().unwrap_or_default(),
        _ => 0.0, // only floating-point columns are ever multiplied
    }
}
