//! Inner products of all pairs of rows, centred and scaled on load: one read.

use super::BLOCK;
use super::ahead::{Ahead, worth_asking};
use super::aligned::Aligned;
use super::coordinate::{self, LANES, Order, Wire};
use super::lanes;
use super::mix::tree_sum;
use crate::dtype::Values;
use crate::engines::keys::value;
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
    // Register blocks as large as the registers hold: no bit of a sum depends on them.
    match lanes(level) {
        16.. => blocked::<5, 5>(level, rows, frames),
        _ => blocked::<4, 3>(level, rows, frames),
    }
}

/// [`gram`] in register blocks of up to HIGH × WIDE rows.
fn blocked<const HIGH: usize, const WIDE: usize>(level: Level, rows: &[Values<'_>], frames: &[(About<'_>, &[f32])]) -> Running {
    let order = |about: About<'_>| match about {
        About::Row(_) => None,
        About::Median { voters } => {
            Some(Order::new(level, Network::of_ranks((voters.saturating_sub(1) / 2)..voters / 2 + 1, voters)))
        }
    };
    let views: Vec<View> = frames.iter().map(|&(about, scales)| View { about, scales, order: order(about) }).collect();
    match rows.len() {
        ..MANY => by_columns::<HIGH, WIDE>(level, rows, &views),
        MANY.. => by_pairs::<HIGH, WIDE>(level, rows, &views),
    }
}

/// Rows from which on threads share pairs: tables of all pairs, 56 MB for a thousand rows, are one for all threads then.
const MANY: usize = 257;

/// Each thread takes blocks of columns.
fn by_columns<const HIGH: usize, const WIDE: usize>(level: Level, rows: &[Values<'_>], views: &[View<'_>]) -> Running {
    let (m, d) = (rows.len(), rows.first().map_or(0, |r| r.len()));
    let worth_asking = worth_asking(rows);
    let tiles = coordinate::tiles(m, SLAB, TILES);
    let [whole] = &parts::<HIGH, WIDE>(m, m, m)[..] else { return Running::new(m, views.len()) };
    let fold = |(mut running, mut slabs): (Running, Vec<(Slab, Vec<Sum>)>), block: usize| {
        let (first, last) = (block * BLOCK, d.min((block + 1) * BLOCK));
        slabs.iter_mut().for_each(|(_, sums)| sums.fill([0.0; ACROSS]));
        let width = tiles * LANES;
        for at in (first..last).step_by(width) {
            let mut far = worth_asking;
            for ((slab, sums), view) in slabs.iter_mut().zip(views) {
                // The first frame asks for all.
                let mut ahead = Ahead::new(std::mem::take(&mut far), at + width..at + 2 * width);
                let columns = at..last.min(at + width);
                dispatch!(level, simd => {
                    slab.load(simd, rows, view, columns, &mut ahead);
                    whole.multiply(simd, std::slice::from_ref(slab), sums, ahead);
                });
            }
        }
        running.add(slabs.iter().flat_map(|(_, sums)| sums.iter().map(tree_sum)));
        slabs.iter().for_each(|(slab, _)| running.raise(&slab.largest));
        (running, slabs)
    };
    let new = || (Running::new(m, views.len()), views.iter().map(|_| (Slab::new(m), vec![[0.0; ACROSS]; whole.pairs])).collect());
    let blocks = (0..d.div_ceil(BLOCK)).into_par_iter();
    let parts = blocks.fold(new, fold).map(|(running, _)| running);
    parts.reduce_with(Running::merge).unwrap_or_else(|| Running::new(m, views.len()))
}

/// All threads take the same columns: each centres some of them, then multiplies some pairs of rows in all of them.
fn by_pairs<const HIGH: usize, const WIDE: usize>(level: Level, rows: &[Values<'_>], views: &[View<'_>]) -> Running {
    let (m, d) = (rows.len(), rows.first().map_or(0, |r| r.len()));
    let tiles = coordinate::tiles(m, SHARED, TILES);
    let parts = parts::<HIGH, WIDE>(m, STRIP, SLAB / size_of::<[f32; LANES]>() / tiles);
    let mut running = Running::new(m, views.len());
    // Written by all threads: memory that is read as zeros first costs a second fault of each page, and the other threads an interrupt.
    let mut sums: Vec<Sum> = (0..views.len() * m * (m + 1) / 2).into_par_iter().map(|_| [0.0; ACROSS]).collect();
    let each = tiles.div_ceil(rayon::current_num_threads()) * LANES;
    let mut slabs: Vec<Slab> = (0..tiles.div_ceil(each / LANES)).map(|_| Slab::new(m)).collect();
    for first in (0..d).step_by(BLOCK) {
        let last = d.min(first + BLOCK);
        for at in (first..last).step_by(tiles * LANES) {
            let columns = at..last.min(at + tiles * LANES);
            let used = columns.len().div_ceil(each);
            for (view, sums) in views.iter().zip(sums.chunks_exact_mut(m * (m + 1) / 2)) {
                slabs[..used].par_iter_mut().zip(columns.clone().into_par_iter().step_by(each)).for_each(|(slab, from)| {
                    let columns = from..columns.end.min(from + each);
                    dispatch!(level, simd => slab.load(simd, rows, view, columns, &mut Ahead::none()));
                });
                let mut rest = sums;
                let shares: Vec<_> = parts.iter().map(|part| rest.split_off_mut(..part.pairs).expect("all pairs")).collect();
                parts.par_iter().zip(shares).for_each(|(part, sums)| {
                    dispatch!(level, simd => part.multiply(simd, &slabs[..used], sums, Ahead::none()));
                });
            }
        }
        running.parts().0.par_iter_mut().zip(&mut sums).with_min_len(ACROSS * LANES).for_each(|(all, block)| {
            all.add(tree_sum(&std::mem::take(block)));
        });
    }
    slabs.iter().for_each(|slab| running.raise(&slab.largest));
    running
}

/// Products that are summed in registers: of each row of `left` with each of `right` or, where they are the same, of all pairs.
#[derive(Debug)]
struct Job {
    left: Range<usize>,
    right: Range<usize>,
}

/// The pairs of some rows with those and all later ones: they stand one behind the other in the upper triangle.
#[derive(Debug)]
struct Part {
    jobs: Vec<Job>,
    /// The first of them in the triangle.
    first: usize,
    pairs: usize,
}

/// Every pair of m rows once, in parts of `height` rows. What does not divide by WIDE is cut evenly: few sums at a time would wait for one
/// another. A part takes `panel` rows at a time, which stay in a cache, to be paired with all of its own.
fn parts<const HIGH: usize, const WIDE: usize>(m: usize, height: usize, panel: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut first = 0;
    for from in (0..m).step_by(height.max(1)) {
        let rows = from..m.min(from + height);
        let mut jobs = Vec::new();
        for start in rows.clone().step_by(HIGH) {
            let left = start..rows.end.min(start + HIGH);
            let others = m - left.end;
            let strips = others.div_ceil(WIDE);
            jobs.push(Job { left: left.clone(), right: left.clone() });
            for strip in 0..strips {
                let [from, to] = [strip, strip + 1].map(|strip| left.end + others * strip / strips);
                jobs.push(Job { left: left.clone(), right: from..to });
            }
        }
        jobs.sort_by_key(|job| job.right.start / panel.max(1));
        let pairs = rows.map(|i| m - i).sum();
        parts.push(Part { jobs, first, pairs });
        first += pairs;
    }
    parts
}

impl Part {
    /// Adds all tiles' products; meanwhile other columns are asked for.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, slabs: &[Slab], sums: &mut [Sum], mut ahead: Ahead<'_>) {
        let lines = ahead.share(LANES / 4 * 3, self.jobs.len());
        let m = slabs.first().map_or(0, |slab| slab.m);
        let tiles = slabs.iter().flat_map(|slab| slab.values.chunks_exact(m));
        for job in &self.jobs {
            multiply(
                simd,
                tiles.clone(),
                (m, self.first),
                job,
                sums,
                #[inline(always)]
                || ahead.fetch(lines),
            );
        }
    }
}

/// Most tiles of a slab: fewer end the streams of rows too soon, more crowd the second-level cache.
const TILES: usize = 16;

/// Most bytes of a slab: this one and the next, which is asked for, fit a second-level cache of 512 KiB.
const SLAB: usize = 1 << 18;

/// Most bytes of the slabs that all threads share: a third-level cache holds them beside the sums.
const SHARED: usize = 1 << 22;

/// Rows of a part where threads share pairs: whole strips of each kind of register block.
const STRIP: usize = 40;

/// Columns summed side by side; part of the definition of the result's bits.
const ACROSS: usize = 8;

/// Values of one row.
type Tile = Aligned<[f32; LANES]>;

/// The running sum of a pair of rows.
type Sum = [f32; ACROSS];

/// Some columns of all rows, centred and scaled.
struct Slab {
    m: usize,
    /// Tile after tile, row after row.
    values: Vec<Tile>,
    largest: Vec<u32>,
    wires: Vec<Wire>,
    room: Vec<f32>,
    /// What the centre is, by the scale of a row.
    centres: [Vec<f32>; 2],
}

impl Slab {
    fn new(m: usize) -> Self {
        Self { m, values: Vec::new(), largest: vec![0; m], wires: Vec::new(), room: Vec::new(), centres: [Vec::new(), Vec::new()] }
    }

    /// The rows' values in some columns; each row is read on through all tiles, for few streams at a time are read ahead of.
    #[inline(always)]
    fn load<S: Simd>(&mut self, simd: S, rows: &[Values<'_>], view: &View<'_>, columns: Range<usize>, ahead: &mut Ahead<'_>) {
        let &View { about, scales, ref order } = view;
        let mut medians = [Vec::new(), Vec::new()];
        // One value or, of an even number of voters, the midpoint of two.
        let centres: &[&[f32]] = match about {
            About::Row(row) => &[row.slice(columns.clone()).f32(&mut medians[0])],
            About::Median { voters } => {
                let wires = &mut self.wires;
                if let Some(order) = order {
                    order.columns(simd, &rows[..voters], columns.clone(), wires);
                }
                for (median, rank) in medians.iter_mut().zip((voters - 1) / 2..=voters / 2) {
                    let of_rank = wires.chunks_exact(voters).flat_map(|wires| wires[rank].iter());
                    median.extend(of_rank.take(columns.len()).map(|k| value(*k)));
                }
                let [low, high] = &medians;
                if voters.is_multiple_of(2) { &[low, high] } else { &[low] }
            }
        };
        let tiles = columns.len().div_ceil(LANES);
        self.values.resize(tiles * self.m, Aligned([0.0; LANES]));
        // A quarter of what is asked for, in a quarter of the time: memory is at work all the time.
        let lines = ahead.share(columns.len() / 4, self.m);
        let mut end = [0.0; LANES];
        let mut scaled = None;
        for i in 0..self.m {
            ahead.fetch(lines);
            let (row, rest) = rows[i].slice(columns.clone()).f32(&mut self.room).as_chunks();
            end[..rest.len()].copy_from_slice(rest);
            if scaled != Some(scales[i]) {
                scaled = Some(scales[i]);
                for (centre, scaled) in centres.iter().zip(&mut self.centres) {
                    scaled.clear();
                    scaled.extend(centre.iter().map(|c| c * scales[i]));
                    scaled.resize(tiles * LANES, 0.0);
                }
            }
            let [low, high] = &self.centres;
            let (low, high) = (low.as_chunks().0, high.as_chunks().0);
            let row = row.iter().chain((!rest.is_empty()).then_some(&end));
            let mut largest = S::i32s::splat(simd, 0);
            for (t, (row, tile)) in row.zip(self.values.chunks_exact_mut(self.m)).enumerate() {
                largest = largest.max(centred(simd, row, &low[t], high.get(t), scales[i], &mut tile[i]));
            }
            let largest = largest.as_slice().iter().fold(0, |a, b| a.max(*b as u32));
            self.largest[i] = self.largest[i].max(largest);
        }
    }
}

/// s·x − s·c into `out`, where s·c is `low` or the midpoint of two; the largest |x| as bits. Scaling comes first: it is exact, and the
/// difference of two huge values of opposite sign would overflow. The midpoint is taken of the differences, where it is rounded to their
/// size.
#[inline(always)]
fn centred<S: Simd>(
    simd: S,
    row: &[f32; LANES],
    low: &[f32; LANES],
    high: Option<&[f32; LANES]>,
    scale: f32,
    out: &mut [f32; LANES],
) -> S::i32s {
    let width = S::f32s::LEN;
    let signless = S::i32s::splat(simd, i32::MAX);
    let scale = S::f32s::splat(simd, scale);
    let mut largest = S::i32s::splat(simd, 0);
    for at in (0..LANES).step_by(width) {
        let part = |values: &[f32; LANES]| S::f32s::from_slice(simd, &values[at..at + width]);
        let x = part(row);
        largest = largest.max(x.bitcast::<S::i32s>() & signless);
        let below = x.mul_sub(scale, part(low));
        let y = match high {
            None => below,
            Some(high) => below * 0.5 + x.mul_sub(scale, part(high)) * 0.5,
        };
        y.store_slice(&mut out[at..at + width]);
    }
    largest
}

/// Adds the tiles' products of the pairs of a job to the sums of pairs of m rows, of which `sums` holds those from `first` on, `meanwhile` at
/// each tile. The vectors are as long as there are columns side by side: where longer ones exist, joining two costs more than it saves.
#[inline(always)]
fn multiply<'t, S: Simd>(
    simd: S,
    tiles: impl Iterator<Item = &'t [Tile]>,
    (m, first): (usize, usize),
    job: &Job,
    sums: &mut [Sum],
    meanwhile: impl FnMut(),
) {
    let (left, right) = (job.left.start, job.right.start);
    let place = |i: usize, j: usize| (left + i) * (2 * m - left - i - 1) / 2 + right + j - first;
    macro_rules! of_shape {
        ($($side:literal)*; $($high:literal x $wide:literal)*) => {
            match (job.left.len(), job.right.len(), left == right) {
                $(($side, $side, true) => add_products::<S, $side, $side, true>(simd, tiles, left, right, sums, place, meanwhile),)*
                $(($high, $wide, false) => add_products::<S, $high, $wide, false>(simd, tiles, left, right, sums, place, meanwhile),)*
                _ => debug_assert!(false, "no such register block: {job:?}"),
            }
        };
    }
    of_shape!(1 2 3 4 5; 4 x 1 4 x 2 4 x 3 5 x 1 5 x 2 5 x 3 5 x 4 5 x 5);
}

/// Adds the tiles' products of the HIGH rows from `left` on with the WIDE rows from `right` on, or of all pairs of the SAME rows.
#[inline(always)]
fn add_products<'t, S: Simd, const HIGH: usize, const WIDE: usize, const SAME: bool>(
    simd: S,
    tiles: impl Iterator<Item = &'t [Tile]>,
    left: usize,
    right: usize,
    sums: &mut [Sum],
    place: impl Fn(usize, usize) -> usize,
    mut meanwhile: impl FnMut(),
) {
    let first = |i: usize| if SAME { i } else { 0 };
    let mut acc = [[f32x8::splat(simd, 0.0); WIDE]; HIGH];
    for i in 0..HIGH {
        for j in first(i)..WIDE {
            acc[i][j] = f32x8::from_slice(simd, &sums[place(i, j)]);
        }
    }
    for rows in tiles {
        meanwhile();
        let (left, right) = (&rows[left..][..HIGH], &rows[right..][..WIDE]);
        for k in (0..LANES).step_by(ACROSS) {
            let mut y = [f32x8::splat(simd, 0.0); WIDE];
            for j in 0..WIDE {
                y[j] = f32x8::from_slice(simd, &right[j][k..k + ACROSS]);
            }
            for i in 0..HIGH {
                let x = f32x8::from_slice(simd, &left[i][k..k + ACROSS]);
                for j in first(i)..WIDE {
                    // Fused where the processor can.
                    acc[i][j] = x.mul_add(y[j], acc[i][j]);
                }
            }
        }
    }
    for i in 0..HIGH {
        for j in first(i)..WIDE {
            acc[i][j].store_slice(&mut sums[place(i, j)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::cpu::levels;

    /// Every lane of every build adds its own columns from first to last, fused or not, and no pair is left out.
    #[test]
    fn every_build_multiplies_alike() {
        let mut random = fastrand::Rng::with_seed(9);
        for m in [1, 2, 4, 5, 8, 13, 14, 16, 22] {
            let rows: Vec<_> = (0..m).map(|_| Aligned(std::array::from_fn(|_| random.f32() - 0.5))).collect();
            let lane = |i: usize, j: usize, l: usize, add: fn(f32, f32, f32) -> f32| {
                (l..LANES).step_by(ACROSS).fold(0.5, |sum, k| add(rows[i][k], rows[j][k], sum))
            };
            let pairs: Vec<_> = (0..m).flat_map(|i| (i..m).map(move |j| (i, j))).collect();
            let cuts = [parts::<4, 3>(m, m, m), parts::<5, 5>(m, m, m), parts::<4, 3>(m, 8, 6), parts::<5, 5>(m, 10, 3)];
            for (level, parts) in levels().into_iter().flat_map(|level| cuts.iter().map(move |parts| (level, parts))) {
                let mut sums = vec![[0.5; ACROSS]; pairs.len()];
                let mut rest = &mut sums[..];
                for part in parts {
                    let sums = rest.split_off_mut(..part.pairs).unwrap();
                    let tiles = || std::iter::once(&rows[..]);
                    dispatch!(level, simd => part.jobs.iter().for_each(|job| multiply(simd, tiles(), (m, part.first), job, sums, || ())));
                }
                let adds: [fn(f32, f32, f32) -> f32; 2] = [f32::mul_add, |x, y, sum| x * y + sum];
                let same = |add| pairs.iter().zip(&sums).all(|((i, j), sums)| (0..ACROSS).all(|l| sums[l] == lane(*i, *j, l, add)));
                assert!(adds.into_iter().filter(|add| same(*add)).count() == 1, "{m} rows, {level:?}");
            }
        }
    }

    /// The same bits whatever the register block, in both frames, and the products that f64 gives.
    #[test]
    fn register_blocks_do_not_show() {
        let mut random = fastrand::Rng::with_seed(11);
        let d = BLOCK + 3 * LANES + 5;
        for m in [1, 2, 4, 7, 25, 33, 61, MANY + 4] {
            let rows: Vec<Vec<f32>> = (0..m).map(|_| (0..d).map(|_| random.f32() - 0.5).collect()).collect();
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            let scales = vec![0.5; m];
            let frames = [(About::Median { voters: m }, &scales[..]), (About::Row(rows[m / 2].into()), &scales[..])];
            let values: Vec<Values<'_>> = rows.iter().map(|row| (*row).into()).collect();
            let [small, large] = [blocked::<4, 3>, blocked::<5, 5>].map(|gram| gram(Level::new(), &values, &frames).finish());
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

    /// The same bits on any number of threads, which share many rows' blocks out otherwise than few rows'.
    #[test]
    fn many_rows_are_shared_out() {
        let mut random = fastrand::Rng::with_seed(13);
        let (few, many, d) = (40, 260, 2 * BLOCK + 3 * LANES + 5);
        let rows: Vec<Vec<f32>> = (0..many).map(|_| (0..d).map(|_| random.f32() - 0.5).collect()).collect();
        let values: Vec<Values<'_>> = rows.iter().map(|row| row[..].into()).collect();
        let scales = vec![0.5; many];
        let products = |m: usize, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gram(Level::new(), &values[..m], &[(About::Row(values[0]), &scales[..m])]).finish())
        };
        let alone = products(many, 1);
        for threads in [2, 3, 5] {
            assert_eq!(products(many, threads), alone, "{threads} threads");
        }
        let of_few = products(few, 2);
        for i in 0..few {
            assert_eq!(of_few.products[0][i * few..(i + 1) * few], alone.products[0][i * many..i * many + few], "row {i}");
        }
    }
}
