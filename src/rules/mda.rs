use super::{Cohort, Rule, literal, weighted};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::{RESAM, Resilience};
use crate::solve::diameter::least_diameter;

/// Minimum diameter averaging (MDA): mean of the subset of n − f rows with the least diameter max ‖x_i − x_j‖; of several
/// such subsets the lexicographically smallest.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = 2f/(n−f), tight.
/// - Exact: not by enumeration of C(n, f) subsets but by a search over vertex covers, see [`crate::solve::diameter`]; one that takes too
///   long is an error.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data.
/// - Source: El Mhamdi et al., 2020; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MinimumDiameterAveraging;

/// Steps after which the search is given up: some seconds, since one of 1024 rows took 0.07 to 2 ms (an AMD EPYC, 2026-11-30). At worst a
/// step is some n²·n/64 operations.
fn most_nodes(n: usize) -> u64 {
    (40_000_000_000 / (n * n) as u64).min(1_000_000)
}

impl Rule for MinimumDiameterAveraging {
    fn name(&self) -> &'static str {
        "mda"
    }
    fn definition(&self) -> &'static str {
        "mean of the n-f rows of least diameter (ties: lexicographically smallest subset)"
    }
    fn lambda(&self, n: usize, f: usize, _d: usize) -> Resilience {
        Resilience::proved(2.0 * f as f64 / (n - f) as f64, RESAM)
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(LeastDiameter { keep: cohort.n() - cohort.f })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let (n, f) = (rows.len(), cohort.f);
        let d2: Vec<Vec<f64>> = rows.iter().map(|x| rows.iter().map(|y| literal::distance2(x, y)).collect()).collect();
        let mut limits: Vec<f64> = d2.iter().flatten().copied().collect();
        limits.sort_by(f64::total_cmp);
        limits.dedup();
        // The least limit for which some subset fits, and the first such subset in lexicographic order.
        let fits = |limit: f64| first_subset(&d2, limit, n - f, &mut Vec::new(), &(0..n).collect::<Vec<_>>());
        let least = limits.partition_point(|&t| fits(t).is_none());
        literal::mean(rows, &fits(limits[least]).expect("all rows fit the largest distance"))
    }
}

/// The lexicographically first way to extend `chosen` by some of the `open` rows to `keep` rows no two of which are farther apart than
/// `limit`; no open row is farther from a chosen one.
fn first_subset(d2: &[Vec<f64>], limit: f64, keep: usize, chosen: &mut Vec<usize>, open: &[usize]) -> Option<Vec<usize>> {
    if chosen.len() == keep {
        return Some(chosen.clone());
    }
    for (k, &j) in open.iter().enumerate() {
        if chosen.len() + open.len() - k < keep {
            break;
        }
        let open: Vec<usize> = open[k + 1..].iter().copied().filter(|&i| d2[i][j] <= limit).collect();
        chosen.push(j);
        let found = first_subset(d2, limit, keep, chosen, &open);
        chosen.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

#[derive(Debug)]
struct LeastDiameter {
    keep: usize,
}

impl Solve for LeastDiameter {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let distances2 = gram.distances2();
        let n = gram.n();
        let found = least_diameter(&distances2, n, self.keep, most_nodes(n));
        if !found.exact {
            let instead = "nnm+average or multi_krum".into();
            return Err(Error::TooHard { rule: "mda".into(), n, f: n - self.keep, steps: found.nodes, instead });
        }
        // The subset changes when the deciding distance trades places with the nearest other one.
        let t = found.diameter2;
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| i * n + j));
        let mut gaps: Vec<f64> = pairs.map(|k| (distances2[k] - t).abs() / distances2[k].max(t).max(f64::MIN_POSITIVE)).collect();
        gaps.sort_unstable_by(f64::total_cmp);
        // The first is the deciding pair's own.
        let margin = gaps.get(1).copied();
        Ok(Solution { margin, objective: Some(t), ..Solution::mean_of(&found.rows, n) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let rows: Vec<Vec<f64>> = [0.0, 10.0, 1.0, 2.0, -9.0].map(|v| vec![v]).to_vec();
        assert_eq!(everyone(&rows, 2, |c| MinimumDiameterAveraging.reference(&rows, c)), [1.0]);
        // {0, 1} and {1, 2} have the same diameter: the first in lexicographic order wins.
        let tie: Vec<Vec<f64>> = [0.0, 4.0, 8.0].map(|v| vec![v]).to_vec();
        assert_eq!(everyone(&tie, 1, |c| MinimumDiameterAveraging.reference(&tie, c)), [2.0]);
    }
}
