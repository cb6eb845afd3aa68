use super::{Cohort, Rule, literal, spec_of, weighted};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;

/// MoNNA, nearest-neighbor averaging: mean of the n − f rows nearest a pivot row p, itself included; equally near rows go by index.
///
/// - Requirement: f < n/2. The pivot is a row of the matrix (0-based), trusted by whoever chose it; without it there is no result.
/// - Resilience: none of its own for an unknown pivot; with an honest pivot see the source.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k); a pivot among them is an error.
/// - Cost: two reads of the data.
/// - Source: Farhadkhani et al., ICML 2023 (arXiv 2209.10931).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Monna {
    /// The row whose neighbors are averaged.
    pub pivot: usize,
}

impl Monna {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { pivot: p.option("pivot", "row, counted from 0, that others are to be near: 0 by default")?.unwrap_or(0) })
    }
}

impl Rule for Monna {
    fn name(&self) -> &'static str {
        "monna"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [(self.pivot > 0).then(|| format!("pivot={}", self.pivot))])
    }
    fn definition(&self) -> &'static str {
        "mean of the n-f rows nearest a pivot row (default: row 0)"
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        cohort.require_row(self, "pivot", self.pivot)
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unbounded { why: "the pivot row may be Byzantine" }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(NearestTo { pivot: cohort.place(self.pivot).unwrap_or(0), keep: cohort.n() - cohort.f })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let pivot = &rows[cohort.place(self.pivot).expect("the pivot takes part")];
        let distances: Vec<f64> = rows.iter().map(|x| literal::distance2(x, pivot)).collect();
        literal::mean(rows, &literal::least(&distances, rows.len() - cohort.f))
    }
}

#[derive(Debug)]
struct NearestTo {
    pivot: usize,
    keep: usize,
}

impl Solve for NearestTo {
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let gram = &geometry.gram;
        Ok(Solution::least((0..gram.n()).map(|i| gram.distance2(i, self.pivot)).collect(), self.keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 3.0, 7.0, 50.0].map(|v| vec![v]).to_vec();
        approx::assert_abs_diff_eq!(
            &everyone(&rows, 2, |c| Monna::default().reference(&rows, c))[..],
            &[4.0 / 3.0][..],
            epsilon = 1e-12
        );
        approx::assert_abs_diff_eq!(
            &everyone(&rows, 2, |c| Monna { pivot: 3 }.reference(&rows, c))[..],
            &[11.0 / 3.0][..],
            epsilon = 1e-12
        );
        everyone(&rows, 1, |c| {
            assert!(Monna { pivot: 4 }.admit(c).is_ok());
            assert!(Monna { pivot: 5 }.admit(c).unwrap_err().to_string().contains("pivot = 5"));
            Vec::new()
        });
    }
}
