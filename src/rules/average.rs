use super::{NonFinite, Rule, literal, require};
use crate::error::Result;
use crate::plan::{Plan, Weights};

/// Mean of all rows: y = (1/n) Σ_i x_i. What RESAM replaces; the baseline of every comparison.
///
/// - Requirement: none beyond n ≥ 1; f is not used.
/// - Resilience: none. One row moves the result anywhere, so no finite λ exists for f ≥ 1.
/// - Hostile input: NaN and infinities propagate as the formula says: a coordinate with a NaN, or with both infinities,
///   is NaN; one with a single kind of infinity is that infinity.
/// - Cost: one read of the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Average;

impl Rule for Average {
    fn name(&self) -> &'static str {
        "average"
    }
    fn definition(&self) -> &'static str {
        "mean of all rows"
    }
    fn needs(&self) -> &'static str {
        "f <= n"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        require(self, n, f, f <= n)
    }
    fn lambda(&self, _n: usize, f: usize, _d: usize) -> Option<f64> {
        (f == 0).then_some(0.0)
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Propagate
    }
    fn plan(&self, _n: usize, _f: usize, _d: usize) -> Plan {
        Plan::Weighted(Weights::Uniform)
    }
    fn reference(&self, rows: &[Vec<f64>], _f: usize) -> Vec<f64> {
        literal::mean(rows, &(0..rows.len()).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let rows = [vec![1.0, 0.0], vec![2.0, 0.0], vec![6.0, -3.0]];
        assert_eq!(Average.reference(&rows, 1), [3.0, -1.0]);
    }
}
