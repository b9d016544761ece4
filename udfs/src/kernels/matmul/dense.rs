//! Dense columns, in register tiles.

use super::tile;
use crate::isa::Isa;
use crate::program::Column;

/// Input columns packed at once: 256 x 16 doubles stay in a 48 kB first-level cache beside their weights.
const PANEL: usize = 256;
/// Scratch: 16 rows of up to `PANEL` columns.
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
    rows: usize,
    sums: &mut [Vec<f64>],
    packed: &mut Packed,
) {
    for (panel, columns) in columns.chunks(PANEL).enumerate() {
        let first = panel * PANEL;
        let whole = rows - rows % tile::ROWS;
        let mut direct = Vec::new();
        // Columns as they are, if one block of outputs reads them once. Otherwise they are packed: chunks of columns lie
        // 16 kB apart, in the same few places of the first-level cache.
        if weights.outputs <= tile::OUTPUTS {
            direct.extend(columns.iter().map_while(|column| match column {
                Column::F64(values) => Some(values.get(..whole)?.as_chunks::<{ tile::ROWS }>().0),
                _ => None,
            }));
        }
        let direct = (direct.len() == columns.len()).then_some(direct);
        let mut inputs: Vec<&[f64; tile::ROWS]> = Vec::with_capacity(columns.len());
        if let Some(direct) = &direct {
            for index in 0..whole / tile::ROWS {
                inputs.clear();
                inputs.extend(direct.iter().map(|tiles| &tiles[index]));
                add_tile(
                    isa,
                    &inputs,
                    weights,
                    first,
                    index * tile::ROWS,
                    tile::ROWS,
                    sums,
                );
            }
        }
        let start = if direct.is_some() { whole } else { 0 };
        for start in (start..rows).step_by(tile::ROWS) {
            let length = tile::ROWS.min(rows - start);
            gather_tile(columns, start, length, packed);
            let inputs: Vec<&[f64; tile::ROWS]> = packed.iter().collect();
            add_tile(isa, &inputs, weights, first, start, length, sums);
        }
    }
}

/// The tile's sums of all outputs; `first` is the first of the inputs' places in the weights.
#[inline]
fn add_tile(
    isa: Isa,
    inputs: &[&[f64; tile::ROWS]],
    weights: &Weights,
    first: usize,
    start: usize,
    length: usize,
    sums: &mut [Vec<f64>],
) {
    let blocks = weights.tiles.chunks_exact(weights.inputs.max(1));
    for (block, sums) in blocks.zip(sums.chunks_mut(tile::OUTPUTS)) {
        let mut acc = [[0.0; tile::ROWS]; tile::OUTPUTS];
        if length == tile::ROWS {
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                acc.copy_from_slice(&sums[start..start + tile::ROWS]);
            }
            tile::add_product(isa, inputs, &block[first..], sums.len(), &mut acc);
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                sums[start..start + tile::ROWS].copy_from_slice(acc);
            }
        } else {
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                acc[..length].copy_from_slice(&sums[start..start + length]);
            }
            tile::add_product(isa, inputs, &block[first..], sums.len(), &mut acc);
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                sums[start..start + length].copy_from_slice(&acc[..length]);
            }
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
