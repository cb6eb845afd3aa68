//! What an engine says about a call beside its result.

/// The result of a call and what happened on the way.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// Rule as a specification, e.g. `krum:neighbors=11`.
    pub rule: String,
    /// Engine and device that did the work.
    pub device: String,
    /// Workers.
    pub n: usize,
    /// Coordinates.
    pub d: usize,
    /// Byzantine bound.
    pub f: usize,
    /// Rows with a weight other than zero, ascending; absent for rules that keep different rows in each coordinate. Where rows are mixed
    /// first (NNM, bucketing), those with a part in any mixed row that has such a weight: a hostile row may well be among them.
    pub kept: Option<Vec<usize>>,
    /// Weight of each row in the result; absent for coordinate rules.
    pub weights: Option<Vec<f64>>,
    /// Score of each row, where the rule has scores; `None` for a row that was left out.
    pub scores: Option<Vec<Option<f64>>>,
    /// What the rule made least, as it stands for the result: a squared diameter, a variance, an eigenvalue.
    pub objective: Option<f64>,
    /// For each row the number of coordinates in which its value lay outside of the values kept: below the least or above the greatest
    /// of them. For coordinate-wise rules, when [`Options::diagnose`](crate::Options::diagnose) is set; `None` for a row that
    /// was left out.
    pub outside: Option<Vec<Option<u64>>>,
    /// Rounds of an iterative rule.
    pub iterations: Option<usize>,
    /// What its stopping test measured last.
    pub residual: Option<f64>,
    /// False when an iterative rule hit its bound on rounds before its stopping test held.
    pub converged: bool,
    /// Relative gap between the value that decided a selection and the nearest other one, which might have changed it. When it
    /// is very small another engine may select differently: [`Report::close_call`].
    pub margin: Option<f64>,
    /// Rows that hold NaN or infinite values, ascending.
    pub non_finite: Vec<usize>,
    /// Rows left out because their worker was absent this step (momentum only), ascending.
    pub absent: Vec<usize>,
    /// Reads of the n × d data.
    pub passes: usize,
    /// True when a row hid from the sample that chose the pivot, which cost one more read.
    pub hidden_row: bool,
    /// Bytes of the n × d data read by kernels.
    pub bytes_read: u64,
    /// Bytes sent to the device: data, weights and tables.
    pub bytes_uploaded: u64,
    /// Bytes fetched from the device: the result and small tables.
    pub bytes_downloaded: u64,
    /// Time that the kernels took by the device's own clock, without transfers: when
    /// [`Options::device_time`](crate::Options::device_time) is set and the device has timestamps.
    pub device_seconds: Option<f64>,
}

impl Report {
    /// True when a selection was decided by less than the accuracy of distances summed in f32: a relative 64·2⁻²⁴, the most
    /// that was measured on coherent data.
    pub fn close_call(&self) -> bool {
        self.margin.is_some_and(|m| m < 64.0 / 16_777_216.0)
    }
}

/// An aggregate: d values and the [`Report`] of the call.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The d coordinates of the result.
    pub values: Vec<f32>,
    /// What happened on the way.
    pub report: Report,
}
