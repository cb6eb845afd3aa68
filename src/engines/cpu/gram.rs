//! Inner products of all pairs of rows, centred and scaled on load: one read.

use super::BLOCK;
use super::ahead::{Ahead, worth_asking};
use super::aligned::Aligned;
use super::coordinate::{self, LANES, Order, Wire};
use super::mix::tree_sum;
use crate::dtype::Values;
use crate::engines::keys::{magnitude, value};
use crate::engines::network::Network;
use crate::engines::pair_sums::Running;
use fearless_simd::{Level, Simd, dispatch, f32x8, prelude::*};
use rayon::prelude::*;
use std::ops::Range;

/// What rows are centred on.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    /// One row of values.
    Row(Values<'a>),
    /// In each column the median of the first so many rows; for an even number the midpoint of the two middle ones.
    Median { voters: usize },
}

/// A centre and the scales of rows about it.
struct View<'a> {
    about: About<'a>,
    scales: &'a [f32],
    /// How the median is found.
    order: Option<Order>,
}

/// Σ_k s_i(x_ik − c_k) · s_j(x_jk − c_k) for all pairs of rows, in each frame of a centre and scales.
pub(crate) fn gram(level: Level, rows: &[Values<'_>], frames: &[(About<'_>, &[f32])]) -> Running {
    // As large a register block as the registers hold: no bit of a sum depends on it.
    match dispatch!(level, simd => lanes(simd)) {
        16.. => blocked::<5>(level, rows, frames),
        _ => blocked::<3>(level, rows, frames),
    }
}

/// Values in the longest vector.
#[inline(always)]
fn lanes<S: Simd>(_: S) -> usize {
    S::f32s::LEN
}

/// [`gram`] in register blocks of SIDE × SIDE rows.
fn blocked<const SIDE: usize>(level: Level, rows: &[Values<'_>], frames: &[(About<'_>, &[f32])]) -> Running {
    let (m, d) = (rows.len(), rows.first().map_or(0, |r| r.len()));
    let order = |about: About<'_>| match about {
        About::Row(_) => None,
        About::Median { voters } => Some(Order::new(Network::of_ranks((voters.saturating_sub(1) / 2)..voters / 2 + 1, voters))),
    };
    let views: Vec<View> = frames.iter().map(|&(about, scales)| View { about, scales, order: order(about) }).collect();
    let worth_asking = worth_asking(rows);
    let fold = |(mut running, mut slabs): (Running, Vec<Slab<SIDE>>), block: usize| {
        let (first, last) = (block * BLOCK, d.min((block + 1) * BLOCK));
        slabs.iter_mut().for_each(|slab| slab.sums.fill([[[0.0; ACROSS]; SIDE]; SIDE]));
        let width = tiles(m) * LANES;
        for at in (first..last).step_by(width) {
            let mut far = worth_asking;
            for (slab, view) in slabs.iter_mut().zip(&views) {
                // The first frame asks for all.
                let mut ahead = Ahead::new(std::mem::take(&mut far), at + 2 * width..at + 3 * width);
                slab.load(level, rows, view, at..last.min(at + width), &mut ahead);
                dispatch!(level, simd => slab.multiply(simd, ahead));
            }
        }
        running.add(slabs.iter().flat_map(Slab::block_sums));
        slabs.iter().for_each(|slab| running.raise(&slab.largest));
        (running, slabs)
    };
    let new = || (Running::new(m, views.len()), views.iter().map(|_| Slab::new(m)).collect());
    let blocks = d.div_ceil(BLOCK);
    // Many rows have large tables: no more than one a thread.
    let share = if m > 256 { blocks.div_ceil(rayon::current_num_threads()) } else { 1 };
    let parts = (0..blocks).into_par_iter().with_min_len(share.max(1)).fold(new, fold).map(|(running, _)| running);
    parts.reduce(|| Running::new(m, views.len()), Running::merge)
}

/// Tiles of a slab of m rows: this slab and the next two, which are asked for, fit the second-level cache.
fn tiles(m: usize) -> usize {
    coordinate::tiles(m).min(8)
}

/// Columns summed side by side; part of the definition of the result's bits.
const ACROSS: usize = 8;

/// Bytes of sums that stay in the first-level cache beside a tile.
const NEAR: usize = 1 << 14;

/// Tiles that are multiplied one after another for each pair of register blocks, where the sums of all pairs do not stay near.
const TOGETHER: usize = 4;

/// Products of SIDE × SIDE pairs of rows, ACROSS partial sums each.
type Products<const SIDE: usize> = [[[f32; ACROSS]; SIDE]; SIDE];

/// Some columns of all rows, centred and scaled, and the running sums of the block they are in.
struct Slab<const SIDE: usize> {
    m: usize,
    /// Tile after tile, row after row.
    values: Vec<Aligned<[f32; LANES]>>,
    sums: Vec<Products<SIDE>>,
    largest: Vec<u32>,
    wires: Vec<Wire>,
    room: Vec<f32>,
}

impl<const SIDE: usize> Slab<SIDE> {
    fn new(m: usize) -> Self {
        let sides = m.div_ceil(SIDE);
        Self {
            m,
            // Rows beyond m stay zero: they fill the last register block.
            values: vec![Aligned([0.0; LANES]); tiles(m) * sides * SIDE],
            sums: vec![[[[0.0; ACROSS]; SIDE]; SIDE]; sides * (sides + 1) / 2],
            largest: vec![0; m],
            wires: Vec::new(),
            room: Vec::new(),
        }
    }

    /// The rows' values in some columns; each row is read on through all tiles, for few streams at a time are read ahead of.
    fn load(&mut self, level: Level, rows: &[Values<'_>], view: &View<'_>, columns: Range<usize>, ahead: &mut Ahead<'_>) {
        let &View { about, scales, ref order } = view;
        let padded = self.m.div_ceil(SIDE) * SIDE;
        // The centre is the midpoint of two values, often the same.
        let mut medians = [Vec::new(), Vec::new()];
        let (low, high) = match about {
            About::Row(row) => {
                let row = row.slice(columns.clone()).f32(&mut medians[0]);
                (row, row)
            }
            About::Median { voters } => {
                let wires = &mut self.wires;
                if let Some(order) = order {
                    order.columns(level, &rows[..voters], columns.clone(), wires);
                }
                for (median, rank) in medians.iter_mut().zip([(voters - 1) / 2, voters / 2]) {
                    let of_rank = wires.chunks_exact(voters).flat_map(|wires| wires[rank].iter());
                    median.extend(of_rank.take(columns.len()).map(|k| value(*k)));
                }
                let [low, high] = &medians;
                (&low[..], &high[..])
            }
        };
        self.values.resize(columns.len().div_ceil(LANES) * padded, Aligned([0.0; LANES]));
        // A quarter of what is asked for, in a quarter of the time: memory is at work all the time.
        let lines = ahead.share(columns.len() / 4, self.m);
        for i in 0..self.m {
            ahead.fetch(lines);
            let tiles = self.values.chunks_exact_mut(padded).map(|tile| &mut tile[i]);
            let row = rows[i].slice(columns.clone()).f32(&mut self.room).chunks(LANES);
            for (((row, low), high), tile) in row.zip(low.chunks(LANES)).zip(high.chunks(LANES)).zip(tiles) {
                let largest = match about {
                    About::Row(_) => centred(row, low, scales[i], tile),
                    About::Median { .. } => centred_between(row, low, high, scales[i], tile),
                };
                self.largest[i] = self.largest[i].max(largest);
            }
        }
    }

    /// Adds all tiles' products; meanwhile other columns are asked for.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, mut ahead: Ahead<'_>) {
        let padded = self.m.div_ceil(SIDE) * SIDE;
        let lines = ahead.share(LANES / 4 * 3, self.sums.len());
        let at_once = if size_of_val(&self.sums[..]) > NEAR { TOGETHER } else { 1 };
        for tiles in self.values.chunks(at_once * padded) {
            multiply(
                simd,
                tiles,
                padded,
                &mut self.sums,
                #[inline(always)]
                || ahead.fetch(lines),
            );
        }
    }

    /// The block's sums, upper triangle row by row.
    fn block_sums(&self) -> impl Iterator<Item = f32> + '_ {
        let sides = self.m.div_ceil(SIDE);
        let at = move |i: usize, j: usize| {
            let (a, b) = (i / SIDE, j / SIDE);
            tree_sum(&self.sums[a * sides - a * (a + 1) / 2 + b][i % SIDE][j % SIDE])
        };
        (0..self.m).flat_map(move |i| (i..self.m).map(move |j| at(i, j)))
    }
}

simd! {
    /// s·x − s·c into `out`, zero beyond the row's end; the largest |x| as bits. Scaling comes first: it is exact, and the difference of
    /// two huge values of opposite sign would overflow.
    fn centred(row: &[f32], centre: &[f32], scale: f32, out: &mut [f32; LANES]) -> u32 {
        let mut largest = 0;
        for ((y, x), c) in out.iter_mut().zip(row).zip(centre) {
            largest = largest.max(magnitude(x.to_bits()));
            *y = x * scale - c * scale;
        }
        out[row.len()..].fill(0.0);
        largest
    }
}

simd! {
    /// [`centred`] on the midpoint of two, which is taken of the differences, where it is rounded to their size.
    fn centred_between(row: &[f32], low: &[f32], high: &[f32], scale: f32, out: &mut [f32; LANES]) -> u32 {
        let mut largest = 0;
        for (((y, x), a), b) in out.iter_mut().zip(row).zip(low).zip(high) {
            largest = largest.max(magnitude(x.to_bits()));
            *y = 0.5 * (x * scale - a * scale) + 0.5 * (x * scale - b * scale);
        }
        out[row.len()..].fill(0.0);
        largest
    }
}

/// Adds the tiles' products of all pairs of register blocks, `meanwhile` at each pair and tile of `padded` rows. The vectors are as long as there
/// are columns side by side: where longer ones exist, joining two costs more than it saves.
#[inline(always)]
fn multiply<S: Simd, const SIDE: usize>(
    simd: S,
    tiles: &[Aligned<[f32; LANES]>],
    padded: usize,
    sums: &mut [Products<SIDE>],
    mut meanwhile: impl FnMut(),
) {
    let mut sums = sums.iter_mut();
    for a in 0..padded / SIDE {
        for b in a..padded / SIDE {
            let Some(total) = sums.next() else { return };
            let mut acc = [[f32x8::splat(simd, 0.0); SIDE]; SIDE];
            for i in 0..SIDE {
                for j in 0..SIDE {
                    acc[i][j] = f32x8::from_slice(simd, &total[i][j]);
                }
            }
            for rows in tiles.chunks_exact(padded) {
                meanwhile();
                let (left, right) = (&rows[a * SIDE..][..SIDE], &rows[b * SIDE..][..SIDE]);
                for k in (0..LANES).step_by(ACROSS) {
                    let mut y = [f32x8::splat(simd, 0.0); SIDE];
                    for j in 0..SIDE {
                        y[j] = f32x8::from_slice(simd, &right[j][k..k + ACROSS]);
                    }
                    for i in 0..SIDE {
                        let x = f32x8::from_slice(simd, &left[i][k..k + ACROSS]);
                        for j in 0..SIDE {
                            // Fused where the processor can.
                            acc[i][j] = x.mul_add(y[j], acc[i][j]);
                        }
                    }
                }
            }
            for i in 0..SIDE {
                for j in 0..SIDE {
                    acc[i][j].store_slice(&mut total[i][j]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::cpu::levels;

    /// Every lane of every build adds its own columns from first to last, fused or not.
    #[test]
    fn every_build_multiplies_alike() {
        every_side_multiplies_alike::<3>();
        every_side_multiplies_alike::<5>();
    }

    fn every_side_multiplies_alike<const SIDE: usize>() {
        let mut random = fastrand::Rng::with_seed(9);
        let rows: Vec<_> = (0..2 * SIDE).map(|_| Aligned(std::array::from_fn(|_| random.f32() - 0.5))).collect();
        let lane = |i: usize, j: usize, l: usize, add: fn(f32, f32, f32) -> f32| {
            (l..LANES).step_by(ACROSS).fold(0.5, |sum, k| add(rows[i][k], rows[j][k], sum))
        };
        for level in levels() {
            let mut sums = vec![[[[0.5; ACROSS]; SIDE]; SIDE]; 3];
            dispatch!(level, simd => multiply(simd, &rows, 2 * SIDE, &mut sums, || ()));
            let adds: [fn(f32, f32, f32) -> f32; 2] = [f32::mul_add, |x, y, sum| x * y + sum];
            let same = |add| {
                [(0, 0), (0, 1), (1, 1)].iter().zip(&sums).all(|((a, b), sums)| {
                    let all = (0..SIDE * SIDE * ACROSS).map(|e| (e / ACROSS / SIDE, e / ACROSS % SIDE, e % ACROSS));
                    all.into_iter().all(|(i, j, l)| sums[i][j][l] == lane(a * SIDE + i, b * SIDE + j, l, add))
                })
            };
            assert!(adds.into_iter().filter(|add| same(*add)).count() == 1, "{level:?}");
        }
    }

    /// The same bits whatever the register block, in both frames, and the products that f64 gives.
    #[test]
    fn register_blocks_do_not_show() {
        let mut random = fastrand::Rng::with_seed(11);
        let d = BLOCK + 3 * LANES + 5;
        for m in [1, 2, 4, 7, 25, 33, 61] {
            let rows: Vec<Vec<f32>> = (0..m).map(|_| (0..d).map(|_| random.f32() - 0.5).collect()).collect();
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            let scales = vec![0.5; m];
            let frames = [(About::Median { voters: m }, &scales[..]), (About::Row(rows[m / 2].into()), &scales[..])];
            let values: Vec<Values<'_>> = rows.iter().map(|row| (*row).into()).collect();
            let [small, large] = [blocked::<3>, blocked::<5>].map(|gram| gram(Level::new(), &values, &frames).finish());
            assert_eq!(small, large, "{m} rows");
            let centre = rows[m / 2];
            for (k, product) in small.products[1].iter().enumerate() {
                let terms = rows[k / m]
                    .iter()
                    .zip(rows[k % m])
                    .zip(centre)
                    .map(|((x, y), c)| 0.25 * (f64::from(*x) - f64::from(*c)) * (f64::from(*y) - f64::from(*c)));
                let exact: f64 = terms.sum();
                assert!((product - exact).abs() <= 1e-5 * d as f64, "{m} rows: {product} and {exact}");
            }
        }
    }
}
