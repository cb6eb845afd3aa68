use super::{Cohort, Given, NonFinite, Rule, Weights, literal, per_coordinate};
use crate::error::Result;
use crate::plan::{Mix, Plan, Stat};
use crate::resilience::{NNM, RESAM, Resilience, coordinate_factor, honest_ratio};
use std::sync::Arc;

/// Coordinate-wise trimmed mean (CWTM): in each coordinate drop the f smallest and the f largest values and average the rest.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = f/(n−f) · Δ with Δ = min{2√(n−f), √d}; tight for d = 1.
/// - Hostile input: each column is ordered by bits, so up to f non-finite values are among those dropped.
/// - Cost: one read of the data.
/// - Source: Yin et al., ICML 2018; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrimmedMean;

/// [`TrimmedMean`] with weights of workers: the same f smallest and f largest values are dropped, whatever their weights claim, and
/// the others are averaged by weight. Of equal values that of the lower row counts as the lower one. Weights are taken in f32, and those of
/// more than 2⁶⁰ times the middle weight, or less than 2⁻⁶⁰, as that.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedTrimmedMean {
    /// One for each row.
    pub weights: Weights,
}

impl Rule for TrimmedMean {
    fn name(&self) -> &'static str {
        "trimmed_mean"
    }
    fn definition(&self) -> &'static str {
        "per coordinate: drop the f smallest and f largest values, mean of the n-2f left"
    }
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        let Given::Weights(weights) = given else { return Err(super::refused(self, &given)) };
        Ok(Arc::new(WeightedTrimmedMean { weights: Weights::new(weights)? }))
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        Resilience::proved(f as f64 / (n - f) as f64 * coordinate_factor(n, f, d), RESAM)
    }
    fn kappa(&self, n: usize, f: usize, _d: usize) -> Resilience {
        Resilience::published(6.0 * f as f64 * honest_ratio(n, f) / (n - 2 * f) as f64, NNM)
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        per_coordinate(Stat::Ranks { from: cohort.f, to: cohort.n() - cohort.f })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        literal::per_coordinate(rows, |ordered| literal::trimmed_mean(ordered, cohort.f))
    }
}

impl Rule for WeightedTrimmedMean {
    fn name(&self) -> &'static str {
        TrimmedMean.name()
    }
    fn definition(&self) -> &'static str {
        "per coordinate: drop the f smallest and f largest values, weighted mean of the n-2f left"
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        self.weights.fit(self, cohort)
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        Plan { mix: Mix::Weighted(self.weights.about_median(cohort)), stat: Stat::WeightedTrimmedMean { trim: cohort.f } }
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        literal::per_coordinate_with(rows, &self.weights.of(cohort), |ordered| {
            let kept = &ordered[cohort.f..ordered.len() - cohort.f];
            let total: f64 = kept.iter().map(|(_, w)| w).sum();
            kept.iter().map(|(v, w)| v * (w / total)).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let rows = [vec![1.0], vec![2.0], vec![6.0], vec![50.0], vec![-70.0]];
        assert_eq!(everyone(&rows, 1, |c| TrimmedMean.reference(&rows, c)), [3.0]);
        assert_eq!(everyone(&rows, 2, |c| TrimmedMean.reference(&rows, c)), [2.0]);
        let weighted = WeightedTrimmedMean { weights: Weights::new(Arc::from([1.0, 2.0, 1.0, 90.0, 7.0])).unwrap() };
        assert_eq!(everyone(&rows, 1, |c| weighted.reference(&rows, c)), [2.75]);
    }
}
