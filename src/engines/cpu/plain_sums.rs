//! Plain sums of rows that overlap, as nearest neighbours do: what they share is summed once.

use super::aligned::Aligned;
use super::coordinate::LANES;
use super::mixed::{HELD, Room};
use crate::geometry::Mixing;
use fearless_simd::{Simd, prelude::*};

/// Means, or smaller multiples of plain sums: none is beyond the finite values. Where every sum is exact, so that the order of additions is of no account, by what each differs from the
/// one they have in [common](Common), and else by [subsets](Subsets) of few rows: the same bits.
pub(super) struct PlainSums {
    common: Common,
    subsets: Subsets,
    /// What each sum is multiplied by.
    weights: Vec<f64>,
}

/// The rows that most mixed rows take, and for each of those what it takes beside them and what it leaves out. Subtracting what was
/// added loses whatever was rounded away beside it, so nothing may be.
struct Common {
    rows: Vec<usize>,
    ways: Vec<Way>,
    /// Binary places that the values of a column may span so that no sum is rounded; nothing where this way has more to add.
    exact: Option<u32>,
}

/// From what is common to one sum.
struct Way {
    sum: usize,
    beside: Vec<usize>,
    without: Vec<usize>,
}

/// The sums of all subsets of each [`GROUP`] of rows are formed once; of them each mixed row takes one a group. (Arlazarov, Dinic,
/// Kronrod and Faradžev, 1970.)
struct Subsets {
    groups: usize,
    /// For each mixed row the subset it takes of each group.
    taken: Vec<u8>,
}

/// Rows of which all subsets are summed.
const GROUP: usize = 4;
/// Their number.
pub(super) const ALL: usize = 1 << GROUP;
/// Columns of which the sums of subsets stay in the first-level cache.
pub(super) const ACROSS: usize = 16;

impl PlainSums {
    /// Where all weights of each mixed row are the same, none adds up to more than 1, and enough is shared to save additions.
    pub(super) fn of(mixing: &Mixing) -> Option<Self> {
        let (m, n) = (mixing.rows(), mixing.width());
        let uses = |i: usize| (0..n).filter(move |j| mixing.weights(i)[*j] != 0.0);
        let weights = mixing.plain()?;
        // What rounding adds to a mean of the largest values is lost when it becomes an f32.
        if (0..m).any(|i| weights[i].abs() * uses(i).count() as f64 > 1.0 + 1e-9) {
            return None;
        }
        let groups = n.div_ceil(GROUP);
        let additions = groups * (ALL - GROUP - 1 + m);
        if additions >= (0..m).map(|i| uses(i).count()).sum() {
            return None;
        }
        let mut taken = vec![0; m * groups];
        (0..m).for_each(|i| uses(i).for_each(|j| taken[i * groups + j / GROUP] |= 1 << (j % GROUP)));
        Some(Self { common: Common::of(mixing, additions), subsets: Subsets { groups, taken }, weights })
    }

    /// How often a tile leaves time for something else.
    pub(super) fn times(&self) -> usize {
        self.weights.len() * (LANES / ACROSS)
    }

    /// [`MixedRows::tile`](super::mixed::MixedRows::tile) of values that span so many binary places.
    #[inline(always)]
    pub(super) fn tile<S: Simd>(
        &self,
        simd: S,
        span: u32,
        room: &mut Room,
        mut meanwhile: impl FnMut(),
        mut put: impl FnMut(usize, usize, [S::f64s; 2]),
    ) {
        if self.common.exact.is_some_and(|places| span <= places) {
            self.common.sums(simd, &self.weights, room, meanwhile, put);
        } else {
            for at in (0..LANES).step_by(ACROSS) {
                self.subsets.sums(simd, &self.weights, at, room, &mut meanwhile, &mut put);
            }
        }
    }
}

impl Common {
    fn of(mixing: &Mixing, other_way: usize) -> Self {
        let (m, n) = (mixing.rows(), mixing.width());
        let uses = |i: usize, j: usize| mixing.weights(i)[j] != 0.0;
        let (rows, others): (Vec<usize>, Vec<usize>) = (0..n).partition(|&j| 2 * (0..m).filter(|&i| uses(i, j)).count() > m);
        let way = |i: usize| Way {
            sum: i,
            beside: others.iter().copied().filter(|&j| uses(i, j)).collect(),
            without: rows.iter().copied().filter(|&j| !uses(i, j)).collect(),
        };
        let mut ways: Vec<Way> = (0..m).map(way).collect();
        // Where loops end is foreseen when they end as those before.
        ways.sort_by_key(|way| (way.beside.len(), way.without.len()));
        let additions = rows.len() + ways.iter().map(|way| way.beside.len() + way.without.len()).sum::<usize>();
        // Values of a column less than 2^(e + 1), all multiples of 2^(e - span - 23): n of them sum to less than n 2^(e + 1), which is
        // exact up to 2^53 times the last place.
        let all = n.next_power_of_two().ilog2();
        let places = (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS).saturating_sub(all);
        Self { rows, ways, exact: (additions < other_way).then_some(places) }
    }

    #[inline(always)]
    fn sums<S: Simd>(
        &self,
        simd: S,
        weights: &[f64],
        room: &Room,
        mut meanwhile: impl FnMut(),
        mut put: impl FnMut(usize, usize, [S::f64s; 2]),
    ) {
        let width = S::f64s::LEN;
        let rows = &room.rows;
        for at in (0..LANES).step_by(HELD * width) {
            let mut common = [S::f64s::splat(simd, 0.0); HELD];
            for row in &self.rows {
                for k in 0..HELD {
                    common[k] += S::f64s::from_slice(simd, &rows[*row][at + k * width..][..width]);
                }
            }
            for Way { sum: i, beside, without } in &self.ways {
                for _ in 0..HELD * width / ACROSS {
                    meanwhile();
                }
                let mut sum = common;
                for row in beside {
                    for k in 0..HELD {
                        sum[k] += S::f64s::from_slice(simd, &rows[*row][at + k * width..][..width]);
                    }
                }
                for row in without {
                    for k in 0..HELD {
                        sum[k] -= S::f64s::from_slice(simd, &rows[*row][at + k * width..][..width]);
                    }
                }
                for k in (0..HELD).step_by(2) {
                    put(*i, at + k * width, [sum[k] * weights[*i], sum[k + 1] * weights[*i]]);
                }
            }
        }
    }
}

impl Subsets {
    /// Each mixed row's sum in some columns, from `at` on; `meanwhile` at each.
    #[inline(always)]
    fn sums<S: Simd>(
        &self,
        simd: S,
        weights: &[f64],
        at: usize,
        room: &mut Room,
        mut meanwhile: impl FnMut(),
        mut put: impl FnMut(usize, usize, [S::f64s; 2]),
    ) {
        let width = S::f64s::LEN;
        room.table.resize(self.groups, Aligned([[0.0; ACROSS]; ALL]));
        for (rows, sums) in room.rows.chunks(GROUP).zip(&mut room.table) {
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
        for (i, (taken, weight)) in self.taken.chunks_exact(self.groups).zip(weights).enumerate() {
            meanwhile();
            let mut sum = [S::f64s::splat(simd, 0.0); HELD];
            for (subset, sums) in taken.iter().zip(&room.table) {
                let sums = &sums[usize::from(*subset) % ALL];
                for k in 0..ACROSS / width {
                    sum[k] += S::f64s::from_slice(simd, &sums[k * width..][..width]);
                }
            }
            for k in (0..ACROSS / width).step_by(2) {
                put(i, at + k * width, [sum[k] * *weight, sum[k + 1] * *weight]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::cpu::levels;
    use crate::engines::cpu::mixed::{MixedRows, store};
    use fearless_simd::dispatch;

    /// Means of all but a few rows, others for each mixed row.
    fn neighbors(n: usize, leave_out: usize) -> Mixing {
        Mixing::means((0..n).map(|i| (0..n).filter(|j| (j + n - i) % n < n - leave_out).collect::<Vec<_>>()), n)
    }

    /// Σ w x as it is summed at every width of vectors, and from subsets.
    fn both(mixing: &Mixing, rows: &[[f32; LANES]]) -> (Vec<Sums>, Sums) {
        let plain = PlainSums::of(mixing).expect("plain sums");
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let mixed = MixedRows::new(mixing);
        let mut room = Room::default();
        let (mut taken, mut subsets) = (Vec::new(), vec![[f64::NAN; LANES]; mixing.rows()]);
        for level in levels() {
            let mut sums = vec![[f64::NAN; LANES]; mixing.rows()];
            dispatch!(level, simd => {
                mixed.tile(simd, &rows, 0, &mut room, || (), |i, at, sum| store(sum, &mut sums[i][at..]));
                for at in (0..LANES).step_by(ACROSS) {
                    let put = |i: usize, at: usize, sum| store(sum, &mut subsets[i][at..]);
                    plain.subsets.sums(simd, &plain.weights, at, &mut room, || (), put);
                }
            });
            taken.push(sums);
        }
        (taken, subsets)
    }

    type Sums = Vec<[f64; LANES]>;

    fn rows(n: usize, value: impl FnMut() -> f32) -> Vec<[f32; LANES]> {
        let value = std::cell::RefCell::new(value);
        (0..n).map(|_| std::array::from_fn(|_| value.borrow_mut()())).collect()
    }

    /// Values of few and of many binary places, zeros of both signs, denormals, values near the largest, a row far from all others.
    #[test]
    fn both_ways_give_the_same_bits() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut value = |places: i32, about: i32| {
            let sign = if random.bool() { 1.0 } else { -1.0 };
            let size = f32::exp2((about + random.i32(0..=places)) as f32) * (1.0 + random.f32());
            if random.u32(..10) == 0 { 0.0 * sign } else { size * sign }
        };
        for (n, leave_out) in [(15, 3), (25, 5), (51, 10), (30, 1)] {
            let mixing = neighbors(n, leave_out);
            assert!(PlainSums::of(&mixing).expect("plain sums").common.exact.is_some(), "n = {n}");
            for (places, about) in [(3, 0), (18, 0), (26, 0), (60, 0), (10, -140), (3, 124), (200, -140)] {
                let mut rows = rows(n, || value(places, about));
                let (taken, subsets) = both(&mixing, &rows);
                assert!(taken.iter().all(|taken| bits(taken) == bits(&subsets)), "n = {n}, {places} places about 2^{about}");
                rows[1] = [3e38; LANES];
                let (taken, subsets) = both(&mixing, &rows);
                assert!(taken.iter().all(|taken| bits(taken) == bits(&subsets)), "n = {n}, {places} places, one far row");
            }
        }
    }

    /// A sum of weights that rounding made more than 1 leads to no infinity, nor does the narrowing to f32.
    #[test]
    fn means_of_the_largest_values_are_finite() {
        for (n, leave_out) in [(9, 1), (25, 5), (60, 11), (101, 3)] {
            let (taken, subsets) = both(&neighbors(n, leave_out), &vec![[f32::MAX; LANES]; n]);
            assert!(taken.iter().chain([&subsets]).flat_map(|sums| sums.as_flattened()).all(|z| *z as f32 == f32::MAX), "n = {n}");
        }
        let twice = Mixing::new(vec![vec![2.0 / 25.0; 25]; 25]);
        assert!(PlainSums::of(&twice).is_none());
    }

    /// What would be lost if the wide columns were summed in common too.
    #[test]
    fn subtracting_a_huge_row_loses_the_others() {
        let n = 25;
        let mixing = neighbors(n, 5);
        let mut plain = PlainSums::of(&mixing).expect("plain sums");
        let mut rows = rows(n, || 1e-10);
        rows[0] = [0.0; LANES];
        rows[7] = [1e10; LANES];
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let sums = |plain: &PlainSums, span: u32| {
            let wide = rows.iter().map(|row| Aligned(std::array::from_fn(|t| f64::from(row[t])))).collect();
            let mut room = Room { rows: wide, ..Room::default() };
            let mut sums = vec![[f64::NAN; LANES]; n];
            let level = fearless_simd::Level::new();
            dispatch!(level, simd => plain.tile(simd, span, &mut room, || (), |i, at, sum| store(sum, &mut sums[i][at..])));
            sums
        };
        assert_eq!(plain.common.exact, Some(24));
        let right = sums(&plain, 67);
        assert_ne!(bits(&right), bits(&sums(&plain, 24)));
        plain.common.exact = None;
        assert_eq!(bits(&right), bits(&sums(&plain, 24)));
    }

    fn bits(sums: &[[f64; LANES]]) -> Vec<u64> {
        sums.as_flattened().iter().map(|sum| sum.to_bits()).collect()
    }
}
