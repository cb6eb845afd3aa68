//! Rows that are mixed before they are ordered: z = c + W (x − c), summed in f64 over tiles of columns.

use super::aligned::Aligned;
use super::coordinate::LANES;
use crate::dtype::Values;
use crate::geometry::Mixing;
use fearless_simd::{Simd, prelude::*};

/// Vectors of sums that registers hold.
const HELD: usize = 8;

/// How rows are mixed.
pub(super) struct MixedRows<'a> {
    how: How,
    /// The row c.
    pub(super) centre: Values<'a>,
}

enum How {
    /// For each mixed row the rows that go into it, with their weights.
    Terms(Vec<Vec<(usize, f64)>>),
    /// Every mixed row is a multiple of a plain sum.
    Subsets(Subsets),
}

/// Plain sums of rows that overlap. The sums of all subsets of each [`GROUP`] of rows are formed once; of them each mixed row takes one
/// a group. (Arlazarov, Dinic, Kronrod and Faradžev, 1970.)
struct Subsets {
    groups: usize,
    /// For each mixed row the subset it takes of each group.
    taken: Vec<u8>,
    /// What each sum is multiplied by.
    weights: Vec<f64>,
}

/// Rows of which all subsets are summed.
const GROUP: usize = 4;
/// Their number.
const ALL: usize = 1 << GROUP;
/// Columns of which the sums of subsets stay in the first-level cache.
const ACROSS: usize = 16;

impl Subsets {
    /// Where all weights of each mixed row are the same, and enough is shared to save additions.
    fn of(mixing: &Mixing) -> Option<Self> {
        let (m, groups) = (mixing.rows(), mixing.width().div_ceil(GROUP));
        let mut subsets = Self { groups, taken: vec![0; m * groups], weights: vec![0.0; m] };
        let mut terms = 0;
        for i in 0..m {
            for (j, &weight) in mixing.weights(i).iter().enumerate().filter(|(_, w)| **w != 0.0) {
                if subsets.weights[i] != 0.0 && subsets.weights[i] != weight {
                    return None;
                }
                subsets.weights[i] = weight;
                subsets.taken[i * groups + j / GROUP] |= 1 << (j % GROUP);
                terms += 1;
            }
        }
        (groups * (ALL - GROUP - 1 + m) < terms).then_some(subsets)
    }

    /// Each mixed row's sum in some columns, from `at` on; `meanwhile` at each.
    #[inline(always)]
    fn sums<S: Simd>(&self, simd: S, at: usize, room: &mut Room, mut meanwhile: impl FnMut()) {
        let width = S::f64s::LEN;
        room.table.resize(self.groups, Aligned([[0.0; ACROSS]; ALL]));
        for (rows, sums) in room.differences.chunks(GROUP).zip(&mut room.table) {
            for (j, row) in rows.iter().enumerate() {
                for k in (0..ACROSS).step_by(width) {
                    let row = S::f64s::from_slice(simd, &row[at + k..][..width]);
                    for subset in 0..1 << j {
                        let with = row + S::f64s::from_slice(simd, &sums[subset][k..k + width]);
                        with.store_slice(&mut sums[subset | 1 << j][k..k + width]);
                    }
                }
            }
        }
        for ((taken, weight), out) in self.taken.chunks_exact(self.groups).zip(&self.weights).zip(&mut room.sums) {
            meanwhile();
            let mut sum = [S::f64s::splat(simd, 0.0); HELD];
            for (subset, sums) in taken.iter().zip(&room.table) {
                let sums = &sums[usize::from(*subset) % ALL];
                for k in 0..ACROSS / width {
                    sum[k] += S::f64s::from_slice(simd, &sums[k * width..][..width]);
                }
            }
            for k in 0..ACROSS / width {
                (sum[k] * *weight).store_slice(&mut out[at + k * width..][..width]);
            }
        }
    }
}

/// Memory of a tile.
#[derive(Default)]
pub(super) struct Room {
    /// The rows less their centre.
    differences: Vec<Aligned<[f64; LANES]>>,
    /// The sums of the subsets of each group. The first one's is zero.
    table: Vec<Aligned<[[f64; ACROSS]; ALL]>>,
    /// For each mixed row Σ w (x − c).
    pub(super) sums: Vec<Aligned<[f64; LANES]>>,
}

impl<'a> MixedRows<'a> {
    pub(super) fn new(mixing: &Mixing, centre: Values<'a>) -> Self {
        let terms = |i: usize| mixing.weights(i).iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
        let how = match Subsets::of(mixing) {
            Some(subsets) => How::Subsets(subsets),
            None => How::Terms((0..mixing.rows()).map(terms).collect()),
        };
        Self { how, centre }
    }

    /// How often a tile of so many mixed rows leaves time for something else.
    pub(super) fn times(&self) -> usize {
        match &self.how {
            How::Terms(rows) => rows.len(),
            How::Subsets(subsets) => subsets.weights.len() * (LANES / ACROSS),
        }
    }

    /// Σ w (x − c) of each mixed row, in one tile, `meanwhile` so many [times](Self::times); the largest |x| as bits.
    #[inline(always)]
    pub(super) fn tile<'r, S: Simd>(
        &self,
        simd: S,
        rows: impl ExactSizeIterator<Item = &'r [f32]>,
        centre: &[f32],
        room: &mut Room,
        mut meanwhile: impl FnMut(),
    ) -> S::i32s {
        room.differences.resize(rows.len(), Aligned([0.0; LANES]));
        let mut largest = S::i32s::splat(simd, 0);
        for (row, difference) in rows.zip(&mut room.differences) {
            largest = largest.max(subtract(simd, row, centre, difference));
        }
        match &self.how {
            How::Terms(rows) => {
                room.sums.resize(rows.len(), Aligned([0.0; LANES]));
                for (terms, sums) in rows.iter().zip(&mut room.sums) {
                    meanwhile();
                    weighted_sum(simd, terms, &room.differences, sums);
                }
            }
            How::Subsets(subsets) => {
                room.sums.resize(subsets.weights.len(), Aligned([0.0; LANES]));
                for at in (0..LANES).step_by(ACROSS) {
                    subsets.sums(simd, at, room, &mut meanwhile);
                }
            }
        }
        largest
    }
}

/// z = c + sum, kept within the finite values.
#[inline(always)]
pub(super) fn held(centre: f32, sum: f64) -> f32 {
    (f64::from(centre) + sum).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// x − c in f64; the largest |x| as bits.
#[inline(always)]
fn subtract<S: Simd>(simd: S, row: &[f32], centre: &[f32], difference: &mut [f64; LANES]) -> S::i32s {
    let (width, half) = (S::f32s::LEN, S::f64s::LEN);
    let mut largest = S::i32s::splat(simd, 0);
    for at in (0..LANES).step_by(width) {
        let x = S::f32s::from_slice(simd, &row[at..at + width]);
        let bits: S::i32s = x.bitcast();
        largest = largest.max(bits & S::i32s::splat(simd, i32::MAX));
        let (x, c) = (x.widen(), S::f32s::from_slice(simd, &centre[at..at + width]).widen());
        (x.0 - c.0).store_slice(&mut difference[at..at + half]);
        (x.1 - c.1).store_slice(&mut difference[at + half..at + width]);
    }
    largest
}

/// Σ w_i d_i over the terms of a mixed row: as many columns at a time as registers hold sums.
#[inline(always)]
fn weighted_sum<S: Simd>(simd: S, terms: &[(usize, f64)], differences: &[Aligned<[f64; LANES]>], all: &mut [f64; LANES]) {
    let width = S::f64s::LEN;
    for (at, all) in all.chunks_exact_mut(HELD * width).enumerate() {
        let at = at * HELD * width;
        let mut sums = [S::f64s::splat(simd, 0.0); HELD];
        for &(i, weight) in terms {
            let difference = &differences[i][at..at + HELD * width];
            for k in 0..HELD {
                // Fused where the processor can.
                sums[k] =
                    S::f64s::from_slice(simd, &difference[k * width..][..width]).mul_add(S::f64s::splat(simd, weight), sums[k]);
            }
        }
        for k in 0..HELD {
            sums[k].store_slice(&mut all[k * width..][..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::cpu::levels;
    use fearless_simd::dispatch;

    /// Sums of random rows by random weights, in every build: against f64, and plain sums by the same bits.
    #[test]
    fn every_build_mixes_alike() {
        let mut random = fastrand::Rng::with_seed(7);
        for (n, m, shared) in [(1, 1, false), (3, 40, true), (18, 17, false), (25, 25, true), (30, 25, true), (5, 2, false)] {
            let tile = |random: &mut fastrand::Rng| -> [f32; LANES] { std::array::from_fn(|_| random.f32() - 0.5) };
            let rows: Vec<_> = (0..n).map(|_| tile(&mut random)).collect();
            let centre = tile(&mut random);
            let weights = |_| {
                let weight = random.f64();
                (0..n).map(|_| if random.u32(..5) > 0 { if shared { weight } else { random.f64() } } else { 0.0 }).collect()
            };
            let mixing = Mixing::new((0..m).map(weights).collect());
            assert_eq!(Subsets::of(&mixing).is_some(), shared, "{n} rows into {m}");
            let mixed = MixedRows::new(&mixing, Values::F32(&[]));
            let mut first = None;
            for level in levels() {
                let mut room = Room::default();
                dispatch!(level, simd => {
                    mixed.tile(simd, rows.iter().map(|row| &row[..]), &centre, &mut room, || ());
                });
                for (i, sums) in room.sums.iter().enumerate() {
                    for (t, sum) in sums.iter().enumerate() {
                        let difference = |row: &[f32; LANES]| f64::from(row[t]) - f64::from(centre[t]);
                        let exact: f64 = mixing.weights(i).iter().zip(&rows).map(|(w, row)| w * difference(row)).sum();
                        assert!((sum - exact).abs() < 1e-14, "{n} rows into {m}, {level:?}: {sum} and {exact}");
                    }
                }
                assert!(!shared || *first.get_or_insert_with(|| room.sums.clone()) == room.sums, "{level:?}");
            }
        }
    }
}
