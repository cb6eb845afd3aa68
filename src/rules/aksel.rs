use super::{Cohort, Rule, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, MedianOf, Wants};
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;

/// Aksel: mean of the ⌊(n+1)/2⌋ rows nearest the coordinate-wise median; equally near rows go by index.
///
/// - Requirement: f < n/2; 1 ≤ keep ≤ n.
/// - Resilience: none known to us.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data; three after pre-aggregations, whose rows' median has to be formed first.
/// - Source: Boussetta et al., OPODIS 2021.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aksel {
    /// Rows in the mean; `None` for ⌊(n+1)/2⌋.
    pub keep: Option<usize>,
}

impl Aksel {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { keep: p.option("keep", "rows that are averaged: (n+1)/2 by default")? })
    }

    fn rows_kept(&self, n: usize) -> usize {
        self.keep.unwrap_or(n.div_ceil(2))
    }
}

impl Rule for Aksel {
    fn name(&self) -> &'static str {
        "aksel"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [self.keep.map(|keep| format!("keep={keep}"))])
    }
    fn definition(&self) -> &'static str {
        "mean of the keep = (n+1)/2 rows nearest the coordinate-wise median"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        super::require(self, n, f, f < n.div_ceil(2))?;
        match self.keep {
            Some(keep) if keep == 0 || keep > n => {
                Err(Error::parameter(self.name(), "keep", keep, format_args!("between 1 and n = {n}")))
            }
            _ => Ok(()),
        }
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(NearestMedian { keep: self.rows_kept(cohort.n()) })
    }
    fn reference(&self, rows: &[Vec<f64>], _cohort: &Cohort<'_>) -> Vec<f64> {
        let median = literal::per_coordinate(rows, literal::median);
        let distances: Vec<f64> = rows.iter().map(|x| literal::distance2(x, &median)).collect();
        literal::mean(rows, &literal::least(&distances, self.rows_kept(rows.len())))
    }
}

#[derive(Debug)]
struct NearestMedian {
    keep: usize,
}

impl Solve for NearestMedian {
    fn wants(&self) -> Wants {
        Wants { median: Some(MedianOf::Rows), ..Wants::nothing() }
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        Ok(Solution::least(geometry.to_median.clone(), self.keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        // Median (2, 1); the nearest three of five.
        let rows = [vec![2.0, 0.0], vec![3.0, 1.0], vec![9.0, 9.0], vec![0.0, 1.0], vec![2.0, 5.0]];
        approx::assert_abs_diff_eq!(
            &everyone(&rows, 1, |c| Aksel::default().reference(&rows, c))[..],
            &[5.0 / 3.0, 2.0 / 3.0][..],
            epsilon = 1e-12
        );
        assert_eq!(everyone(&rows, 1, |c| Aksel { keep: Some(1) }.reference(&rows, c)), [2.0, 0.0]);
        assert!(Aksel { keep: Some(6) }.check(5, 1).is_err() && Aksel { keep: Some(0) }.check(5, 1).is_err());
    }
}
