//! Inner products of the rows: all that a rule on distances needs to know of the data.

use crate::parallel::{fill_rows, of_rows};
use std::borrow::Cow;

/// Most rows of which tables of n² numbers are kept.
pub const MOST_ROWS: usize = 4096;

/// The n × n matrix G_ij = ⟨x_i − c, x_j − c⟩ for some common centre c, in f64. Squared distances do not depend on c;
/// an engine picks a c close to the honest rows, so that they survive the subtraction.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    n: usize,
    values: Vec<f64>,
}

impl Gram {
    /// From n × n values, row-major and symmetric. `None` when the length is not n².
    pub fn new(n: usize, values: Vec<f64>) -> Option<Self> {
        (values.len() == n * n).then_some(Self { n, values })
    }

    /// From a function of two rows.
    pub(crate) fn of(n: usize, at: impl Fn(usize, usize) -> f64 + Sync) -> Self {
        let mut values = vec![0.0; n * n];
        fill_rows(&mut values, n, |i, row| row.iter_mut().enumerate().for_each(|(j, value)| *value = at(i, j)));
        Self { n, values }
    }

    /// Of n rows of which nothing is known, and nothing kept: every product is zero.
    pub(crate) fn blank(n: usize) -> Self {
        Self { n, values: Vec::new() }
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// ⟨x_i − c, x_j − c⟩.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        if self.values.is_empty() { 0.0 } else { self.values[i * self.n + j] }
    }

    /// Row i: the inner products of x_i − c with all rows.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.n..(i + 1) * self.n]
    }

    /// ‖x_i − x_j‖² = G_ii + G_jj − 2 G_ij, never negative.
    pub fn distance2(&self, i: usize, j: usize) -> f64 {
        if i == j { 0.0 } else { (self.at(i, i) + self.at(j, j) - 2.0 * self.at(i, j)).max(0.0) }
    }

    /// Are two rows the same, as far as their products tell? A distance of zero does not say so: it may have drowned in the products.
    pub(crate) fn are_equal(&self, i: usize, j: usize) -> bool {
        self.at(i, i) == self.at(j, j) && self.at(i, i) == self.at(i, j)
    }

    /// All squared distances, n × n row-major.
    pub fn distances2(&self) -> Vec<f64> {
        Self::of(self.n, |i, j| self.distance2(i, j)).values
    }

    /// ‖x_i − Σ_j w_j x_j‖² = G_ii − 2(Gw)_i + wᵀGw for all rows, Σ w = 1. Rounding leaves an error of about 1e-16 of the terms:
    /// none is below that, nor zero.
    pub fn distances2_to(&self, w: &[f64]) -> Vec<f64> {
        let used: Vec<(usize, f64)> = w.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
        let gw: Vec<f64> = (0..self.n).map(|i| used.iter().map(|&(j, w)| self.at(i, j) * w).sum()).collect();
        let wgw: f64 = used.iter().map(|&(j, w)| w * gw[j]).sum();
        let least = |i: usize| (1e-15 * (self.at(i, i).abs() + wgw.abs())).max(f64::MIN_POSITIVE);
        (0..self.n).map(|i| (self.at(i, i) - 2.0 * gw[i] + wgw).max(least(i))).collect()
    }

    /// The inner products of some of the rows.
    pub fn of_rows(&self, rows: &[usize]) -> Self {
        Self::of(rows.len(), |i, j| self.at(rows[i], rows[j]))
    }

    /// The inner products of the first n rows.
    pub(crate) fn of_first(&self, n: usize) -> Cow<'_, Self> {
        if n == self.n { Cow::Borrowed(self) } else { Cow::Owned(Self::of(n, |i, j| self.at(i, j))) }
    }

    /// The same with one more row, whose products are zero: the centre itself.
    #[must_use]
    pub fn with_zero_row(&self) -> Self {
        Self::of(self.n + 1, |i, j| if i.max(j) < self.n { self.at(i, j) } else { 0.0 })
    }

    /// The same centre, with what `other` knows better of the same rows: the distances between rows that are nearer to its centre than
    /// to this one. Sums in f32 leave each product an error of about 10⁻⁷ of its rows' sizes, which are their distances to the
    /// centre; a product that is derived from the other's distance d, G_ij = (G_ii + G_jj − d²)/2, has that of d².
    #[must_use]
    pub(crate) fn refined_by(&self, other: &Self) -> Self {
        let better = |i: usize, j: usize| other.at(i, i) + other.at(j, j) < 2.0 * (self.at(i, i) * self.at(j, j)).sqrt();
        Self::of(self.n, |i, j| match i != j && better(i, j) {
            true => 0.5 * (self.at(i, i) + self.at(j, j) - other.distance2(i, j)),
            false => self.at(i, j),
        })
    }

    /// For each row the sum of its `neighbors` least squared distances to *other* rows: Krum's score.
    pub fn krum_scores(&self, neighbors: usize) -> Vec<f64> {
        self.scores(neighbors, |distance2| distance2)
    }

    /// [`Gram::krum_scores`] of a growing function of the squared distances.
    pub(crate) fn scores(&self, neighbors: usize, of: impl Fn(f64) -> f64 + Sync) -> Vec<f64> {
        of_rows(self.n, |i| {
            let mut others: Vec<f64> = (0..self.n).filter(|&j| j != i).map(|j| self.distance2(i, j)).collect();
            if neighbors < others.len() / 4 * 3 {
                others.select_nth_unstable_by(neighbors, f64::total_cmp);
                others.truncate(neighbors);
            }
            // Equal distances of two rows have equal sums.
            others.sort_unstable_by(f64::total_cmp);
            others.into_iter().take(neighbors).map(&of).sum()
        })
    }
}

/// (next − last) / next, the relative gap between the last value kept and the next one, which was not; 0 for a tie and where nothing can
/// be said, 1 below an infinite value.
pub(crate) fn gap(last: f64, next: f64) -> f64 {
    match next > last {
        true if next < f64::INFINITY => (next - last) / next.max(f64::MIN_POSITIVE),
        above => f64::from(u8::from(above)),
    }
}

/// Indices of `values` from least to greatest; equal values keep the lower index first.
pub(crate) fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}
