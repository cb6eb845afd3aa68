use super::{Cohort, Rule, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Wants};
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;

/// RFA, smoothed Weiszfeld of a fixed number of rounds: z₀ = 0, then z ← Σ w_i x_i / Σ w_i with w_i = 1/max(ν, ‖x_i − z‖). For
/// compatibility with libraries that offer it as their geometric median; it has not converged to one
/// ([`GeometricMedian`](super::GeometricMedian) has).
///
/// - Requirement: f < n/2; ν > 0; at least one round.
/// - Resilience: none known to us for a fixed number of rounds.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data, whatever the number of rounds.
/// - Source: Pillutla, Kakade and Harchaoui, IEEE TSP 2022.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rfa {
    /// Rounds; 3 by default.
    pub iterations: usize,
    /// ν, the least distance; 0.1 by default.
    pub nu: f64,
}

impl Default for Rfa {
    fn default() -> Self {
        Self { iterations: 3, nu: 0.1 }
    }
}

/// Most rounds that a rule with a fixed number of them takes.
pub(super) const MOST_ROUNDS: usize = 10_000;

impl Rfa {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            iterations: p.option("iterations", "rounds: 3 by default")?.unwrap_or(default.iterations),
            nu: p.option("nu", "least distance that is divided by: 0.1 by default")?.unwrap_or(default.nu),
        })
    }
}

impl Rule for Rfa {
    fn name(&self) -> &'static str {
        "rfa"
    }
    fn spec(&self) -> String {
        let default = Self::default();
        let iterations = (self.iterations != default.iterations).then(|| format!("iterations={}", self.iterations));
        spec_of(self.name(), [iterations, (self.nu != default.nu).then(|| format!("nu={}", self.nu))])
    }
    fn definition(&self) -> &'static str {
        "smoothed Weiszfeld from 0: 3 rounds, weights 1/max(nu = 0.1, distance)"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        super::require(self, n, f, f < n.div_ceil(2))?;
        if !(self.nu > 0.0 && self.nu.is_finite()) {
            return Err(Error::parameter(self.name(), "nu", self.nu, "a positive number"));
        }
        match self.iterations {
            1..=MOST_ROUNDS => Ok(()),
            other => Err(Error::parameter(self.name(), "iterations", other, format_args!("between 1 and {MOST_ROUNDS}"))),
        }
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, _cohort: &Cohort<'_>) -> Plan {
        weighted(*self)
    }
    fn reference(&self, rows: &[Vec<f64>], _cohort: &Cohort<'_>) -> Vec<f64> {
        let mut z = vec![0.0; rows[0].len()];
        for _ in 0..self.iterations {
            let weights: Vec<f64> = rows.iter().map(|x| 1.0 / literal::distance2(x, &z).sqrt().max(self.nu)).collect();
            z = literal::weighted_mean(rows, &weights);
        }
        z
    }
}

impl Solve for Rfa {
    fn wants(&self) -> Wants {
        Wants::distances().and(Wants::norms())
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let mut distances = geometry.norms();
        let mut weights = Vec::new();
        for _ in 0..self.iterations {
            weights = distances.iter().map(|r| 1.0 / r.max(self.nu)).collect();
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= total);
            distances = geometry.distances2_to(&weights).iter().map(|d2| d2.sqrt()).collect();
        }
        Ok(Solution { iterations: Some(self.iterations), scores: Some(distances), ..Solution::weights(weights) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        // From 0 the weights are 1/1, 1/2, 1/0.1.
        let rows = [vec![1.0], vec![-2.0], vec![0.0]];
        let one = Rfa { iterations: 1, nu: 0.1 };
        assert!(everyone(&rows, 1, |c| one.reference(&rows, c))[0].abs() < 1e-15);
        let coarse = Rfa { iterations: 1, nu: 2.0 };
        assert!((everyone(&rows, 1, |c| coarse.reference(&rows, c))[0] + 1.0 / 3.0).abs() < 1e-15);
        assert!(Rfa { nu: f64::NAN, ..Rfa::default() }.check(3, 1).is_err());
    }
}
