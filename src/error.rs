//! The one error type of the crate: every variant carries the numbers a reader needs to mend the call.

/// Why a call was refused or could not be finished. After an error found in the data the caller's output holds NaN; after one found before
/// any was read it is untouched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The rule gives no guarantee, or has no meaning, for this many workers and this Byzantine bound.
    #[error("{rule}: f = {f} Byzantine of n = {n} workers is out of its range: it needs {needs}")]
    Requirement {
        /// Name of the rule.
        rule: String,
        /// Workers.
        n: usize,
        /// Byzantine bound asked for.
        f: usize,
        /// What the rule requires of (n, f).
        needs: String,
    },
    /// A parameter of a rule or an engine is out of range.
    #[error("{of}: {name} = {value}, but it must be {limit}")]
    Parameter {
        /// Rule or engine the parameter belongs to.
        of: String,
        /// Name of the parameter.
        name: String,
        /// Value given.
        value: String,
        /// Values accepted.
        limit: String,
    },
    /// A rule was given something it has no use for.
    #[error("{rule} does not take {what}")]
    Given {
        /// Name of the rule.
        rule: String,
        /// What it was given.
        what: String,
    },
    /// An exact search over subsets of rows was given up.
    #[error("{rule}: the exact search among the subsets of n - f = {} of n = {n} rows was given up after {steps} steps; instead: {instead}", n - f)]
    TooHard {
        /// Name of the rule.
        rule: String,
        /// Rows.
        n: usize,
        /// Byzantine bound.
        f: usize,
        /// Steps taken.
        steps: u64,
        /// What can be done.
        instead: String,
    },
    /// A matrix without rows has no aggregate.
    #[error("there are no rows: at least one worker is needed")]
    NoWorkers,
    /// The rows do not all have the same number of coordinates.
    #[error("row {row} has {got} coordinates where row 0 has {expected}")]
    Ragged {
        /// Offending row.
        row: usize,
        /// Its length.
        got: usize,
        /// Length of row 0.
        expected: usize,
    },
    /// A worker without layers.
    #[error("there are no layers: each worker has at least one")]
    NoLayers,
    /// The workers do not all have the same number of layers.
    #[error("worker {worker} has {got} layers where worker 0 has {expected}")]
    Layers {
        /// Offending worker.
        worker: usize,
        /// Its layers.
        got: usize,
        /// Layers of worker 0.
        expected: usize,
    },
    /// A layer is not as long for all workers.
    #[error("layer {layer} of worker {worker} has {got} coordinates where that of worker 0 has {expected}")]
    Layer {
        /// Offending worker.
        worker: usize,
        /// Offending layer.
        layer: usize,
        /// Its length.
        got: usize,
        /// Its length at worker 0.
        expected: usize,
    },
    /// The values of a row of an array do not lie side by side.
    #[error(
        "the rows of the array do not lie in one piece each: its strides are {strides:?}; as_standard_layout() makes a copy of it in which they do"
    )]
    Strides {
        /// Of the array, in values.
        strides: Vec<isize>,
    },
    /// A file of tensors cannot be read as a row.
    #[error("tensors: {0}")]
    Tensors(String),
    /// A worker's tensors are not those of the first one.
    #[error("worker {worker}: {reason}")]
    Worker {
        /// Offending worker.
        worker: usize,
        /// What is different.
        reason: String,
    },
    /// A slice does not hold n × d values.
    #[error("{got} values do not make a matrix of n = {n} rows of d = {d}")]
    Shape {
        /// Values given.
        got: usize,
        /// Rows.
        n: usize,
        /// Coordinates.
        d: usize,
    },
    /// The caller's output slice has the wrong length.
    #[error("the output holds {got} values, the rows have d = {expected} coordinates")]
    OutputLength {
        /// Length of the output.
        got: usize,
        /// Coordinates of the rows.
        expected: usize,
    },
    /// More rows hold NaN or infinite values than the Byzantine bound admits, or all do.
    #[error("{rule}: {}", unusable(rows, *f))]
    NonFinite {
        /// Name of the rule.
        rule: String,
        /// The rows, ascending.
        rows: Vec<usize>,
        /// Byzantine bound.
        f: usize,
    },
    /// A specification such as `krum:neighbors=3` could not be read.
    #[error("specification '{spec}': {reason}")]
    Spec {
        /// The text given.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A worker index, a row count or a dimension does not fit the momentum state.
    #[error("momentum: {0}")]
    Momentum(String),
    /// No adapter answers to the name.
    #[error("no device matches '{wanted}'; available: {available}")]
    NoDevice {
        /// What was asked for.
        wanted: String,
        /// What is there.
        available: String,
    },
    /// One of several ranks could not go on, so none does: each of them gets this error.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// The first of the ranks that failed.
        rank: usize,
        /// What it said.
        reason: String,
    },
    /// What carries data between ranks failed: a rank is gone, or the network is.
    #[error("transport: {0}")]
    Transport(String),
    /// A result is not the one of the literal definition in f64: the engine or its driver is broken.
    #[error("{rule} on {device}: coordinate {column} of n = {n}, f = {f} is {got:e}, by definition it is {expected:e}")]
    Disagrees {
        /// The rule's specification.
        rule: String,
        /// Engine and device.
        device: String,
        /// Rows.
        n: usize,
        /// Byzantine bound.
        f: usize,
        /// Coordinate with the largest difference.
        column: usize,
        /// The engine's value.
        got: f64,
        /// The definition's.
        expected: f64,
    },
    /// A buffer on a device does not hold what it was said to, or cannot be used so.
    #[error("buffer on the device: {0}")]
    Buffer(String),
    /// The device refused, ran out of memory or was lost. A new engine can be made.
    #[error("device '{device}': {reason}")]
    Device {
        /// Adapter name.
        device: String,
        /// What the driver or wgpu said.
        reason: String,
    },
}

/// Which rows cannot be used, and why that is too many.
fn unusable(rows: &[usize], f: usize) -> String {
    /// As many are named.
    const FEW: usize = 12;
    let too_many = match f {
        _ if rows.len() <= f => "and none is left".into(),
        0 => "and f = 0 admits none".into(),
        f => format!("more than f = {f}"),
    };
    match rows {
        [row] => format!("row {row} holds NaN or infinite values or is absent, {too_many}"),
        _ => {
            let more = if rows.len() > FEW { ", ..." } else { "" };
            let named: Vec<String> = rows.iter().take(FEW).map(usize::to_string).collect();
            format!("{} rows hold NaN or infinite values or are absent, {too_many}: rows [{}{more}]", rows.len(), named.join(", "))
        }
    }
}

impl Error {
    /// Host memory has no room for n rows of d values.
    pub(crate) fn no_room(n: usize, d: usize) -> Self {
        Self::parameter("matrix", "n x d", format_args!("{n} x {d}"), "small enough for this machine's memory")
    }

    /// A [`Error::Parameter`] from anything printable.
    pub(crate) fn parameter(of: &str, name: &str, value: impl std::fmt::Display, limit: impl std::fmt::Display) -> Self {
        Error::Parameter { of: of.into(), name: name.into(), value: value.to_string(), limit: limit.to_string() }
    }

    /// Whether a rule gave up on the rows, or on their number, rather than the call or the device being at fault: [`Error::NonFinite`],
    /// [`Error::Parameter`], [`Error::Requirement`], [`Error::TooHard`].
    pub fn is_refusal(&self) -> bool {
        use Error::{NonFinite, Parameter, Requirement, TooHard};
        matches!(self, NonFinite { .. } | Parameter { .. } | Requirement { .. } | TooHard { .. })
    }

    /// A [`Error::Spec`].
    pub(crate) fn spec(spec: &str, reason: impl std::fmt::Display) -> Self {
        Error::Spec { spec: spec.into(), reason: reason.to_string() }
    }
}

/// `Result` with the crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn rows_that_cannot_be_used_are_named_as_far_as_a_reader_needs() {
        let text = |rows: &[usize], f: usize| Error::NonFinite { rule: "krum".into(), rows: rows.to_vec(), f }.to_string();
        assert_eq!(text(&[12], 0), "krum: row 12 holds NaN or infinite values or is absent, and f = 0 admits none");
        assert_eq!(text(&[1, 4], 1), "krum: 2 rows hold NaN or infinite values or are absent, more than f = 1: rows [1, 4]");
        assert!(text(&[0, 1, 2], 3).contains("absent, and none is left: rows [0, 1, 2]"));
        let many: Vec<usize> = (0..32_000).collect();
        assert!(text(&many, 5).len() < 200 && text(&many, 5).ends_with("10, 11, ...]"), "{}", text(&many, 5));
    }
}
