//! Rows that are mixed before they are ordered: z = W x, summed in f64 over tiles of columns.

use super::aligned::Aligned;
use super::coordinate::LANES;
use super::plain_sums::{ACROSS, ALL, PlainSums};
use crate::geometry::Mixing;
use fearless_simd::{Simd, prelude::*};

/// Vectors of sums that registers hold.
pub(super) const HELD: usize = 8;

/// Places of an f32's bits below its exponent.
const PLACES: u32 = f32::MANTISSA_DIGITS - 1;

/// How rows are mixed.
pub(super) enum MixedRows {
    /// For each mixed row the rows that go into it, with their weights.
    Terms(Vec<Vec<(usize, f64)>>),
    /// Every mixed row is a mean, or less.
    Plain(PlainSums),
}

/// Memory of a tile.
#[derive(Default)]
pub(super) struct Room {
    /// The rows in f64.
    pub(super) rows: Vec<Aligned<[f64; LANES]>>,
    /// The sums of the subsets of each group. The first one's is zero.
    pub(super) table: Vec<Aligned<[[f64; ACROSS]; ALL]>>,
}

impl MixedRows {
    pub(super) fn new(mixing: &Mixing) -> Self {
        let terms = |i: usize| mixing.weights(i).iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
        match PlainSums::of(mixing) {
            Some(plain) => Self::Plain(plain),
            None => Self::Terms((0..mixing.rows()).map(terms).collect()),
        }
    }

    /// How often a tile of so many mixed rows leaves time for something else.
    pub(super) fn times(&self) -> usize {
        match self {
            Self::Terms(rows) => rows.len(),
            Self::Plain(plain) => plain.times(),
        }
    }

    /// Mixes the columns from `at` on, as many as a wire has. `put` takes a mixed row, a column of the tile, and z in the columns from there,
    /// within the finite values of f32; `meanwhile` is called so many [times](Self::times). The largest |x| as bits.
    #[inline(always)]
    pub(super) fn tile<S: Simd>(
        &self,
        simd: S,
        rows: &[&[f32]],
        at: usize,
        room: &mut Room,
        mut meanwhile: impl FnMut(),
        mut put: impl FnMut(usize, usize, [S::f64s; 2]),
    ) -> S::i32s {
        room.rows.resize(rows.len(), Aligned([0.0; LANES]));
        let (largest, span) = widen(simd, rows, at, &mut room.rows);
        match self {
            Self::Terms(mixed) => {
                for (i, terms) in mixed.iter().enumerate() {
                    meanwhile();
                    weighted_sum(
                        simd,
                        terms,
                        &room.rows,
                        #[inline(always)]
                        |at, sums| put(i, at, sums),
                    );
                }
            }
            Self::Plain(plain) => plain.tile(simd, span, room, meanwhile, put),
        }
        largest
    }
}

/// Values in f64 to where they belong.
#[inline(always)]
pub(super) fn store<V: SimdBase<S, Element = f64>, S: Simd>(values: [V; 2], out: &mut [f64]) {
    let [low, high] = values;
    low.store_slice(&mut out[..V::LEN]);
    high.store_slice(&mut out[V::LEN..2 * V::LEN]);
}

/// Values rounded to f32, to where they belong.
#[inline(always)]
pub(super) fn store_rounded<S: Simd>(values: [S::f64s; 2], out: &mut [f32]) {
    let [low, high] = values;
    low.narrow(high).store_slice(&mut out[..S::f32s::LEN]);
}

/// A tile of columns in f64; the largest |x| as bits, and how many binary places lie between the largest and the least value of a column,
/// zeros left out, where that is most.
#[inline(always)]
fn widen<S: Simd>(simd: S, rows: &[&[f32]], from: usize, wide: &mut [Aligned<[f64; LANES]>]) -> (S::i32s, u32) {
    let (width, half) = (S::f32s::LEN, S::f64s::LEN);
    let (magnitude, one) = (S::i32s::splat(simd, i32::MAX), S::i32s::splat(simd, 1));
    let mut largest = S::i32s::splat(simd, 0);
    let mut span = S::i32s::splat(simd, 0);
    for at in (0..LANES).step_by(width) {
        let mut most = S::i32s::splat(simd, 0);
        // Zero less one is more than any.
        let mut least = S::u32s::splat(simd, u32::MAX);
        for (row, wide) in rows.iter().zip(&mut *wide) {
            let x = S::f32s::from_slice(simd, &row[from + at..][..width]);
            let size = x.bitcast::<S::i32s>() & magnitude;
            most = most.max(size);
            least = least.min((size - one).bitcast::<S::u32s>());
            let x = x.widen();
            x.0.store_slice(&mut wide[at..at + half]);
            x.1.store_slice(&mut wide[at + half..at + width]);
        }
        largest = largest.max(most);
        span = span.max((most >> PLACES) - (least >> PLACES).bitcast::<S::i32s>());
    }
    (largest, span.as_slice().iter().fold(0, |a, b| a.max(*b)) as u32)
}

/// Σ w_i x_i over the terms of a mixed row, kept within the finite values: as many columns at a time as registers hold sums.
#[inline(always)]
fn weighted_sum<S: Simd>(
    simd: S,
    terms: &[(usize, f64)],
    rows: &[Aligned<[f64; LANES]>],
    mut put: impl FnMut(usize, [S::f64s; 2]),
) {
    let width = S::f64s::LEN;
    let (lowest, highest) = (S::f64s::splat(simd, f32::MIN.into()), S::f64s::splat(simd, f32::MAX.into()));
    for at in (0..LANES).step_by(HELD * width) {
        let mut sums = [S::f64s::splat(simd, 0.0); HELD];
        for &(i, weight) in terms {
            let row = &rows[i][at..at + HELD * width];
            for k in 0..HELD {
                // Fused where the processor can.
                sums[k] = S::f64s::from_slice(simd, &row[k * width..][..width]).mul_add(S::f64s::splat(simd, weight), sums[k]);
            }
        }
        for k in (0..HELD).step_by(2) {
            put(at + k * width, [sums[k].clamp(lowest, highest), sums[k + 1].clamp(lowest, highest)]);
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
            let weights = |_| {
                // Those of means, or less: else they are no plain sums.
                let weight = random.f64() / n as f64;
                (0..n).map(|_| if random.u32(..5) > 0 { if shared { weight } else { random.f64() } } else { 0.0 }).collect()
            };
            let mixing = Mixing::new((0..m).map(weights).collect());
            assert_eq!(PlainSums::of(&mixing).is_some(), shared, "{n} rows into {m}");
            let mixed = MixedRows::new(&mixing);
            let mut first = None;
            for level in levels() {
                let mut room = Room::default();
                let mut all = vec![[f64::NAN; LANES]; m];
                dispatch!(level, simd => {
                    mixed.tile(simd, &rows, 0, &mut room, || (), |i, at, z| store(z, &mut all[i][at..]));
                });
                for (i, sums) in all.iter().enumerate() {
                    for (t, sum) in sums.iter().enumerate() {
                        let exact: f64 = mixing.weights(i).iter().zip(&rows).map(|(w, row)| w * f64::from(row[t])).sum();
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
                let mut wide = vec![Aligned([0.0; LANES]); rows.len()];
                dispatch!(level, simd => widen(simd, &rows, 0, &mut wide).1)
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
