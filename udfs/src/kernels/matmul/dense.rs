//! Dense columns: passes over whole columns for few outputs, register tiles for many.

use super::tile;
use crate::isa::Isa;
use crate::program::Column;

/// Input columns packed at once: 256 x 16 doubles stay in a 48 kB first-level cache beside their weights.
const PANEL: usize = 256;
/// Up to this many outputs, passes over whole columns are faster than packing tiles (measured: 10 x 3 weights take 4.8 ns
/// a row, 10 x 4 in tiles 8.2).
const NARROW: usize = 3;

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

/// Whether the product is computed in tiles.
pub fn tiles(weights: &Weights, rows: usize) -> bool {
    weights.outputs > NARROW && rows >= tile::ROWS
}

/// Adds columns x weights to the sums, one vector of as many values as there are rows per output. `first`: the sums are
/// zero, and if they are computed in tiles they hold anything.
pub fn add_product(
    isa: Isa,
    columns: &[Column<'_>],
    weights: &Weights,
    first: bool,
    sums: &mut [Vec<f64>],
    packed: &mut Packed,
) {
    let rows = sums.first().map_or(0, Vec::len);
    if tiles(weights, rows) {
        add_tiled(isa, columns, weights, (first, rows), sums, packed);
    } else {
        for (output, sums) in sums.iter_mut().enumerate() {
            let block = &weights.tiles[output / tile::OUTPUTS * weights.inputs..];
            add_narrow(isa, columns, block, output % tile::OUTPUTS, sums);
        }
    }
}

for_each_isa! {
    fn add_narrow(columns: &[Column<'_>], block: &[[f64; tile::OUTPUTS]], lane: usize, sums: &mut [f64]) {
        const BLOCK: usize = 512;
        for (block_of_rows, sums) in sums.chunks_mut(BLOCK).enumerate() {
            let start = block_of_rows * BLOCK;
            let mut rest = columns.iter().zip(block).map(|(column, tile)| (*column, tile[lane]));
            while let Some((first, w)) = rest.next() {
                // Four columns in one pass over the sums, which then are loaded and stored once for the four.
                let mut ahead = rest.clone();
                if let (Some((a, wa)), Some((b, wb)), Some((c, wc))) = (ahead.next(), ahead.next(), ahead.next()) {
                    if let (Column::F64(x), Column::F64(a), Column::F64(b), Column::F64(c)) = (first, a, b, c) {
                        let (x, a, b, c) = (&x[start..], &a[start..], &b[start..], &c[start..]);
                        for ((((sum, x), a), b), c) in sums.iter_mut().zip(x).zip(a).zip(b).zip(c) {
                            *sum = (((*sum + x * w) + a * wa) + b * wb) + c * wc;
                        }
                        rest = ahead;
                        continue;
                    }
                }
                match first {
                    Column::F64(x) => sums.iter_mut().zip(&x[start..]).for_each(|(sum, x)| *sum += x * w),
                    Column::F32(x) => sums.iter_mut().zip(&x[start..]).for_each(|(sum, x)| *sum += f64::from(*x) * w),
                    other => {
                        let product = uniform(&other) * w;
                        sums.iter_mut().for_each(|sum| *sum += product);
                    }
                }
            }
        }
    }
}

fn add_tiled(
    isa: Isa,
    columns: &[Column<'_>],
    weights: &Weights,
    (first, rows): (bool, usize),
    sums: &mut [Vec<f64>],
    packed: &mut Packed,
) {
    for (panel, columns) in columns.chunks(PANEL).enumerate() {
        for start in (0..rows).step_by(tile::ROWS) {
            let length = tile::ROWS.min(rows - start);
            gather_tile(columns, start, length, packed);
            let blocks = weights.tiles.chunks_exact(weights.inputs);
            for (block, sums) in blocks.zip(sums.chunks_mut(tile::OUTPUTS)) {
                let mut acc = [[0.0; tile::ROWS]; tile::OUTPUTS];
                let kept = if first && panel == 0 { &[] } else { &*sums };
                for (acc, sums) in acc.iter_mut().zip(kept) {
                    acc[..length].copy_from_slice(&sums[start..start + length]);
                }
                tile::add_product(isa, packed, &block[panel * PANEL..], &mut acc);
                for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                    sums[start..start + length].copy_from_slice(&acc[..length]);
                }
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
        Column::F64(values) => lanes[..length].copy_from_slice(&values[start..start + length]),
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
