use super::{Cohort, Middle, NonFinite, Rule, literal, per_coordinate, spec_of};
use crate::error::Result;
use crate::parameters::Parameters;
use crate::plan::{Plan, Stat, Ties};
use crate::resilience::{RESAM, Resilience, coordinate_factor};
use std::ops::Range;

/// Mean around median (MeaMed): per coordinate, the mean of the n − f values nearest the median; of two equally near
/// values the lower one is kept.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = 2f/(n−f) · Δ with Δ = min{2√(n−f), √d}.
/// - Hostile input: each column is ordered by bits; NaN and infinite values are farther than any finite one.
/// - Cost: one read of the data. Which values are kept is decided exactly, so the kept sets are the same on every engine.
/// - Source: Xie, Koyejo and Gupta, 2018; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeaMed {
    /// What the median of an even number of values is; by definition the midpoint of the two middle ones.
    pub middle: Middle,
}

impl MeaMed {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { middle: Middle::from_parameters(p)? })
    }
}

impl Rule for MeaMed {
    fn name(&self) -> &'static str {
        "meamed"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [self.middle.spec()])
    }
    fn definition(&self) -> &'static str {
        "per coordinate: mean of the n-f values nearest the median (ties: the lower value)"
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        Resilience::proved(2.0 * f as f64 / (n - f) as f64 * coordinate_factor(n, f, d), RESAM)
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let Range { start: from, end: to } = self.middle.ranks(cohort.n());
        per_coordinate(Stat::Nearest { from, to, keep: cohort.n() - cohort.f, ties: Ties::LowerValue })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        literal::per_coordinate(rows, |ordered| {
            let (n, keep) = (ordered.len(), ordered.len() - cohort.f);
            let (a, b) = match self.middle {
                Middle::Midpoint => (ordered[(n - 1) / 2], ordered[n / 2]),
                Middle::Lower => (ordered[(n - 1) / 2], ordered[(n - 1) / 2]),
                Middle::Upper => (ordered[n / 2], ordered[n / 2]),
            };
            // In order of value, a tie that goes to the lower row goes to the lower value.
            literal::nearest(ordered, 1, &[a, b], keep)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        // Median 4; distances 3, 2, 0, 1, 96: the farthest is dropped.
        let rows = [vec![1.0], vec![2.0], vec![4.0], vec![5.0], vec![100.0]];
        assert_eq!(everyone(&rows, 1, |c| MeaMed::default().reference(&rows, c)), [3.0]);
        // Median 3; 1 and 5 are equally near: the lower one stays.
        let tie = [vec![5.0], vec![3.0], vec![1.0]];
        assert_eq!(everyone(&tie, 1, |c| MeaMed::default().reference(&tie, c)), [2.0]);
    }
}
