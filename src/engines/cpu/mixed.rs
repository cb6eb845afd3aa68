//! Rows that are mixed before they are ordered: z = c + W (x − c), summed in f64 over tiles of columns.

use super::aligned::Aligned;
use super::coordinate::LANES;
use super::plain_sums::{ACROSS, ALL, PlainSums};
use crate::dtype::Values;
use crate::geometry::Mixing;
use fearless_simd::{Simd, prelude::*};

/// Vectors of sums that registers hold.
pub(super) const HELD: usize = 8;

/// Places of an f32's bits below its exponent.
const PLACES: u32 = f32::MANTISSA_DIGITS - 1;

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
    Plain(PlainSums),
}

/// The columns from `at` on of rows and of what they are centred on, as many as a wire has.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) rows: &'a [&'a [f32]],
    pub(super) centre: &'a [f32],
    pub(super) at: usize,
}

/// Memory of a tile.
#[derive(Default)]
pub(super) struct Room {
    /// The rows less their centre.
    pub(super) differences: Vec<Aligned<[f64; LANES]>>,
    /// The sums of the subsets of each group. The first one's is zero.
    pub(super) table: Vec<Aligned<[[f64; ACROSS]; ALL]>>,
}

impl<'a> MixedRows<'a> {
    pub(super) fn new(mixing: &Mixing, centre: Values<'a>) -> Self {
        let terms = |i: usize| mixing.weights(i).iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
        let how = match PlainSums::of(mixing) {
            Some(plain) => How::Plain(plain),
            None => How::Terms((0..mixing.rows()).map(terms).collect()),
        };
        Self { how, centre }
    }

    /// How often a tile of so many mixed rows leaves time for something else.
    pub(super) fn times(&self) -> usize {
        match &self.how {
            How::Terms(rows) => rows.len(),
            How::Plain(plain) => plain.times(),
        }
    }

    /// `put` takes a mixed row, a column of the tile, and Σ w (x − c) in the columns from there; `meanwhile` is called so many
    /// [times](Self::times). The largest |x| as bits.
    #[inline(always)]
    pub(super) fn tile<S: Simd>(
        &self,
        simd: S,
        tile: Tile<'_>,
        room: &mut Room,
        mut meanwhile: impl FnMut(),
        mut put: impl FnMut(usize, usize, [S::f64s; 2]),
    ) -> S::i32s {
        room.differences.resize(tile.rows.len(), Aligned([0.0; LANES]));
        let (largest, span) = subtract(simd, tile, &mut room.differences);
        match &self.how {
            How::Terms(rows) => {
                for (i, terms) in rows.iter().enumerate() {
                    meanwhile();
                    weighted_sum(
                        simd,
                        terms,
                        &room.differences,
                        #[inline(always)]
                        |at, sums| put(i, at, sums),
                    );
                }
            }
            How::Plain(plain) => plain.tile(simd, span, room, meanwhile, put),
        }
        largest
    }
}

/// Sums in f64 to where they belong.
#[inline(always)]
pub(super) fn store<V: SimdBase<S, Element = f64>, S: Simd>(sums: [V; 2], out: &mut [f64]) {
    let [low, high] = sums;
    low.store_slice(&mut out[..V::LEN]);
    high.store_slice(&mut out[V::LEN..2 * V::LEN]);
}

/// z = c + sum, kept within the finite values, to where it belongs.
#[inline(always)]
pub(super) fn store_held<S: Simd>(simd: S, centre: &[f32], sums: [S::f64s; 2], out: &mut [f32]) {
    let width = S::f32s::LEN;
    let (low, high) = (S::f64s::splat(simd, f32::MIN.into()), S::f64s::splat(simd, f32::MAX.into()));
    let c = S::f32s::from_slice(simd, &centre[..width]).widen();
    let [a, b] = [c.0 + sums[0], c.1 + sums[1]].map(
        #[inline(always)]
        |z| z.clamp(low, high),
    );
    a.narrow(b).store_slice(&mut out[..width]);
}

/// x − c in f64 in a tile of columns; the largest |x| as bits, and how many binary places lie between the largest and the least value
/// of a column, zeros left out, where that is most.
#[inline(always)]
fn subtract<S: Simd>(simd: S, tile: Tile<'_>, differences: &mut [Aligned<[f64; LANES]>]) -> (S::i32s, u32) {
    let Tile { rows, centre, at: from } = tile;
    let (width, half) = (S::f32s::LEN, S::f64s::LEN);
    let mut largest = S::i32s::splat(simd, 0);
    let mut span = S::i32s::splat(simd, 0);
    for at in (0..LANES).step_by(width) {
        let c = S::f32s::from_slice(simd, &centre[from + at..][..width]);
        let wide = c.widen();
        let (magnitude, one) = (S::i32s::splat(simd, i32::MAX), S::i32s::splat(simd, 1));
        let mut most = c.bitcast::<S::i32s>() & magnitude;
        // Zero less one is more than any.
        let mut least = (most - one).bitcast::<S::u32s>();
        for (row, difference) in rows.iter().zip(&mut *differences) {
            let x = S::f32s::from_slice(simd, &row[from + at..][..width]);
            let size = x.bitcast::<S::i32s>() & magnitude;
            most = most.max(size);
            least = least.min((size - one).bitcast::<S::u32s>());
            let x = x.widen();
            (x.0 - wide.0).store_slice(&mut difference[at..at + half]);
            (x.1 - wide.1).store_slice(&mut difference[at + half..at + width]);
        }
        largest = largest.max(most);
        span = span.max((most >> PLACES) - (least >> PLACES).bitcast::<S::i32s>());
    }
    (largest, span.as_slice().iter().fold(0, |a, b| a.max(*b)) as u32)
}

/// Σ w_i d_i over the terms of a mixed row: as many columns at a time as registers hold sums.
#[inline(always)]
fn weighted_sum<S: Simd>(
    simd: S,
    terms: &[(usize, f64)],
    differences: &[Aligned<[f64; LANES]>],
    mut put: impl FnMut(usize, [S::f64s; 2]),
) {
    let width = S::f64s::LEN;
    for at in (0..LANES).step_by(HELD * width) {
        let mut sums = [S::f64s::splat(simd, 0.0); HELD];
        for &(i, weight) in terms {
            let difference = &differences[i][at..at + HELD * width];
            for k in 0..HELD {
                // Fused where the processor can.
                sums[k] =
                    S::f64s::from_slice(simd, &difference[k * width..][..width]).mul_add(S::f64s::splat(simd, weight), sums[k]);
            }
        }
        for k in (0..HELD).step_by(2) {
            put(at + k * width, [sums[k], sums[k + 1]]);
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
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            let centre = tile(&mut random);
            let weights = |_| {
                let weight = random.f64();
                (0..n).map(|_| if random.u32(..5) > 0 { if shared { weight } else { random.f64() } } else { 0.0 }).collect()
            };
            let mixing = Mixing::new((0..m).map(weights).collect());
            assert_eq!(PlainSums::of(&mixing).is_some(), shared, "{n} rows into {m}");
            let mixed = MixedRows::new(&mixing, Values::F32(&[]));
            let mut first = None;
            for level in levels() {
                let mut room = Room::default();
                let mut all = vec![[f64::NAN; LANES]; m];
                dispatch!(level, simd => {
                    let tile = Tile { rows: &rows, centre: &centre, at: 0 };
                    mixed.tile(simd, tile, &mut room, || (), |i, at, sums| store(sums, &mut all[i][at..]));
                });
                for (i, sums) in all.iter().enumerate() {
                    for (t, sum) in sums.iter().enumerate() {
                        let difference = |row: &&[f32]| f64::from(row[t]) - f64::from(centre[t]);
                        let exact: f64 = mixing.weights(i).iter().zip(&rows).map(|(w, row)| w * difference(row)).sum();
                        assert!((sum - exact).abs() < 1e-14, "{n} rows into {m}, {level:?}: {sum} and {exact}");
                    }
                }
                assert!(!shared || *first.get_or_insert_with(|| all.clone()) == all, "{level:?}");
            }
        }
    }
    /// The widest column counts, zeros do not, and a power of two may count as one place more.
    #[test]
    fn columns_span_their_binary_places() {
        let mut rows = [[1.5; LANES], [-3.0; LANES], [0.0; LANES]];
        let span = |rows: &[[f32; LANES]]| {
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            let of = |level| {
                let mut differences = vec![Aligned([0.0; LANES]); rows.len()];
                dispatch!(level, simd => subtract(simd, Tile { rows: &rows, centre: rows[2], at: 0 }, &mut differences).1)
            };
            let spans: Vec<u32> = levels().into_iter().map(of).collect();
            assert!(spans.iter().all(|span| *span == spans[0]), "{spans:?}");
            spans[0]
        };
        assert_eq!(span(&rows), 1);
        for (value, places) in [(3e-3, 10), (-3e-3, 10), (0.25, 4), (1e30, 98), (f32::NAN, 127), (0.0, 1)] {
            rows[0][LANES - 3] = value;
            assert_eq!(span(&rows), places, "{value}");
        }
        assert_eq!(span(&[[0.0; LANES]; 3]), 0);
    }
}
