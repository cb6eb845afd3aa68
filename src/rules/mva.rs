use super::{Cohort, Rule, literal, weighted};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::{Resilience, kappa_of_the_closest};
use crate::solve::least_variance::least_variance;

/// Minimum variance averaging (MVA): mean of the n − f rows with the least sum of squared distances to their mean; of several such
/// subsets (equal to a relative 1e-12) the lexicographically smallest.
///
/// - Requirement: f < n/2. Exact, by branch and bound: some 1e5 subsets are no matter, and often far more; a search that takes too
///   long is an error.
/// - Resilience: κ = 4f/(n−2f), λ = √(κ/2): any n − f rows share n − 2f with those kept, and have no less variance.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data.
/// - Source: as minimum variance subset, Allouah et al., AISTATS 2023.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MinimumVarianceAveraging;

/// Steps after which the search is given up, some n² operations each: some seconds.
fn most_nodes(n: usize) -> u64 {
    (200_000_000 / (n * n) as u64).max(2000)
}

impl Rule for MinimumVarianceAveraging {
    fn name(&self) -> &'static str {
        "mva"
    }
    fn definition(&self) -> &'static str {
        "mean of the n-f rows of least variance (ties: lexicographically smallest subset)"
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        self.kappa(n, f, d).lambda_from_kappa()
    }
    fn kappa(&self, n: usize, f: usize, _d: usize) -> Resilience {
        kappa_of_the_closest(n, f)
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(LeastVariance { f: cohort.f })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let spread = |subset: &[usize]| {
            let mean = literal::mean(rows, subset);
            subset.iter().map(|&i| literal::distance2(&rows[i], &mean)).sum()
        };
        literal::mean(rows, &literal::least_subset(rows.len(), rows.len() - cohort.f, spread))
    }
}

#[derive(Debug)]
struct LeastVariance {
    f: usize,
}

impl Solve for LeastVariance {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let n = gram.n();
        let found = least_variance(&gram.distances2(), n, n - self.f, most_nodes(n));
        if !found.exact {
            return Err(Error::TooHard {
                rule: "mva".into(),
                n,
                f: self.f,
                steps: found.nodes,
                instead: "mda or nnm+average".into(),
            });
        }
        Ok(Solution { objective: Some(found.variance), ..Solution::mean_of(&found.rows, n) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let mva = MinimumVarianceAveraging;
        let rows: Vec<Vec<f64>> = [0.0, 10.0, 1.0, 2.0, -9.0].map(|v| vec![v]).to_vec();
        assert_eq!(everyone(&rows, 2, |c| mva.reference(&rows, c)), [1.0]);
        let tie: Vec<Vec<f64>> = [0.0, 4.0, 8.0].map(|v| vec![v]).to_vec();
        assert_eq!(everyone(&tie, 1, |c| mva.reference(&tie, c)), [2.0]);
    }
}
