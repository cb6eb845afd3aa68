use super::{Cohort, Rule, literal, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::{Resilience, kappa_of_the_closest};
use crate::solve::least_eigenvalue::{greedy_eigenvalue, least_eigenvalue};

/// How the subset is searched for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// Branch and bound; an error when it takes too long.
    #[default]
    Exact,
    /// A heuristic: f times, drop the row with the largest projection on the top eigenvector of those left.
    Greedy,
}

impl std::str::FromStr for Search {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "exact" => Ok(Search::Exact),
            "greedy" => Ok(Search::Greedy),
            _ => Err("not 'exact' or 'greedy'".into()),
        }
    }
}

/// Smallest maximum eigenvalue averaging (SMEA): mean of the n − f rows whose covariance has the least top eigenvalue; of several such
/// subsets (equal to a relative 1e-12) the lexicographically smallest.
///
/// - Requirement: f < n/2. Exact to some 1e5 subsets C(n, f), by branch and bound; a search that takes too long is an error that
///   names the heuristic, `search=greedy`.
/// - Resilience: κ = 4f/(n−2f), λ = √(κ/2): any n − f rows share n − 2f with those kept, and have no less variance along the direction in which
///   it is greatest. None for the heuristic.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data.
/// - Source: Allouah et al., ICML 2023.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SmallestMaximumEigenvalueAveraging {
    /// How the subset is searched for.
    pub search: Search,
}

/// Steps after which the search is given up, an eigenpair of n rows each: a minute at worst.
fn most_nodes(n: usize) -> u64 {
    (3_000_000_000 / (n * n) as u64).min(2_000_000)
}

impl SmallestMaximumEigenvalueAveraging {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self {
            search: p
                .option("search", "`exact` (default) or `greedy`: f times the row farthest along the top eigenvector goes")?
                .unwrap_or_default(),
        })
    }
}

impl Rule for SmallestMaximumEigenvalueAveraging {
    fn name(&self) -> &'static str {
        "smea"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [(self.search == Search::Greedy).then(|| "search=greedy".into())])
    }
    fn definition(&self) -> &'static str {
        "mean of the n-f rows whose covariance has the least top eigenvalue"
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        self.kappa(n, f, d).lambda_from_kappa()
    }
    fn kappa(&self, n: usize, f: usize, _d: usize) -> Resilience {
        match self.search {
            Search::Exact => kappa_of_the_closest(n, f),
            Search::Greedy => Resilience::Unknown,
        }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(LeastEigenvalue { f: cohort.f, search: self.search })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let n = rows.len();
        let centred = |subset: &[usize]| -> Vec<Vec<f64>> {
            let mean = literal::mean(rows, subset);
            subset.iter().map(|&i| rows[i].iter().zip(&mean).map(|(x, m)| x - m).collect()).collect()
        };
        let shares = |m: usize| vec![1.0 / m as f64; m];
        let kept = match self.search {
            Search::Exact => {
                literal::least_subset(n, n - cohort.f, |subset| literal::top_eigenpair(&centred(subset), &shares(subset.len())).0)
            }
            Search::Greedy => {
                let mut left: Vec<usize> = (0..n).collect();
                for _ in 0..cohort.f {
                    let those = centred(&left);
                    let (_, vector) = literal::top_eigenpair(&those, &shares(left.len()));
                    let along: Vec<f64> = those.iter().map(|x| -literal::dot(x, &vector).powi(2)).collect();
                    left.remove(literal::least(&along, 1)[0]);
                }
                left
            }
        };
        literal::mean(rows, &kept)
    }
}

#[derive(Debug)]
struct LeastEigenvalue {
    f: usize,
    search: Search,
}

impl Solve for LeastEigenvalue {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let (n, keep) = (gram.n(), gram.n() - self.f);
        let found = match self.search {
            Search::Exact => least_eigenvalue(gram, keep, most_nodes(n)),
            Search::Greedy => greedy_eigenvalue(gram, keep),
        };
        if self.search == Search::Exact && !found.exact && found.nodes >= most_nodes(n) {
            let instead = "smea:search=greedy".into();
            return Err(Error::TooHard { rule: "smea".into(), n, f: self.f, steps: found.nodes, instead });
        }
        // Where rounding hides which subset is best, it is a close call.
        let margin = (self.search == Search::Exact && !found.exact).then_some(0.0);
        Ok(Solution { objective: Some(found.eigenvalue), margin, ..Solution::mean_of(&found.rows, n) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        // Without (9, 0) the largest variance is that along y.
        let rows = [vec![0.0, 1.0], vec![0.0, -1.0], vec![9.0, 0.0], vec![1.0, 0.0]];
        for search in [Search::Exact, Search::Greedy] {
            let smea = SmallestMaximumEigenvalueAveraging { search };
            let y = everyone(&rows, 1, |c| smea.reference(&rows, c));
            assert!((y[0] - 1.0 / 3.0).abs() < 1e-15 && y[1].abs() < 1e-15, "{y:?}");
        }
    }
}
