use super::{Cohort, Given, Rule, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Wants};
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;
use std::sync::Arc;

/// FLTrust: with a trusted row t (the server's own), the other rows are scaled to its norm and averaged with weights
/// max(0, cos(x_i, t)); zero where no row points its way.
///
/// - Requirement: f < n/2, and the index of the trusted row (`row`), which is not among the rows averaged.
/// - Resilience: none of its own; the result is no longer than the trusted row and points its way.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k); a trusted row among them is an error. A row shorter
///   than the smallest normal f32 counts as zero, which has no direction.
/// - Cost: two reads of the data.
/// - Source: Cao, Fang, Liu and Gong, NDSS 2021.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlTrust {
    /// The trusted row; a call without one is refused.
    pub row: Option<usize>,
}

impl FlTrust {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { row: p.option("row", "the trusted row, counted from 0; needed unless it is given otherwise (--trusted)")? })
    }
}

impl Rule for FlTrust {
    fn name(&self) -> &'static str {
        "fltrust"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [self.row.map(|row| format!("row={row}"))])
    }
    fn definition(&self) -> &'static str {
        "mean of the other rows at a trusted row's norm, weighted by max(0, cosine with it)"
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        match self.row {
            Some(row) => cohort.require_row(self, "row", row),
            None => Err(Error::parameter(self.name(), "row", "none", "given, as fltrust:row=I: the index of the trusted row")),
        }
    }
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        let Given::Trusted(row) = given else { return Err(super::refused(self, &given)) };
        Ok(Arc::new(Self { row: Some(row) }))
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unbounded { why: "the trusted row decides the length of the result" }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(Trust { row: self.row.and_then(|row| cohort.place(row)).unwrap_or(0) })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let trusted = self.row.and_then(|row| cohort.place(row)).expect("the trusted row takes part");
        let t = &rows[trusted];
        let (mut sum, mut total) = (vec![0.0; t.len()], 0.0);
        for x in rows.iter().enumerate().filter(|(i, _)| *i != trusted).map(|(_, x)| x) {
            let (long, short) = (literal::norm(t), literal::norm(x));
            if long < SHORTEST || short < SHORTEST {
                continue;
            }
            let trust = (literal::dot(x, t) / long / short).max(0.0);
            sum.iter_mut().zip(x).for_each(|(s, x)| *s += trust * (x / short) * long);
            total += trust;
        }
        sum.iter().map(|s| if total > 0.0 { s / total } else { 0.0 }).collect()
    }
}

/// Rows shorter than this have no direction.
const SHORTEST: f64 = f32::MIN_POSITIVE as f64;

#[derive(Debug)]
struct Trust {
    row: usize,
}

impl Solve for Trust {
    fn wants(&self) -> Wants {
        Wants::norms()
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let (n, all) = (geometry.n(), &geometry.all);
        let origin = geometry.origin.unwrap_or(n);
        let norms = geometry.norms();
        let cosine = |i: usize| {
            let short = norms[i] < SHORTEST || norms[self.row] < SHORTEST;
            if short || i == self.row { 0.0 } else { geometry.cosine(i, self.row).max(0.0) }
        };
        let trust: Vec<f64> = (0..n).map(cosine).collect();
        let total: f64 = trust.iter().sum();
        let mut weights = vec![0.0; all.n()];
        for i in (0..n).filter(|&i| trust[i] > 0.0) {
            weights[i] = trust[i] / total * (norms[self.row] / norms[i]);
        }
        weights[origin] = 1.0 - weights.iter().sum::<f64>();
        Ok(Solution { scores: Some(trust), ..Solution::weights(weights) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        // Cosines with row 0: 1 and 0.6 count, −1 does not.
        let rows = [vec![2.0, 0.0], vec![10.0, 0.0], vec![3.0, 4.0], vec![-7.0, 0.0]];
        let trust = FlTrust { row: Some(0) };
        let y = everyone(&rows, 1, |c| trust.reference(&rows, c));
        assert!((y[0] - (2.0 + 0.6 * 1.2) / 1.6).abs() < 1e-15 && (y[1] - 0.6 * 1.6 / 1.6).abs() < 1e-15);
        assert_eq!(everyone(&rows[2..], 0, |c| FlTrust { row: Some(1) }.reference(&rows[2..], c)), [0.0, 0.0]);
        everyone(&rows, 1, |c| {
            assert!(FlTrust::default().admit(c).unwrap_err().to_string().contains("row"));
            assert!(FlTrust { row: Some(4) }.admit(c).is_err() && trust.admit(c).is_ok());
            Vec::new()
        });
    }
}
