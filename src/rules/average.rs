use super::{Cohort, Fixed, Given, NonFinite, Rule, Weights, literal, require, weighted};
use crate::error::Result;
use crate::plan::Plan;
use crate::resilience::Resilience;
use std::sync::Arc;

/// Average: the mean of all rows, weighted where workers have weights. Not resilient; the baseline without attack.
///
/// - Requirement: f ≤ n.
/// - Resilience: none for any λ: one row moves it as far as it likes.
/// - Hostile input: propagates, as its definition says.
/// - Cost: one read of the data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Average;

/// [`Average`] with weights of workers: Σ a_i x_i / Σ a_i (federated averaging).
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedAverage {
    /// One for each row.
    pub weights: Weights,
}

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
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        let Given::Weights(weights) = given else { return Err(super::refused(self, &given)) };
        Ok(Arc::new(WeightedAverage { weights: Weights::new(weights)? }))
    }
    fn lambda(&self, _n: usize, f: usize, _d: usize) -> Resilience {
        match f {
            0 => Resilience::proved(0.0, "without Byzantine rows it is their mean"),
            _ => Resilience::Unbounded { why: "one row moves the mean as far as it likes" },
        }
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Propagate
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(Fixed(vec![1.0; cohort.n()]))
    }
    fn reference(&self, rows: &[Vec<f64>], _cohort: &Cohort<'_>) -> Vec<f64> {
        literal::mean(rows, &(0..rows.len()).collect::<Vec<_>>())
    }
}

impl Rule for WeightedAverage {
    fn name(&self) -> &'static str {
        Average.name()
    }
    fn definition(&self) -> &'static str {
        "weighted mean of all rows"
    }
    fn needs(&self) -> &'static str {
        Average.needs()
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        Average.check(n, f)
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        self.weights.fit(self, cohort)
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        // By weights it is another mean even where all are honest.
        Average.lambda(n, f.max(1), d)
    }
    fn non_finite(&self) -> NonFinite {
        Average.non_finite()
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(Fixed(self.weights.of(cohort)))
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        literal::weighted_mean(rows, &self.weights.of(cohort))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        let rows = [vec![1.0, -2.0], vec![2.0, 0.0], vec![6.0, 8.0]];
        assert_eq!(everyone(&rows, 0, |c| Average.reference(&rows, c)), [3.0, 2.0]);
        let weighted = WeightedAverage { weights: Weights::new(Arc::from([1.0, 2.0, 1.0])).unwrap() };
        assert_eq!(everyone(&rows, 0, |c| weighted.reference(&rows, c)), [2.75, 1.5]);
    }
}
