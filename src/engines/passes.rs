//! The words between [`execute`](super::execute) and an engine: what a pass over the data is asked, and what it answers.

use super::exact_sum::ExactSum;
use super::pair_sums::Running;
use crate::error::Result;
use crate::geometry::Mixing;
use crate::parallel::ALONE;
use crate::plan::{Stat, Weiszfeld};
use std::sync::Arc;

/// Index of a virtual row of zeros.
pub(crate) const ORIGIN: usize = 0xffff_fffe;

/// Index of the virtual row that was [given](Passes::give).
pub(crate) const GIVEN: usize = 0xffff_fffd;

/// Where the rows are centred before their inner products are summed in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Centre {
    /// On one of the rows (an index into the matrix, or a virtual row).
    Row(usize),
    /// On the median of each column among the first so many rows: needs no sample and cannot be far from the honest rows, but
    /// costs an ordering.
    Median {
        /// Rows that vote; those behind them are virtual.
        voters: usize,
    },
}

/// How the rows are seen when their inner products are summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// Where they are centred.
    pub(crate) centre: Centre,
    /// Powers of two that bring the centred rows near 1.
    pub(crate) scales: &'a [f32],
}

/// What a coordinate pass orders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// The rows that take part.
    pub(crate) rows: &'a [usize],
    /// What becomes of them first.
    pub(crate) first: First<'a>,
    /// The statistic of what comes out.
    pub(crate) stat: Stat,
    /// Is it counted how often each value lies outside of those kept?
    pub(crate) diagnose: bool,
}

/// What becomes of the rows before they are ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum First<'a> {
    /// Nothing.
    Rows,
    /// Each counts as often as this.
    Counted(&'a [u32]),
    /// Each has this weight.
    Weighted(&'a [f32]),
    /// They are mixed.
    Mixed(Mixed<'a>),
}

/// z = c + W (x − c).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mixed<'a> {
    /// W.
    pub(crate) mixing: &'a Mixing,
    /// The row c. Sums in f64 need none.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code))]
    pub(crate) centre: usize,
    /// Powers of two that bring the rows near 1. Sums in f64 need none.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code))]
    pub(crate) scales: &'a [f32],
}

impl First<'_> {
    /// Number of values that are ordered in a column of n rows.
    pub(crate) fn values(&self, n: usize) -> usize {
        match self {
            First::Rows | First::Counted(_) | First::Weighted(_) => n,
            First::Mixed(Mixed { mixing, .. }) => mixing.rows(),
        }
    }
}

/// What a coordinate pass found beside the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The rows with NaN or infinite values.
    pub(crate) bad: Vec<usize>,
    /// For each ordered value, in how many columns it lay outside of those kept; empty unless asked for.
    pub(crate) outside: Vec<u64>,
}

/// Where the result of a call goes.
pub(crate) trait Output {
    /// Values it has room for.
    fn len(&self) -> usize;
    /// Fills it with NaN: there is no result.
    fn spoil(&mut self);
}

impl Output for [f32] {
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    fn spoil(&mut self) {
        self.fill(f32::NAN);
    }
}

/// What an engine can do with an n × d matrix. `rows` are always indices into it, ascending; virtual rows come last.
pub(crate) trait Passes {
    /// Where results go.
    type Out: Output + ?Sized;
    fn n(&self) -> usize;
    fn d(&self) -> usize;
    /// Columns of a result: all of them, but where others hold the rest.
    fn width(&self) -> usize {
        self.d()
    }
    /// Runs work on the products of rows on this engine's threads, if there are many.
    fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.n() {
            ..=ALONE => work(),
            _ => rayon::scope(|_| work()),
        }
    }
    /// Reads and transfers so far.
    fn traffic(&self) -> Traffic;
    /// Sets the virtual row [`GIVEN`]: d finite values.
    fn give(&mut self, row: Arc<[f32]>);
    /// The values of a few columns, row after row.
    async fn sample(&mut self, rows: &[usize], columns: &[usize]) -> Result<Vec<f32>>;
    /// One read: inner products of the rows in one frame, or in two, of which the second is centred on a row, and largest magnitudes.
    async fn gram(&mut self, rows: &[usize], frames: &[Frame<'_>]) -> Result<Running>;
    /// One read: c + Σ w_i (x_i − c) with row c as the centre. Returns the rows with NaN or infinite values.
    async fn mix(&mut self, terms: &[Term], centre: usize, out: &mut Self::Out) -> Result<Vec<usize>>;
    /// One read: a statistic of each column.
    async fn coordinate(&mut self, what: &Columns<'_>, out: &mut Self::Out) -> Result<Found>;
    /// One read: for each mixed row Σ_k (s_i (z_ik − y_k))², where y is the median of the mixed rows and s_i a power of two of `sizes`.
    async fn deviations(&mut self, rows: &[usize], mixed: Mixed<'_>, sizes: &[f32]) -> Result<Vec<ExactSum>>;
    /// The bits of one row.
    async fn copy_row(&mut self, row: usize, out: &mut Self::Out) -> Result<()>;
    /// Reads or moves the matrix and computes nothing, which is what a pass is measured against. A read returns the exclusive or of every
    /// 16 bits. `room` has the size of the matrix, for a copy in host memory; on a device it may be empty.
    async fn plain(&mut self, what: Plain, room: &mut [u16]) -> Result<u16>;
    /// Time that kernels took so far by the device's own clock, in seconds, if it has one and was asked to.
    async fn device_seconds(&mut self) -> Option<f64> {
        None
    }
    /// One read: a round of Weiszfeld's iteration on the scaled rows. Their squared distances to the sum that `state` weighs, and their
    /// largest magnitudes.
    async fn weiszfeld_round(
        &mut self,
        rows: &[usize],
        centre: usize,
        scales: &[f32],
        state: &Weiszfelds,
    ) -> Result<(Vec<ExactSum>, Vec<u32>)>;
    /// One read a round: the whole iteration.
    async fn weiszfeld(&mut self, rows: &[usize], centre: usize, scales: &[f32], how: Weiszfeld) -> Result<Weiszfelds> {
        let mut state = Weiszfelds::start(scales);
        while state.rounds < how.rounds && state.residual > how.tolerance {
            let (squares, largest) = self.weiszfeld_round(rows, centre, scales, &state).await?;
            let squares: Vec<f64> = squares.iter().map(ExactSum::value).collect();
            state.largest = largest;
            weiszfeld_step(&mut state, &squares);
        }
        Ok(state)
    }
}

/// What is done with the matrix where nothing is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Every value is read.
    Read,
    /// Every value is read and written.
    Copy,
    /// Rows in host memory are made ready for the kernels; on a CPU they are.
    Upload,
}

/// Counters of an engine's work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) passes: usize,
    pub(crate) read: u64,
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
}

/// One row of a weighted sum. Where sums are in f32, w·x = (weight + weight_low) · (scale·x): the power of two keeps a weight of
/// 1e-60 or 1e60 within f32's range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Term {
    pub(crate) row: usize,
    /// w.
    pub(crate) exact: f64,
    pub(crate) weight: f32,
    pub(crate) weight_low: f32,
    pub(crate) scale: f32,
}

impl Term {
    pub(crate) fn new(row: usize, weight: f64) -> Self {
        let size = weight.abs().log2().floor().clamp(-1000.0, 1000.0) as i32;
        let shift = (-60 - size).clamp(0, 126) - (size - 60).clamp(0, 126);
        let scaled = weight * 2f64.powi(shift);
        let high = scaled as f32;
        Self { row, exact: weight, weight: high, weight_low: (scaled - f64::from(high)) as f32, scale: 2f32.powi(-shift) }
    }
}

/// State of a direct Weiszfeld iteration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weiszfelds {
    /// q_i = s_i / S with S the largest scale: a sum of rows is formed at scale S, a row's distance to it at scale s_i.
    pub(crate) shrinks: Vec<f32>,
    /// w_i / q_i: what a kernel multiplies the scaled rows by, for a sum at scale S.
    pub(crate) scaled_weights: Vec<f32>,
    pub(crate) weights: Vec<f64>,
    pub(crate) rounds: usize,
    pub(crate) residual: f64,
    /// Largest magnitudes of the rows, as bits.
    pub(crate) largest: Vec<u32>,
}

impl Weiszfelds {
    /// Equal weights, but for huge rows: those begin with the inverse of their size.
    pub(crate) fn start(scales: &[f32]) -> Self {
        let largest = scales.iter().copied().fold(0.0, f32::max);
        let shrinks: Vec<f32> = scales.iter().map(|s| s / largest).collect();
        let mut state = Self {
            shrinks,
            scaled_weights: Vec::new(),
            weights: Vec::new(),
            rounds: 0,
            residual: f64::INFINITY,
            largest: vec![0; scales.len()],
        };
        state.set(&vec![1.0; scales.len()]);
        state
    }

    /// From the inverse distances of the scaled rows: w_i ∝ q_i/r_i, of which w_i/q_i needs no division by a q_i that may be 0 in f32.
    fn set(&mut self, inverse: &[f64]) {
        let pulls: Vec<f64> = inverse.iter().zip(&self.shrinks).map(|(r, q)| f64::from(*q) * r).collect();
        let total: f64 = pulls.iter().sum();
        self.weights = pulls.iter().map(|p| p / total).collect();
        self.scaled_weights = inverse.iter().map(|r| (r / total) as f32).collect();
    }
}

/// Least squared distance a direct iteration tells from zero, in units of the scaled rows.
pub(crate) const LEAST_SQUARE: f32 = 1e-30;

/// One round: from the squared distances of the scaled rows to the next weights, w_i ∝ 1/r_i.
fn weiszfeld_step(state: &mut Weiszfelds, squares: &[f64]) {
    let inverse: Vec<f64> = squares.iter().map(|r2| 1.0 / r2.max(f64::from(LEAST_SQUARE)).sqrt()).collect();
    let before = state.scaled_weights.clone();
    state.set(&inverse);
    let change = |(a, b): (&f32, &f32)| f64::from((a - b).abs() / a.max(f32::MIN_POSITIVE));
    state.residual = state.scaled_weights.iter().zip(&before).map(change).fold(0.0, f64::max);
    state.rounds += 1;
}
