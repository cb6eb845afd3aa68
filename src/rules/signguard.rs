use super::{Cohort, Rule, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Mixing, Samples, Wants};
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;

/// SignGuard: mean of the rows, shortened to the median norm M, that pass two filters: a norm in [M/10, 3M], and membership in the larger of
/// two clusters by their shares of positive, negative and zero values in a random sample of the columns. Clusters are found by
/// 2-means from the two rows whose shares differ most (ties: the lower rows); of equally large ones that of the lowest row is taken. If no
/// row passes both, those of the cluster are taken.
///
/// - Requirement: f < n/2. The signs are those of workers' rows: it follows no pre-aggregation.
/// - Resilience: none for any λ.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data and a look at the sample, a third read where that has all columns.
/// - Source: Xu et al., ICDCS 2022.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignGuard {
    /// Columns in the sample; 10000 by default.
    pub columns: usize,
    /// Seed of the sample; 0 by default.
    pub seed: u64,
}

impl Default for SignGuard {
    fn default() -> Self {
        Self { columns: 10_000, seed: 0 }
    }
}

/// Norms that pass, as multiples of their median.
const PASSING: std::ops::RangeInclusive<f64> = 0.1..=3.0;

impl SignGuard {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            columns: p.option("columns", "columns whose signs are counted: 10000 by default")?.unwrap_or(default.columns),
            seed: p.option("seed", "of the columns: 0 by default")?.unwrap_or(default.seed),
        })
    }

    fn samples(&self) -> Samples {
        Samples { columns: self.columns, rounds: 1, seed: self.seed }
    }
}

impl Rule for SignGuard {
    fn name(&self) -> &'static str {
        "signguard"
    }
    fn spec(&self) -> String {
        let default = Self::default();
        let columns = (self.columns != default.columns).then(|| format!("columns={}", self.columns));
        spec_of(self.name(), [columns, (self.seed != default.seed).then(|| format!("seed={}", self.seed))])
    }
    fn definition(&self) -> &'static str {
        "mean of the rows, shortened to the median norm, of like norm and in the larger of two clusters by sign shares"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        super::require(self, n, f, f < n.div_ceil(2))?;
        if self.columns == 0 {
            return Err(Error::parameter(self.name(), "columns", 0, "at least 1"));
        }
        Ok(())
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unbounded { why: "honest rows of other signs are told apart" }
    }
    fn plan(&self, _cohort: &Cohort<'_>) -> Plan {
        weighted(*self)
    }
    fn reference(&self, rows: &[Vec<f64>], _cohort: &Cohort<'_>) -> Vec<f64> {
        let n = rows.len();
        let norms: Vec<f64> = rows.iter().map(|x| literal::norm(x)).collect();
        let mut ordered = norms.clone();
        ordered.sort_by(f64::total_cmp);
        let median = literal::median(&ordered);
        let columns = self.samples().of_round(0, rows[0].len());
        let share =
            |x: &[f64], is: fn(f64) -> bool| columns.iter().filter(|&&k| is(x[k])).count() as f64 / columns.len().max(1) as f64;
        let signs: Vec<[f64; 3]> =
            rows.iter().map(|x| [share(x, |v| v > 0.0), share(x, |v| v < 0.0), share(x, |v| v == 0.0)]).collect();
        let cluster = larger_of_two(&signs);
        let passing: Vec<usize> = cluster.iter().copied().filter(|&i| PASSING.contains(&(norms[i] / median))).collect();
        let kept = if passing.is_empty() { cluster } else { passing };
        let shortened: Vec<Vec<f64>> =
            (0..n).map(|i| rows[i].iter().map(|v| v * if norms[i] > median { median / norms[i] } else { 1.0 }).collect()).collect();
        literal::mean(&shortened, &kept)
    }
}

impl Solve for SignGuard {
    fn wants(&self) -> Wants {
        Wants { signs: Some(self.samples()), ..Wants::norms() }
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let (n, norms) = (geometry.n(), geometry.norms());
        let mut ordered = norms.clone();
        ordered.sort_unstable_by(f64::total_cmp);
        let median = 0.5 * ordered[(n - 1) / 2] + 0.5 * ordered[n / 2];
        let cluster = larger_of_two(&geometry.signs);
        let passing: Vec<usize> = cluster.iter().copied().filter(|&i| PASSING.contains(&(norms[i] / median))).collect();
        let kept = if passing.is_empty() { cluster } else { passing };
        let mut weights = vec![0.0; geometry.all.n()];
        for &i in &kept {
            weights[i] = if norms[i] > median { median / norms[i] } else { 1.0 } / kept.len() as f64;
        }
        if let Some(origin) = geometry.origin {
            weights[origin] = 1.0 - weights.iter().sum::<f64>();
        }
        Ok(Solution::new(Mixing::row(weights)))
    }
}

/// The larger of two clusters of points: 2-means from the two points farthest apart. Part of the definition: its steps decide.
fn larger_of_two(points: &[[f64; 3]]) -> Vec<usize> {
    let n = points.len();
    let distance2 = |a: &[f64; 3], b: &[f64; 3]| (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f64>();
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    let farther = |x: &(usize, usize), y: &(usize, usize)| {
        distance2(&points[x.0], &points[x.1]).total_cmp(&distance2(&points[y.0], &points[y.1])).then(y.cmp(x))
    };
    let Some((i, j)) = pairs.max_by(farther) else { return (0..n).collect() };
    let mut centres = [points[i], points[j]];
    let mut second: Vec<bool> = Vec::new();
    // Each step lowers the sum of squares, of which there are finitely many; the bound is for rounding.
    for _ in 0..100 {
        let next: Vec<bool> = points.iter().map(|p| distance2(p, &centres[1]) < distance2(p, &centres[0])).collect();
        if next == second {
            break;
        }
        second = next;
        for (side, centre) in centres.iter_mut().enumerate() {
            let members: Vec<&[f64; 3]> = points.iter().zip(&second).filter(|(_, s)| **s == (side == 1)).map(|(p, _)| p).collect();
            if !members.is_empty() {
                *centre = std::array::from_fn(|k| members.iter().map(|p| p[k]).sum::<f64>() / members.len() as f64);
            }
        }
    }
    let of = |side: bool| -> Vec<usize> { (0..n).filter(|&i| second[i] == side).collect() };
    let (a, b) = (of(false), of(true));
    match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Equal => {
            if a.first() < b.first() {
                a
            } else {
                b
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        // Row 3 has other signs, row 4 is too short; row 2 is shortened to the median norm 5.
        let rows = [vec![3.0, 4.0], vec![4.0, 3.0], vec![6.0, 8.0], vec![-3.0, -4.0], vec![0.03, 0.04]];
        let y = everyone(&rows, 2, |c| SignGuard::default().reference(&rows, c));
        approx::assert_abs_diff_eq!(&y[..], &[10.0 / 3.0, 11.0 / 3.0][..], epsilon = 1e-12);
        assert_eq!(larger_of_two(&[[1.0, 0.0, 0.0]]), [0]);
        assert_eq!(larger_of_two(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), [0]);
        assert_eq!(larger_of_two(&[[0.5, 0.5, 0.0]; 4]), [0, 1, 2, 3]);
    }
}
