use super::krum::LeastScores;
use super::{Cohort, Neighbors, Power, Rule, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::plan::Plan;
use crate::resilience::Resilience;

/// Multi-Krum(m): mean of the m rows of least Krum score; equal scores go to the lower index.
///
/// - Requirement: f < n/2, 1 ≤ m ≤ n; m = n − f by default.
/// - Resilience: no λ is stated for it in the RESAM paper.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data.
/// - Source: Blanchard et al., NeurIPS 2017; El Mhamdi et al., ICML 2018.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MultiKrum {
    /// Rows in the mean; `None` for n − f.
    pub m: Option<usize>,
    /// Rows a score sums over.
    pub neighbors: Neighbors,
    /// Power of the distances a score sums; 2 by definition.
    pub power: Power,
}

impl MultiKrum {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let m = p.option("m", "rows that are averaged: n-f by default")?;
        Ok(Self { m, neighbors: Neighbors::from_parameters(p)?, power: Power::from_parameters(p)? })
    }

    fn rows_kept(&self, n: usize, f: usize) -> usize {
        self.m.unwrap_or(n - f)
    }
}

impl Rule for MultiKrum {
    fn name(&self) -> &'static str {
        "multi_krum"
    }
    fn spec(&self) -> String {
        spec_of("multi_krum", [self.m.map(|m| format!("m={m}")), self.neighbors.spec(), self.power.spec()])
    }
    fn definition(&self) -> &'static str {
        "mean of the m = n-f rows of least Krum score"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        self.neighbors.check(self, n, f)?;
        match self.m {
            Some(m) if m == 0 || m > n => Err(Error::parameter(self.name(), "m", m, format_args!("between 1 and n = {n}"))),
            _ => Ok(()),
        }
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let (n, f) = (cohort.n(), cohort.f);
        weighted(LeastScores { neighbors: self.neighbors.count(n, f), power: self.power, keep: self.rows_kept(n, f) })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let scores = literal::krum_scores(rows, self.neighbors.count(rows.len(), cohort.f), self.power.exponent());
        literal::mean(rows, &literal::least(&scores, self.rows_kept(rows.len(), cohort.f)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 2.0, 3.0, 50.0].map(|v| vec![v]).to_vec();
        assert_eq!(everyone(&rows, 1, |c| MultiKrum::default().reference(&rows, c)), [1.5]);
        assert_eq!(everyone(&rows, 1, |c| MultiKrum { m: Some(2), ..Default::default() }.reference(&rows, c)), [1.5]);
        assert_eq!(everyone(&rows, 1, |c| MultiKrum { m: Some(1), ..Default::default() }.reference(&rows, c)), [1.0]);
        assert!(MultiKrum { m: Some(6), ..Default::default() }.check(5, 1).is_err());
    }
}
