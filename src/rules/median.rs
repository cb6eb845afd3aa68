use super::{NonFinite, Rule, coordinate_factor, literal};
use crate::plan::{Plan, Stat};

/// Coordinate-wise median (CWMed): y_k = median(x_1k, …, x_nk); for even n the midpoint of the two middle values.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = n / (2(n−f)) · Δ with Δ = min{2√(n−f), √d}.
/// - Hostile input: each column is ordered by bits, so at most f NaN or infinite values end in the tails.
/// - Cost: one read of the data. For odd n the result is a selected value, the same bits on every engine.
/// - Source: Yin et al., ICML 2018; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Median;

impl Rule for Median {
    fn name(&self) -> &'static str {
        "median"
    }
    fn definition(&self) -> &'static str {
        "per coordinate: the median (even n: midpoint of the two middle values)"
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Option<f64> {
        Some(n as f64 / (2 * (n - f)) as f64 * coordinate_factor(n, f, d))
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, n: usize, _f: usize, _d: usize) -> Plan {
        Plan::Coordinate(Stat::Ranks { from: (n - 1) / 2, to: n / 2 + 1 })
    }
    fn reference(&self, rows: &[Vec<f64>], _f: usize) -> Vec<f64> {
        literal::per_coordinate(rows, literal::median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        let odd = [vec![3.0, -1.0], vec![1.0, 5.0], vec![2.0, 1e30]];
        assert_eq!(Median.reference(&odd, 1), [2.0, 5.0]);
        let even = [vec![1.0], vec![9.0], vec![2.0], vec![4.0]];
        assert_eq!(Median.reference(&even, 1), [3.0]);
        assert_eq!(Median.lambda(15, 3, 4), Some(15.0 / 24.0 * 2.0));
    }
}
