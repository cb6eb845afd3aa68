use super::{Cohort, Rule, literal, require, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Samples, Wants};
use crate::gram::Gram;
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;
use crate::solve::eigen::top_eigenpair;
use std::sync::Arc;

/// Divide and conquer (DnC), a spectral filter: in each round b random columns are drawn and centred on their mean, and the ⌊c·f⌋ rows of
/// largest squared projection on the top right singular vector are dropped; the result is the mean of the rows that no round
/// dropped. Where every row was dropped by some round, those that the fewest rounds dropped are kept.
///
/// - Requirement: f < n/2, c·f < n. Draw anew in every step ([`Rule::redrawn`]): an attacker who knows the columns can hide in
///   the others.
/// - Resilience: no finite λ for f ≥ 2; none known to us for f = 1.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data and a look at b columns a round.
/// - Source: Shejwalkar and Houmansadr, NDSS 2021.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DivideAndConquer {
    /// Rounds; 1 by default.
    pub iterations: usize,
    /// Columns a round; 10000 by default.
    pub columns: usize,
    /// Rows dropped in a round, as a multiple of f; 1 by default.
    pub c: f64,
    /// Seed of the columns; 0 by default.
    pub seed: u64,
}

impl Default for DivideAndConquer {
    fn default() -> Self {
        Self { iterations: 1, columns: 10_000, c: 1.0, seed: 0 }
    }
}

/// Most rounds and columns.
const MOST: usize = 1_000_000;

impl DivideAndConquer {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            iterations: p.option("iterations", "rounds: 1 by default")?.unwrap_or(default.iterations),
            columns: p.option("columns", "columns a round: 10000 by default")?.unwrap_or(default.columns),
            c: p.option("c", "rows dropped a round, as a multiple of f: 1 by default")?.unwrap_or(default.c),
            seed: p.option("seed", "of the columns: 0 by default")?.unwrap_or(default.seed),
        })
    }

    fn samples(&self) -> Samples {
        Samples { columns: self.columns, rounds: self.iterations, seed: self.seed }
    }

    fn dropped(&self, f: usize) -> usize {
        (self.c * f as f64) as usize
    }
}

impl Rule for DivideAndConquer {
    fn name(&self) -> &'static str {
        "dnc"
    }
    fn spec(&self) -> String {
        let default = Self::default();
        let iterations = (self.iterations != default.iterations).then(|| format!("iterations={}", self.iterations));
        let columns = (self.columns != default.columns).then(|| format!("columns={}", self.columns));
        let c = (self.c != default.c).then(|| format!("c={}", self.c));
        spec_of(self.name(), [iterations, columns, c, (self.seed != default.seed).then(|| format!("seed={}", self.seed))])
    }
    fn redrawn(&self, draw: u64) -> Option<Arc<dyn Rule>> {
        Some(Arc::new(Self { seed: self.seed.wrapping_add(draw), ..*self }))
    }
    fn definition(&self) -> &'static str {
        "mean of the rows left when those far along the top singular vector of random columns are dropped"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        require(self, n, f, f < n.div_ceil(2))?;
        for (name, value) in [("iterations", self.iterations), ("columns", self.columns)] {
            if value == 0 || value > MOST {
                return Err(Error::parameter(self.name(), name, value, format_args!("between 1 and {MOST}")));
            }
        }
        if !(self.c >= 0.0 && self.dropped(f) < n) {
            return Err(Error::parameter(self.name(), "c", self.c, format_args!("at least 0, with c f below n = {n}")));
        }
        Ok(())
    }
    fn lambda(&self, _n: usize, f: usize, _d: usize) -> Resilience {
        match f {
            0 | 1 => Resilience::Unknown,
            _ => Resilience::Unbounded { why: "of two far rows in different directions only one is far along the top vector" },
        }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(Spectral { samples: self.samples(), dropped: self.dropped(cohort.f) })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let n = rows.len();
        let mut drops = vec![0.0; n];
        for round in 0..self.iterations {
            let columns = self.samples().of_round(round, rows[0].len());
            let those: Vec<Vec<f64>> = rows.iter().map(|x| columns.iter().map(|&k| x[k]).collect()).collect();
            let mean = literal::mean(&those, &(0..n).collect::<Vec<_>>());
            let centred: Vec<Vec<f64>> = those.iter().map(|x| x.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
            let (_, vector) = literal::top_eigenpair(&centred, &vec![1.0 / n as f64; n]);
            let scores: Vec<f64> = centred.iter().map(|x| literal::dot(x, &vector).powi(2)).collect();
            let kept = literal::least(&scores, n - self.dropped(cohort.f));
            (0..n).filter(|i| !kept.contains(i)).for_each(|i| drops[i] += 1.0);
        }
        let fewest = drops.iter().copied().fold(f64::INFINITY, f64::min);
        literal::mean(rows, &(0..n).filter(|&i| drops[i] == fewest).collect::<Vec<_>>())
    }
}

#[derive(Debug)]
struct Spectral {
    samples: Samples,
    dropped: usize,
}

impl Solve for Spectral {
    fn wants(&self) -> Wants {
        // Distances are not used, but the read finds the rows that are not finite.
        Wants { samples: Some(self.samples), ..Wants::distances() }
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let n = geometry.n();
        let mut drops = vec![0.0; n];
        let mut margin: Option<f64> = None;
        for sample in &geometry.samples {
            let round = Solution::least(projections(sample, n), n - self.dropped);
            (0..n).filter(|&i| !round.mixing.uses(i)).for_each(|i| drops[i] += 1.0);
            margin = margin.into_iter().chain(round.margin).min_by(f64::total_cmp);
        }
        let fewest = drops.iter().copied().fold(f64::INFINITY, f64::min);
        let kept: Vec<usize> = (0..n).filter(|&i| drops[i] == fewest).collect();
        Ok(Solution { margin, iterations: Some(geometry.samples.len()), scores: Some(drops), ..Solution::mean_of(&kept, n) })
    }
}

/// Squared projections of the first n rows, centred on their mean, on the top right singular vector: λ u_i² with (λ, u) the top
/// eigenpair of their inner products.
fn projections(gram: &Gram, n: usize) -> Vec<f64> {
    let means: Vec<f64> = (0..n).map(|i| gram.row(i)[..n].iter().sum::<f64>() / n as f64).collect();
    let mean = means.iter().sum::<f64>() / n as f64;
    let centred: Vec<f64> = (0..n * n).map(|k| gram.at(k / n, k % n) - means[k / n] - means[k % n] + mean).collect();
    let top = top_eigenpair(&centred, n);
    top.vector.iter().map(|u| top.value * u * u).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        let rows = [vec![0.0, 1.0], vec![0.0, -1.0], vec![9.0, 0.0], vec![1.0, 0.0]];
        let y = everyone(&rows, 1, |c| DivideAndConquer::default().reference(&rows, c));
        assert!((y[0] - 1.0 / 3.0).abs() < 1e-15 && y[1].abs() < 1e-15, "{y:?}");
        assert!(DivideAndConquer { c: 5.0, ..Default::default() }.check(5, 1).is_err());
        assert!(DivideAndConquer { columns: 0, ..Default::default() }.check(5, 1).is_err());
    }

    /// The input that leaves it without a finite λ: one of two far rows is kept, and moves the mean as far as it likes.
    #[test]
    fn one_of_two_far_rows_is_kept() {
        for far in [1e3, 1e6, 1e9] {
            let mut rows: Vec<Vec<f64>> = [[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]].map(Vec::from).into();
            rows.extend([vec![far, 0.0], vec![0.075 * far, 0.4 * far]]);
            let y = everyone(&rows, 2, |c| DivideAndConquer::default().reference(&rows, c));
            assert!(y[0].hypot(y[1]) > 0.05 * far, "{y:?}");
        }
    }
}
