//! The vocabulary between rules and engines.
//!
//! Every rule of the crate has the form y = stat(W·X), W = solve(geometry(X)). A rule says *what* to compute with the words of
//! this module; an engine executes them without knowing which rule spoke.

use crate::error::Result;
use crate::geometry::{Geometry, Mixing, Wants};
use crate::gram::{ascending, gap};

/// How to compute one aggregate: y_k = stat((W·X)_k).
#[derive(Debug)]
pub struct Plan {
    /// Where W comes from.
    pub mix: Mix,
    /// What becomes of the mixed values of a coordinate.
    pub stat: Stat,
}

/// Where the weights W of the rows come from. Cost is counted in reads of the n × d data.
#[derive(Debug)]
pub enum Mix {
    /// W is the identity: the rows themselves.
    Rows,
    /// The rows themselves, each counted as often as its number says; for the counted median.
    Counted(Vec<u32>),
    /// The rows themselves, each with the weight that its number says; for the weighted trimmed mean.
    Weighted(Vec<f32>),
    /// A function of inner products of the rows: one read, or none when the solver [wants](Solve::wants) nothing.
    Solve(Box<dyn Solve>),
    /// Weiszfeld's iteration on the data itself: one read a round. For the geometric median, where it checks the
    /// solution from inner products.
    Weiszfeld(Weiszfeld),
}

/// A statistic of the m mixed values of one coordinate. The values are ordered by their bits, so that every bit pattern has
/// a place: −NaN < −∞ < … < −0 < +0 < … < +∞ < +NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stat {
    /// The value itself: m = 1.
    Identity,
    /// Mean of the order statistics `from..to` (0-based, `to` excluded). A single one is copied as bits.
    Ranks {
        /// First rank of the mean.
        from: usize,
        /// One past its last rank.
        to: usize,
    },
    /// Mean of the `keep` values nearest a centre, which is the mean of the order statistics `from..to`. Nearness is decided
    /// exactly.
    Nearest {
        /// First rank of the centre.
        from: usize,
        /// One past its last rank.
        to: usize,
        /// Number of values in the mean.
        keep: usize,
        /// Which of several equally near values are kept.
        ties: Ties,
    },
    /// −1, 0 or 1: the sign of the sum of the signs. NaN counts by its sign bit.
    MajoritySign,
    /// The value below and above which at most half of the counts lie; the midpoint of two where the counts split evenly.
    CountedMedian,
    /// Drops the `trim` lowest and highest values (equal ones: the lower row is the lower one), then the weighted mean of the others.
    WeightedTrimmedMean {
        /// Values dropped at each end.
        trim: usize,
    },
}

impl Stat {
    /// The median of m values; for even m the midpoint of the two middle ones.
    pub fn median(m: usize) -> Self {
        Stat::Ranks { from: m.saturating_sub(1) / 2, to: m / 2 + 1 }
    }

    /// The mean of the `keep` of m values nearest their median.
    pub fn nearest_median(m: usize, keep: usize, ties: Ties) -> Self {
        Stat::Nearest { from: m.saturating_sub(1) / 2, to: m / 2 + 1, keep, ties }
    }
}

/// Which of several values that are equally near a centre are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ties {
    /// The lower values.
    LowerValue,
    /// Those of the lower rows.
    LowerRow,
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
    /// What it has to know of the data; distances between the rows unless it says otherwise.
    fn wants(&self) -> Wants {
        Wants::distances()
    }

    /// The mixing of the rows of `geometry`.
    ///
    /// # Errors
    /// When an exact search would take too long.
    fn solve(&self, geometry: &Geometry) -> Result<Solution>;

    /// For solvers that want the median of rows that they mix first: that mixing.
    ///
    /// # Errors
    /// As [`Solve::solve`].
    fn mixing_before_median(&self, geometry: &Geometry) -> Result<Mixing> {
        Ok(Mixing::identity(geometry.n()))
    }

    /// What a kernel of one group can do in its place, if there is such a kernel.
    fn on_device(&self) -> Option<DeviceSolve> {
        None
    }
}

/// A solve that a kernel of one group can do, so that an aggregate needs no host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DeviceSolve {
    /// Equal weights for the `keep` rows whose squared distances to their `neighbors` nearest others sum to the least.
    LeastScores {
        /// Rows a score sums over.
        neighbors: usize,
        /// Rows of least score in the mean.
        keep: usize,
    },
    /// Each row becomes the mean of the `keep` rows nearest it.
    Nearest {
        /// Rows in each mean.
        keep: usize,
    },
    /// The point of least sum of distances to all rows.
    LeastDistances,
    /// So many rounds of v ← v + 1/n Σ (x − v)·min(1, τ/‖x − v‖), from the given point, or from zero where none is given.
    Clipped {
        /// Distance that is left of a longer one.
        tau: f64,
        /// Rounds.
        rounds: usize,
    },
}

/// What a solve found.
#[derive(Debug, Clone)]
pub struct Solution {
    /// W: a row of weights for each mixed row.
    pub mixing: Mixing,
    /// One score for each row, where the rule has scores.
    pub scores: Option<Vec<f64>>,
    /// What the rule made least, as it stands for the result: a squared diameter, a variance, an eigenvalue.
    pub objective: Option<f64>,
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
    /// A mixing and nothing else to say.
    pub fn new(mixing: Mixing) -> Self {
        Self { mixing, scores: None, objective: None, iterations: None, residual: None, converged: true, margin: None }
    }

    /// One mixed row with these weights.
    pub fn weights(weights: Vec<f64>) -> Self {
        Self::new(Mixing::row(weights))
    }

    /// Equal weights on the rows of `kept`, zero elsewhere.
    pub fn mean_of(kept: &[usize], n: usize) -> Self {
        Self::new(Mixing::means([kept], n))
    }

    /// The mean of the `keep` rows of least score; equal scores go to the lower index.
    pub fn least(scores: Vec<f64>, keep: usize) -> Self {
        Self::least_of(scores, keep, |_, _| true)
    }

    /// [`Solution::least`], where it is known which rows differ: of equal ones it does not matter which is kept.
    pub(crate) fn least_of(scores: Vec<f64>, keep: usize, differ: impl Fn(usize, usize) -> bool) -> Self {
        let order = ascending(&scores);
        let kept = &order[..keep.min(order.len())];
        let next = kept.last().and_then(|&last| order[kept.len()..].iter().find(|&&next| differ(last, next)));
        let margin = kept.last().zip(next).map(|(&last, &next)| gap(scores[last], scores[next]));
        let mixing = Mixing::means([kept], scores.len());
        Self { margin, scores: Some(scores), ..Self::new(mixing) }
    }
}
