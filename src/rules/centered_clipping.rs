use super::rfa::MOST_ROUNDS;
use super::{Cohort, Given, Rule, Weights, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Wants};
use crate::parameters::Parameters;
use crate::plan::{DeviceSolve, Plan, Solution, Solve};
use crate::resilience::Resilience;
use std::sync::Arc;

/// Where centered clipping starts when no previous aggregate is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// Zero, as defined.
    #[default]
    Zero,
    /// The (weighted) mean of the rows, as one library does. A single row moves it as far as it likes.
    Mean,
}

impl std::str::FromStr for Start {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "zero" => Ok(Start::Zero),
            "mean" => Ok(Start::Mean),
            _ => Err("not 'zero' or 'mean'".into()),
        }
    }
}

/// Centered clipping: L rounds of v ← v + Σ_i a_i · (x_i − v) · min(1, τ/‖x_i − v‖), from the previous aggregate, or zero where
/// there is none; a_i = 1/n unless weights are given. The caller keeps the state: hand the last result in as `previous`.
///
/// - Requirement: f < n/2; τ > 0; at least one round.
/// - Resilience: none for any λ with a fixed radius.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k); a previous aggregate must be finite.
/// - Cost: two reads of the data, whatever the number of rounds.
/// - Source: Karimireddy, He and Jaggi, ICML 2021.
#[derive(Debug, Clone, PartialEq)]
pub struct CenteredClipping {
    /// The radius; 10 by default.
    pub tau: f64,
    /// Rounds; 1 by default.
    pub iterations: usize,
    /// Where it starts: d finite values.
    pub previous: Option<Arc<[f32]>>,
    /// Where it starts without them.
    pub start: Start,
    /// One for each row; `None` for equal ones.
    pub weights: Option<Weights>,
}

impl Default for CenteredClipping {
    fn default() -> Self {
        Self { tau: 10.0, iterations: 1, previous: None, start: Start::Zero, weights: None }
    }
}

impl CenteredClipping {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let default = Self::default();
        let (tau, iterations) = (
            p.option("tau", "norm that differences are clipped to: 10 by default")?.unwrap_or(default.tau),
            p.option("iterations", "rounds: 1 by default")?.unwrap_or(default.iterations),
        );
        Ok(Self {
            tau,
            iterations,
            start: p.option("start", "where there is no previous aggregate: `zero` (default) or `mean`")?.unwrap_or_default(),
            ..default
        })
    }

    fn shares(&self, cohort: &Cohort<'_>) -> Vec<f64> {
        let weights = self.weights.as_ref().map_or(vec![1.0; cohort.n()], |w| w.of(cohort));
        let total: f64 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    }
}

impl Rule for CenteredClipping {
    fn name(&self) -> &'static str {
        "centered_clipping"
    }
    fn spec(&self) -> String {
        let default = Self::default();
        let tau = (self.tau != default.tau).then(|| format!("tau={}", self.tau));
        let iterations = (self.iterations != default.iterations).then(|| format!("iterations={}", self.iterations));
        spec_of(self.name(), [tau, iterations, (self.start == Start::Mean).then(|| "start=mean".into())])
    }
    fn definition(&self) -> &'static str {
        "from the previous aggregate v (or 0): v + mean of x_i - v clipped to norm tau = 10, 1 round"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        super::require(self, n, f, f < n.div_ceil(2))?;
        if !(self.tau > 0.0 && self.tau.is_finite()) {
            return Err(Error::parameter(self.name(), "tau", self.tau, "a positive number"));
        }
        match self.iterations {
            1..=MOST_ROUNDS => Ok(()),
            other => Err(Error::parameter(self.name(), "iterations", other, format_args!("between 1 and {MOST_ROUNDS}"))),
        }
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        if let Some(previous) = &self.previous {
            if previous.len() != cohort.d {
                let limit = format_args!("d = {}", cohort.d);
                return Err(Error::parameter(self.name(), "length of the previous aggregate", previous.len(), limit));
            }
            if let Some(k) = previous.iter().position(|v| !v.is_finite()) {
                return Err(Error::parameter(self.name(), &format!("previous[{k}]"), previous[k], "finite"));
            }
        }
        self.weights.as_ref().map_or(Ok(()), |weights| weights.fit(self, cohort))
    }
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        Ok(Arc::new(match given {
            Given::Previous(previous) => Self { previous: Some(previous), ..self.clone() },
            Given::Weights(weights) => Self { weights: Some(Weights::new(weights)?), ..self.clone() },
            Given::Trusted(_) => return Err(super::refused(self, &given)),
        }))
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unbounded { why: "equal rows farther than tau from the start are not returned" }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let (previous, shares) = (self.previous.clone(), self.shares(cohort));
        weighted(Clip { tau: self.tau, iterations: self.iterations, previous, start: self.start, shares })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let shares = self.shares(cohort);
        let mut v = match &self.previous {
            Some(start) => start.iter().map(|v| f64::from(*v)).collect(),
            None if self.start == Start::Mean => literal::weighted_mean(rows, &shares),
            None => vec![0.0; rows[0].len()],
        };
        for _ in 0..self.iterations {
            let mut step = vec![0.0; v.len()];
            for (x, share) in rows.iter().zip(&shares) {
                let clip = (self.tau / literal::distance2(x, &v).sqrt()).min(1.0);
                step.iter_mut().zip(x.iter().zip(&v)).for_each(|(s, (x, v))| *s += share * clip * (x - v));
            }
            v.iter_mut().zip(&step).for_each(|(v, s)| *v += s);
        }
        v
    }
}

#[derive(Debug)]
struct Clip {
    tau: f64,
    iterations: usize,
    previous: Option<Arc<[f32]>>,
    start: Start,
    shares: Vec<f64>,
}

impl Solve for Clip {
    fn wants(&self) -> Wants {
        match &self.previous {
            Some(previous) => Wants { given: Some(previous.clone()), ..Wants::distances() },
            None if self.start == Start::Mean => Wants::distances(),
            None => Wants::distances().and(Wants::norms()),
        }
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let n = geometry.n();
        // v = Σ w_i x_i over the rows and the start.
        let mut weights = vec![0.0; geometry.all.n()];
        match geometry.given.or(geometry.origin.filter(|_| self.start == Start::Zero)) {
            Some(start) => weights[start] = 1.0,
            None => weights[..n].copy_from_slice(&self.shares),
        }
        let mut distances = Vec::new();
        for _ in 0..self.iterations {
            distances = geometry.distances2_to(&weights).iter().map(|d2| d2.sqrt()).collect();
            let clips: Vec<f64> = distances.iter().zip(&self.shares).map(|(r, share)| share * (self.tau / r).min(1.0)).collect();
            let left = 1.0 - clips.iter().sum::<f64>();
            weights.iter_mut().for_each(|w| *w *= left);
            weights.iter_mut().zip(&clips).for_each(|(w, clip)| *w += clip);
        }
        Ok(Solution { iterations: Some(self.iterations), scores: Some(distances), ..Solution::weights(weights) })
    }
    fn on_device(&self) -> Option<DeviceSolve> {
        // A mean may be too far from the rows for sums in f32.
        let from_mean = self.previous.is_none() && self.start == Start::Mean;
        let equal = self.shares.iter().all(|share| *share == self.shares[0]);
        (equal && !from_mean).then_some(DeviceSolve::Clipped { tau: self.tau, rounds: self.iterations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let rows = [vec![3.0, 4.0], vec![0.0, 2.0], vec![0.0, -200.0]];
        let at = |rule: CenteredClipping| everyone(&rows, 1, |c| rule.reference(&rows, c));
        let one = CenteredClipping { tau: 2.5, ..Default::default() };
        assert!(at(one.clone()).iter().zip([0.5, 1.5 / 3.0]).all(|(a, b)| (a - b).abs() < 1e-15));
        let from = CenteredClipping { previous: Some(Arc::from([3.0f32, 4.0])), tau: 1e9, ..one };
        assert!(at(from).iter().zip([1.0, -194.0 / 3.0]).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn a_previous_aggregate_must_fit() {
        let members = [0, 1, 2];
        let cohort = Cohort { total: 3, members: &members, f: 1, d: 2 };
        let with = |v: &[f32]| CenteredClipping::default().given(Given::Previous(Arc::from(v))).unwrap().admit(&cohort);
        assert!(with(&[1.0, 2.0]).is_ok() && with(&[1.0]).is_err() && with(&[1.0, f32::NAN]).is_err());
    }
}
