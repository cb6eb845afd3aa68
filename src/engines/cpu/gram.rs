//! Inner products of all pairs of rows, centred and scaled on load: one read.

use super::BLOCK;
use super::coordinate::{LANES, Order, Wire};
use crate::dtype::Values;
use crate::engines::keys::{magnitude, value};
use crate::engines::network::Network;
use crate::engines::pair_sums::{Running, Sums};
use fearless_simd::{Level, Simd, dispatch, f32x8, prelude::*};
use rayon::prelude::*;

/// What rows are centred on.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    /// One row of values.
    Row(Values<'a>),
    /// In each column the median of the first so many rows; for an even number the midpoint of the two middle ones.
    Median { voters: usize },
}

/// Σ_k s_i(x_ik − c_k) · s_j(x_jk − c_k) for all pairs of rows, in each frame of a centre and scales.
pub(crate) fn gram(rows: &[Values<'_>], frames: &[(About<'_>, &[f32])]) -> Sums {
    let (m, d) = (rows.len(), rows.first().map_or(0, |r| r.len()));
    let order = |about: About<'_>| match about {
        About::Row(_) => None,
        About::Median { voters } => Some(Order::new(Network::of_ranks((voters.saturating_sub(1) / 2)..voters / 2 + 1, voters))),
    };
    let frames: Vec<_> = frames.iter().map(|&(about, scales)| (about, scales, order(about))).collect();
    let fold = |mut running: Running, block: usize| {
        let (first, last) = (block * BLOCK, d.min((block + 1) * BLOCK));
        let mut tiles: Vec<Tile> = frames.iter().map(|_| Tile::new(m)).collect();
        for at in (first..last).step_by(WIDTH) {
            for (tile, (about, scales, order)) in tiles.iter_mut().zip(&frames) {
                tile.load(rows, *about, scales, order.as_ref(), at, (last - at).min(WIDTH));
                tile.multiply();
            }
        }
        running.add(tiles.iter().flat_map(Tile::block_sums));
        tiles.iter().for_each(|tile| running.raise(&tile.largest));
        running
    };
    let new = || Running::new(m, frames.len());
    let blocks = d.div_ceil(BLOCK);
    // Many rows have large tables: no more than one a thread.
    let share = if m > 256 { blocks.div_ceil(rayon::current_num_threads()) } else { 1 };
    (0..blocks).into_par_iter().with_min_len(share.max(1)).fold(new, fold).reduce(new, Running::merge).finish()
}

/// Columns of a tile.
const WIDTH: usize = 4 * LANES;
/// Rows of a register block.
const SIDE: usize = 3;
/// Columns summed side by side; part of the definition of the result's bits.
const ACROSS: usize = 8;

/// Products of SIDE × SIDE pairs of rows, ACROSS partial sums each.
type Products = [[[f32; ACROSS]; SIDE]; SIDE];

/// Some columns of all rows, centred and scaled, and the running sums of the block they are in.
struct Tile {
    m: usize,
    rows: Vec<[f32; WIDTH]>,
    sums: Vec<Products>,
    largest: Vec<u32>,
    wires: Vec<Wire>,
    room: Vec<f32>,
}

impl Tile {
    fn new(m: usize) -> Self {
        let sides = m.div_ceil(SIDE);
        Self {
            m,
            // Rows beyond m stay zero: they fill the last register block.
            rows: vec![[0.0; WIDTH]; sides * SIDE],
            sums: vec![Products::default(); sides * (sides + 1) / 2],
            largest: vec![0; m],
            wires: Vec::new(),
            room: Vec::new(),
        }
    }

    fn load(&mut self, rows: &[Values<'_>], about: About<'_>, scales: &[f32], order: Option<&Order>, at: usize, width: usize) {
        // The centre is the midpoint of two values, often the same.
        let mut centre = [[0.0f32; WIDTH]; 2];
        match (about, order) {
            (About::Median { voters }, Some(order)) => {
                self.wires.resize(voters, Wire::of(0));
                for t in (0..width).step_by(LANES) {
                    let width = LANES.min(width - t);
                    order.columns(Level::new(), &rows[..voters], at + t, width, &mut self.wires);
                    for (centre, wire) in centre.iter_mut().zip([&self.wires[(voters - 1) / 2], &self.wires[voters / 2]]) {
                        centre[t..t + width].iter_mut().zip(wire.iter()).for_each(|(c, k)| *c = value(*k));
                    }
                }
            }
            (About::Row(row), _) => centre.iter_mut().for_each(|c| row.slice(at..at + width).copy_to(&mut c[..width])),
            (About::Median { .. }, None) => {}
        }
        for i in 0..self.m {
            let row = rows[i].slice(at..at + width).f32(&mut self.room);
            let largest = centred(row, &centre, scales[i], &mut self.rows[i]);
            self.largest[i] = self.largest[i].max(largest);
        }
    }

    fn multiply(&mut self) {
        dispatch!(Level::new(), simd => multiply(simd, &self.rows, &mut self.sums));
    }

    /// The block's sums, upper triangle row by row.
    fn block_sums(&self) -> impl Iterator<Item = f32> + '_ {
        let sides = self.m.div_ceil(SIDE);
        let at = move |i: usize, j: usize| {
            let (a, b) = (i / SIDE, j / SIDE);
            let lanes = &self.sums[a * sides - a * (a + 1) / 2 + b][i % SIDE][j % SIDE];
            // A fixed tree.
            ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
        };
        (0..self.m).flat_map(move |i| (i..self.m).map(move |j| at(i, j)))
    }
}

simd! {
    /// s·x − s·c into `out` with c = (a + b)/2, zero beyond the row's end; the largest |x| as bits. Scaling comes first: it is
    /// exact, and the difference of two huge values of opposite sign would overflow. The midpoint is taken of the differences,
    /// where it is rounded to their size.
    fn centred(row: &[f32], [a, b]: &[[f32; WIDTH]; 2], scale: f32, out: &mut [f32; WIDTH]) -> u32 {
        let mut largest = 0;
        for (((y, x), a), b) in out.iter_mut().zip(row).zip(a).zip(b) {
            largest = largest.max(magnitude(x.to_bits()));
            *y = 0.5 * (x * scale - a * scale) + 0.5 * (x * scale - b * scale);
        }
        out[row.len()..].fill(0.0);
        largest
    }
}

/// Adds the tile's products of all pairs of register blocks. The vectors are as long as there are columns side by side: where
/// longer ones exist, joining two costs more than it saves.
#[inline(always)]
fn multiply<S: Simd>(simd: S, rows: &[[f32; WIDTH]], sums: &mut [Products]) {
    let mut sums = sums.iter_mut();
    for a in 0..rows.len() / SIDE {
        for b in a..rows.len() / SIDE {
            let Some(total) = sums.next() else { return };
            let (left, right) = (&rows[a * SIDE..][..SIDE], &rows[b * SIDE..][..SIDE]);
            let mut acc = [[f32x8::splat(simd, 0.0); SIDE]; SIDE];
            for i in 0..SIDE {
                for j in 0..SIDE {
                    acc[i][j] = f32x8::from_slice(simd, &total[i][j]);
                }
            }
            for k in (0..WIDTH).step_by(ACROSS) {
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
        let mut random = fastrand::Rng::with_seed(9);
        let rows: Vec<[f32; WIDTH]> = (0..2 * SIDE).map(|_| std::array::from_fn(|_| random.f32() - 0.5)).collect();
        let lane = |i: usize, j: usize, l: usize, add: fn(f32, f32, f32) -> f32| {
            (l..WIDTH).step_by(ACROSS).fold(0.5, |sum, k| add(rows[i][k], rows[j][k], sum))
        };
        for level in levels() {
            let mut sums = vec![[[[0.5; ACROSS]; SIDE]; SIDE]; 3];
            dispatch!(level, simd => multiply(simd, &rows, &mut sums));
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
}
