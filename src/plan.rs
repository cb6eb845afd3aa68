//! The vocabulary between rules and engines.
//!
//! Every rule of the crate has the form y = stat(W·X). A rule says *what* to compute with the words of this module; an
//! engine executes them without knowing which rule spoke.

use crate::gram::Gram;

/// How to compute one aggregate. Cost is counted in reads of the n × d data.
#[derive(Debug)]
pub enum Plan {
    /// y_k = stat(x_1k, …, x_nk): one read.
    Coordinate(Stat),
    /// y = Σ w_i x_i: one read after the weights are known.
    Weighted(Weights),
}

/// A statistic of the n values of one coordinate. The values are ordered by their bits, so that every bit pattern has
/// a place: −NaN < −∞ < … < −0 < +0 < … < +∞ < +NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stat {
    /// Mean of the order statistics `from..to` (0-based, `to` excluded). A single one is copied as bits.
    Ranks {
        /// First rank of the mean.
        from: usize,
        /// One past its last rank.
        to: usize,
    },
    /// Mean of the `keep` values nearest the median (even n: the midpoint of the two middle values); of two equally
    /// near values the lower one is kept.
    NearestMedian {
        /// Number of values in the mean.
        keep: usize,
    },
}

/// Where the weights of a weighted sum of rows come from.
#[derive(Debug)]
pub enum Weights {
    /// 1/n for each row: no read of the data.
    Uniform,
    /// A function of the inner products of the rows alone: one read.
    Solve(Box<dyn Solve>),
    /// Weiszfeld's iteration on the data itself: one read a round. For the geometric median, where it checks the
    /// solution from inner products.
    Weiszfeld(Weiszfeld),
}

/// Parameters of the direct Weiszfeld iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weiszfeld {
    /// Most rounds (reads of the data).
    pub rounds: usize,
    /// Stop when no weight changed by more than this relative amount.
    pub tolerance: f64,
}

/// n-space work: from the inner products of the rows to their weights. No data is read here.
pub trait Solve: std::fmt::Debug + Send + Sync {
    /// Weights for the rows of `gram`.
    fn solve(&self, gram: &Gram) -> Solution;
}

/// What a solve found.
#[derive(Debug, Clone, Default)]
pub struct Solution {
    /// One weight for each row; they sum to 1.
    pub weights: Vec<f64>,
    /// One score for each row, where the rule has scores.
    pub scores: Option<Vec<f64>>,
    /// Rounds of an iterative solver.
    pub iterations: Option<usize>,
    /// What its stopping test measured last.
    pub residual: Option<f64>,
    /// False when an iterative solver hit its bound on rounds.
    pub converged: bool,
    /// Relative gap between the value that decided a selection and the nearest one that would have changed it.
    pub margin: Option<f64>,
}

impl Solution {
    /// Equal weights on the rows of `kept`, zero elsewhere.
    pub fn mean_of(kept: &[usize], n: usize) -> Self {
        let mut weights = vec![0.0; n];
        for &i in kept {
            weights[i] = 1.0 / kept.len() as f64;
        }
        Self { weights, converged: true, ..Self::default() }
    }
}
