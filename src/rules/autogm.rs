use super::{Cohort, GeometricMedian, Rule, Weights, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;
use crate::solve::weiszfeld::geometric_median;
use std::sync::Arc;

/// Auto-weighted geometric median (AutoGM): alternately, z is the geometric median with weights α, and α the point of the simplex that
/// makes Σ α_i ‖x_i − z‖ + λ/2 ‖α‖² least: α_i = max(0, η − ‖x_i − z‖)/λ with η such that they sum to 1. From equal weights, until the sum
/// changes by no more than a relative 1e-10, at most 100 rounds.
///
/// - Requirement: f < n/2; λ > 0. λ has the unit of a distance: the default n suits rows of norms near 1.
/// - Resilience: none known to us.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data, whatever the number of rounds.
/// - Source: Li et al., 2021 (auto-weighted robust federated learning).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AutoGm {
    /// λ; `None` for n.
    pub lambda: Option<f64>,
}

/// Most rounds.
const ROUNDS: usize = 100;
/// Relative change of the objective at which it stops.
const TOLERANCE: f64 = 1e-10;

impl AutoGm {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { lambda: p.option("lambda", "a distance, n by default: the greater, the more even the weights")? })
    }

    fn value(&self, n: usize) -> f64 {
        self.lambda.unwrap_or(n as f64)
    }
}

impl Rule for AutoGm {
    fn name(&self) -> &'static str {
        "autogm"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [self.lambda.map(|lambda| format!("lambda={lambda}"))])
    }
    fn definition(&self) -> &'static str {
        "geometric median with weights that fall with the distance to it (lambda = n)"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        super::require(self, n, f, f < n.div_ceil(2))?;
        match self.lambda {
            Some(lambda) if !(lambda > 0.0 && lambda.is_finite()) => {
                Err(Error::parameter(self.name(), "lambda", lambda, "a positive number"))
            }
            _ => Ok(()),
        }
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(Alternate { lambda: self.value(cohort.n()) })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let (n, lambda) = (rows.len(), self.value(rows.len()));
        let mut alpha = vec![1.0 / n as f64; n];
        let (mut z, mut before) = (Vec::new(), f64::INFINITY);
        for _ in 0..ROUNDS {
            let used: Vec<usize> = (0..n).filter(|&i| alpha[i] > 0.0).collect();
            let those: Vec<Vec<f64>> = used.iter().map(|&i| rows[i].clone()).collect();
            let weights = Weights::new(used.iter().map(|&i| alpha[i]).collect::<Arc<[f64]>>()).expect("positive weights");
            let members: Vec<usize> = (0..used.len()).collect();
            let median = GeometricMedian { weights: Some(weights), ..GeometricMedian::default() };
            z = median.reference(&those, &Cohort { total: used.len(), members: &members, f: 0, d: cohort.d });
            let distances: Vec<f64> = rows.iter().map(|x| literal::distance2(x, &z).sqrt()).collect();
            // The threshold η by bisection: the weights sum to more as it grows.
            let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
            let sum = |eta: f64| distances.iter().map(|r| (eta - (r - nearest)).max(0.0)).sum::<f64>();
            let (mut low, mut high) = (0.0, lambda);
            for _ in 0..200 {
                let middle = 0.5 * (low + high);
                if sum(middle) < lambda { low = middle } else { high = middle }
            }
            alpha = distances.iter().map(|r| (high - (r - nearest)).max(0.0) / lambda).collect();
            let now: f64 = alpha.iter().zip(&distances).map(|(a, r)| a * r + 0.5 * lambda * a * a).sum();
            if (before - now).abs() <= TOLERANCE * now {
                break;
            }
            before = now;
        }
        z
    }
}

#[derive(Debug)]
struct Alternate {
    lambda: f64,
}

impl Solve for Alternate {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let n = gram.n();
        let mut alpha = vec![1.0 / n as f64; n];
        let mut before = f64::INFINITY;
        for round in 1..=ROUNDS {
            let found = geometric_median(gram, &alpha);
            let distances: Vec<f64> = gram.distances2_to(found.mixing.weights(0)).iter().map(|d2| d2.sqrt()).collect();
            alpha = nearest_simplex_point(&distances, self.lambda);
            let now: f64 = alpha.iter().zip(&distances).map(|(a, r)| a * r + 0.5 * self.lambda * a * a).sum();
            let residual = (before - now).abs() / now.max(f64::MIN_POSITIVE);
            if residual <= TOLERANCE || round == ROUNDS {
                let converged = residual <= TOLERANCE && found.converged;
                let said = (Some(round), Some(residual), Some(now));
                return Ok(Solution {
                    iterations: said.0,
                    residual: said.1,
                    objective: said.2,
                    converged,
                    scores: Some(distances),
                    ..found
                });
            }
            before = now;
        }
        Ok(Solution::weights(alpha))
    }
}

/// The α of the simplex that makes Σ α_i r_i + λ/2 ‖α‖² least.
fn nearest_simplex_point(distances: &[f64], lambda: f64) -> Vec<f64> {
    // Only their differences matter; the least of them may be far larger than λ.
    let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
    let beyond: Vec<f64> = distances.iter().map(|r| r - nearest).collect();
    let mut ordered = beyond.clone();
    ordered.sort_unstable_by(f64::total_cmp);
    let mut sum = 0.0;
    let mut eta = f64::INFINITY;
    for (p, r) in ordered.iter().enumerate() {
        // The p least distances take part as long as the threshold they give is above the last of them.
        let with = (sum + r + lambda) / (p + 1) as f64;
        if with < *r {
            break;
        }
        sum += r;
        eta = with;
    }
    beyond.iter().map(|r| (eta - r).max(0.0) / lambda).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn far_rows_lose_their_weight() {
        let rows = [vec![0.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 1.0], vec![1e6, 0.0]];
        let y = everyone(&rows, 1, |c| AutoGm::default().reference(&rows, c));
        // Three of four corners weigh nearly the same; the far row nothing.
        approx::assert_abs_diff_eq!(&y[..], &[0.5, 0.5][..], epsilon = 1e-3);
        let alpha = nearest_simplex_point(&[1.0, 2.0, 9.0], 3.0);
        approx::assert_abs_diff_eq!(&alpha[..], &[2.0 / 3.0, 1.0 / 3.0, 0.0][..], epsilon = 1e-15);
        assert!(AutoGm { lambda: Some(0.0) }.check(5, 1).is_err());
    }
}
