//! What a solver sees of the data, and what it answers: inner products of rows, and mixings of rows.

use crate::gram::Gram;
use crate::parallel::{of_groups, of_rows};
use std::sync::Arc;

/// What a solver has to know of the data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wants {
    /// Distances between the rows.
    pub distances: bool,
    /// Norms of the rows and angles between them: the origin becomes a virtual row.
    pub norms: bool,
    /// Distances to a coordinate-wise median.
    pub median: Option<MedianOf>,
    /// A row that is no worker's, e.g. the previous aggregate.
    pub given: Option<Arc<[f32]>>,
    /// Inner products over random columns only, beside those over all.
    pub samples: Option<Samples>,
    /// The shares of positive, negative and zero values in random columns: one round.
    pub signs: Option<Samples>,
}

/// Whose coordinate-wise median is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MedianOf {
    /// That of the rows.
    Rows,
    /// That of rows which the solver mixes first.
    MixedRows,
}

/// Random columns, drawn anew in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// Columns a round.
    pub columns: usize,
    /// Rounds.
    pub rounds: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Samples {
    /// The columns of one round, ascending, all different; all of them when d is no more than asked for.
    pub fn of_round(&self, round: usize, d: usize) -> Vec<usize> {
        if d <= self.columns {
            return (0..d).collect();
        }
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(round as u64));
        let mut chosen = random.choose_multiple(0..d, self.columns);
        chosen.sort_unstable();
        chosen
    }
}

impl Wants {
    /// Nothing: weights that do not depend on the data.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Distances between the rows.
    pub fn distances() -> Self {
        Self { distances: true, ..Self::default() }
    }

    /// Norms of the rows and angles between them.
    pub fn norms() -> Self {
        Self { norms: true, ..Self::default() }
    }

    /// Does it want anything?
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// What two solvers want together. A median, a given row and samples are the other's, if it has them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            distances: self.distances || other.distances,
            norms: self.norms || other.norms,
            median: other.median.or(self.median),
            given: other.given.or(self.given),
            samples: other.samples.or(self.samples),
            signs: other.signs.or(self.signs),
        }
    }
}

/// Inner products of n rows and of the virtual rows a solver wanted, all relative to one centre.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Inner products of the n rows.
    pub gram: Gram,
    /// Inner products of the n rows and, behind them, of the virtual rows.
    pub all: Gram,
    /// Where the origin stands in `all`.
    pub origin: Option<usize>,
    /// Where the given row stands in `all`.
    pub given: Option<usize>,
    /// Like `all`, but centred on a virtual row (the origin, else the given row) instead of a central row: rows that are near to that one,
    /// or are shortened towards it, are seen clearly from there alone. `None` where `all` is so centred, or no such row was wanted.
    pub anchored: Option<Gram>,
    /// For each row, or each row that the solver mixes, its squared distance to the coordinate-wise median; empty where not wanted.
    pub to_median: Vec<f64>,
    /// Like `all`, over the random columns of each round.
    pub samples: Vec<Gram>,
    /// For each row its shares of positive, negative and zero values, where wanted.
    pub signs: Vec<[f64; 3]>,
}

impl Geometry {
    /// Of rows alone.
    pub fn new(gram: Gram) -> Self {
        Self {
            all: gram.clone(),
            gram,
            origin: None,
            given: None,
            anchored: None,
            to_median: Vec::new(),
            samples: Vec::new(),
            signs: Vec::new(),
        }
    }

    /// The geometry of nothing but n rows: for solvers that want nothing.
    pub fn blank(n: usize) -> Self {
        Self::new(Gram::blank(n))
    }

    /// Number of rows that are workers'.
    pub fn n(&self) -> usize {
        self.gram.n()
    }

    /// Inner products as seen from the virtual rows.
    pub(crate) fn about_virtual(&self) -> &Gram {
        self.anchored.as_ref().unwrap_or(&self.all)
    }

    /// Norms of the rows; zeros where no origin was wanted.
    pub fn norms(&self) -> Vec<f64> {
        (0..self.n()).map(|i| self.origin.map_or(0.0, |o| self.about_virtual().distance2(i, o).sqrt())).collect()
    }

    /// ‖x_i − Σ_j w_j x_j‖² for the n rows; the weights are those of the rows and, behind them, of the virtual ones.
    pub fn distances2_to(&self, w: &[f64]) -> Vec<f64> {
        let mut distances2 = self.about_virtual().distances2_to(w);
        distances2.truncate(self.n());
        distances2
    }

    /// The cosine of the angle between two rows, from the origin.
    pub fn cosine(&self, i: usize, j: usize) -> f64 {
        let (all, norms) = (self.about_virtual(), |i| self.origin.map_or(0.0, |o| self.about_virtual().distance2(i, o).sqrt()));
        let product = self.origin.map_or(0.0, |o| all.at(i, j) - all.at(i, o) - all.at(j, o) + all.at(o, o));
        product / norms(i) / norms(j)
    }

    /// The geometry of the mixed rows, the virtual rows as they are: Gram(WX) = W·Gram(X)·Wᵀ.
    #[must_use]
    pub fn mixed(&self, mixing: &Mixing) -> Self {
        let shift = |at: Option<usize>| at.map(|at| at - self.n() + mixing.rows());
        let whole = mixing.with_virtual(self.n(), self.all.n());
        let anchored = self.anchored.as_ref().map(|gram| whole.gram(gram));
        // Rows that are shortened towards the origin are best seen from there.
        let shortened = self.origin.is_some_and(|o| mixing.width() > o && mixing.uses(o));
        let all = anchored.clone().filter(|_| shortened).unwrap_or_else(|| whole.gram(&self.all));
        Self {
            anchored,
            gram: all.of_first(mixing.rows()).into_owned(),
            all,
            origin: shift(self.origin),
            given: shift(self.given),
            // Those of the rows that were mixed.
            to_median: self.to_median.clone(),
            samples: self.samples.iter().map(|sample| whole.gram(sample)).collect(),
            // Those of mixed rows do not follow from those of the rows.
            signs: Vec::new(),
        }
    }
}

/// W: each mixed row is a weighted sum of the rows, and of virtual rows behind them. Weights of a row sum to 1, so that
/// a mixing commutes with translations.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing {
    width: usize,
    weights: Vec<Vec<f64>>,
}

impl Mixing {
    /// From rows of weights of one length.
    pub fn new(weights: Vec<Vec<f64>>) -> Self {
        let width = weights.first().map_or(0, Vec::len);
        debug_assert!(weights.iter().all(|w| w.len() == width));
        Self { width, weights }
    }

    /// One mixed row.
    pub fn row(weights: Vec<f64>) -> Self {
        Self::new(vec![weights])
    }

    /// The rows as they are.
    pub fn identity(n: usize) -> Self {
        Self::means((0..n).map(|i| [i]), n)
    }

    /// For each group the mean of its rows, of n.
    pub fn means(groups: impl IntoIterator<Item = impl AsRef<[usize]>>, n: usize) -> Self {
        let mean = |group: &[usize]| {
            let mut weights = vec![0.0; n];
            group.iter().for_each(|&i| weights[i] = 1.0 / group.len() as f64);
            weights
        };
        Self { width: n, weights: groups.into_iter().map(|group| mean(group.as_ref())).collect() }
    }

    /// Mixed rows.
    pub fn rows(&self) -> usize {
        self.weights.len()
    }

    /// Rows that are mixed, virtual ones included.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The weights of one mixed row.
    pub fn weights(&self, i: usize) -> &[f64] {
        &self.weights[i]
    }

    /// For each mixed row the weight of the rows that it takes, if it weighs them alike.
    pub(crate) fn plain(&self) -> Option<Vec<f64>> {
        let same = |weights: &Vec<f64>| {
            let mut taken = weights.iter().filter(|w| **w != 0.0);
            let weight = *taken.next().unwrap_or(&0.0);
            taken.all(|w| *w == weight).then_some(weight)
        };
        self.weights.iter().map(same).collect()
    }

    /// The rows that the mixed rows copy, if each copies one.
    pub fn selection(&self) -> Option<Vec<usize>> {
        let only = |weights: &Vec<f64>| {
            let mut used = weights.iter().enumerate().filter(|(_, w)| **w != 0.0);
            used.next().filter(|(_, w)| **w == 1.0 && used.next().is_none()).map(|(i, _)| i)
        };
        self.weights.iter().map(only).collect()
    }

    /// Does any mixed row use this row?
    pub fn uses(&self, i: usize) -> bool {
        self.weights.iter().any(|w| w[i] != 0.0)
    }

    /// The same with columns of zero weight up to `width`.
    #[must_use]
    pub(crate) fn padded(mut self, width: usize) -> Self {
        self.weights.iter_mut().for_each(|w| w.resize(width, 0.0));
        self.width = width;
        self
    }

    /// The mixed rows and, behind them, the virtual rows n..width as they are.
    pub(crate) fn with_virtual(&self, n: usize, width: usize) -> Self {
        let mut all = self.clone().padded(width);
        all.weights.extend((n..width).map(|i| (0..width).map(|j| if i == j { 1.0 } else { 0.0 }).collect()));
        all
    }

    /// First `before`, then this: the matrix product. Zero weights are skipped.
    #[must_use]
    pub(crate) fn after(&self, before: &Mixing) -> Self {
        let product = |weights: &Vec<f64>| {
            let mut sum = vec![0.0; before.width];
            for (row, &w) in before.weights.iter().zip(weights).filter(|(_, w)| **w != 0.0) {
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += w * x);
            }
            sum
        };
        Self { width: before.width, weights: of_rows(self.rows(), |i| product(&self.weights[i])) }
    }

    /// W·G·Wᵀ. Zero weights are skipped: the products of a far row reach only what it is mixed into.
    pub(crate) fn gram(&self, gram: &Gram) -> Gram {
        let m = self.rows();
        let used: Vec<Vec<(usize, f64)>> =
            self.weights.iter().map(|w| w.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect()).collect();
        let block = |first: usize| -> Vec<[f64; SIDE]> {
            let mut wg = vec![[0.0; SIDE]; self.width];
            for k in 0..self.width {
                let w: [f64; SIDE] = std::array::from_fn(|i| self.weights.get(first + i).map_or(0.0, |weights| weights[k]));
                if w != [0.0; SIDE] {
                    add_row(&mut wg, w, gram.row(k));
                }
            }
            used[first..].iter().map(|used| product(used, &wg)).collect()
        };
        let blocks = of_groups(m, SIDE, block);
        // The upper triangle; the lower one is its mirror image, so that the result is symmetric to the last bit.
        let at = |i: usize, j: usize| blocks[i / SIDE][j - i / SIDE * SIDE][i % SIDE];
        Gram::of(m, |i, j| at(i.min(j), i.max(j)))
    }
}

/// Mixed rows whose products are computed side by side.
const SIDE: usize = 8;

simd! {
/// Adds a row, times its weight in each mixed row, where that is not zero.
fn add_row(sums: &mut [[f64; SIDE]], weights: [f64; SIDE], row: &[f64]) {
    // All bits of a product, or none: without a branch.
    let kept = weights.map(|w| if w == 0.0 { 0 } else { u64::MAX });
    for (sums, x) in sums.iter_mut().zip(row) {
        for i in 0..SIDE {
            sums[i] += f64::from_bits((weights[i] * x).to_bits() & kept[i]);
        }
    }
}
}

simd! {
/// The sum of these rows by these weights.
fn product(used: &[(usize, f64)], rows: &[[f64; SIDE]]) -> [f64; SIDE] {
    let mut sums = [0.0; SIDE];
    for &(k, w) in used {
        for i in 0..SIDE {
            sums[i] += w * rows[k][i];
        }
    }
    sums
}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_commutes_with_inner_products() {
        let mut random = fastrand::Rng::with_seed(3);
        let rows: Vec<Vec<f64>> = (0..6).map(|_| (0..9).map(|_| random.f64() - 0.5).collect()).collect();
        let gram = |rows: &[Vec<f64>]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            Gram::new(rows.len(), rows.iter().flat_map(|a| rows.iter().map(move |b| dot(a, b))).collect()).unwrap()
        };
        // Four workers, and two virtual rows behind them.
        let geometry = Geometry {
            gram: gram(&rows[..4]),
            all: gram(&rows),
            origin: Some(4),
            given: Some(5),
            anchored: None,
            to_median: Vec::new(),
            samples: vec![gram(&rows)],
            signs: Vec::new(),
        };
        let mixing = Mixing::new((0..3).map(|_| (0..6).map(|_| random.f64()).collect()).collect());
        let apply =
            |weights: &[f64]| -> Vec<f64> { (0..9).map(|k| weights.iter().zip(&rows).map(|(w, r)| w * r[k]).sum()).collect() };
        let mut mixed: Vec<Vec<f64>> = (0..3).map(|i| apply(mixing.weights(i))).collect();
        let found = geometry.mixed(&mixing);
        assert_eq!((found.n(), found.origin, found.given), (3, Some(3), Some(4)));
        mixed.extend(rows[4..].to_vec());
        let want = gram(&mixed);
        for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
            assert!(
                (found.all.at(i, j) - want.at(i, j)).abs() < 1e-14 && (found.samples[0].at(i, j) - want.at(i, j)).abs() < 1e-14
            );
        }
        let last = Mixing::row(vec![0.5, 0.0, 0.5]);
        let both = last.after(&mixing);
        let twice: Vec<f64> = mixed[0].iter().zip(&mixed[2]).map(|(a, b)| 0.5 * (a + b)).collect();
        assert!(apply(both.weights(0)).iter().zip(&twice).all(|(a, b)| (a - b).abs() < 1e-14));
    }

    #[test]
    fn selections_are_recognised() {
        assert_eq!(Mixing::identity(3).selection(), Some(vec![0, 1, 2]));
        assert_eq!(Mixing::means([vec![1], vec![0, 2]], 3).selection(), None);
        assert_eq!(Mixing::row(vec![0.5, 0.0]).selection(), None);
    }
}
