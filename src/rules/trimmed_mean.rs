use super::{NonFinite, Rule, coordinate_factor, literal};
use crate::plan::{Plan, Stat};

/// Coordinate-wise trimmed mean (CWTM): per coordinate, drop the f smallest and the f largest values; mean of the n − 2f left.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = f/(n−f) · Δ with Δ = min{2√(n−f), √d}; tight at d = 1.
/// - Hostile input: each column is ordered by bits, so at most f NaN or infinite values are among those dropped.
/// - Cost: one read of the data.
/// - Source: Yin et al., ICML 2018; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrimmedMean;

impl Rule for TrimmedMean {
    fn name(&self) -> &'static str {
        "trimmed_mean"
    }
    fn definition(&self) -> &'static str {
        "per coordinate: drop the f smallest and f largest values, mean of the n-2f left"
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Option<f64> {
        Some(f as f64 / (n - f) as f64 * coordinate_factor(n, f, d))
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, n: usize, f: usize, _d: usize) -> Plan {
        Plan::Coordinate(Stat::Ranks { from: f, to: n - f })
    }
    fn reference(&self, rows: &[Vec<f64>], f: usize) -> Vec<f64> {
        literal::per_coordinate(rows, |c| {
            let kept = &c[f..c.len() - f];
            kept.iter().map(|v| v / kept.len() as f64).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let rows = [vec![1.0], vec![-100.0], vec![3.0], vec![5.0], vec![1e9]];
        assert_eq!(TrimmedMean.reference(&rows, 1), [3.0]);
        assert_eq!(TrimmedMean.lambda(5, 1, 1), Some(0.25));
    }
}
