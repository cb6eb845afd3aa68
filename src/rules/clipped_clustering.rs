use super::{Cohort, Rule, literal, spec_of, weighted};
use crate::error::Result;
use crate::geometry::{Geometry, Mixing, Wants};
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve};
use crate::resilience::Resilience;

/// How far two clusters are from each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Linkage {
    /// The mean distance of their rows.
    #[default]
    Average,
    /// The largest distance of their rows.
    Complete,
}

impl std::str::FromStr for Linkage {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "average" => Ok(Linkage::Average),
            "complete" => Ok(Linkage::Complete),
            _ => Err("not 'average' or 'complete'".into()),
        }
    }
}

/// Clipped clustering: rows longer than the median of the norms (odd or even n: by midpoint) are shortened to it; then clusters merge,
/// the two of least distance first, until two are left, with distance 1 − cosine between rows. The result is the mean of the shortened
/// rows of the larger cluster; of equally large ones that of row 0.
///
/// - Requirement: f < n/2. A zero row has no direction and is at distance 2 from all others.
/// - Resilience: none for any λ: two opposite groups of honest rows are told apart.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data; O(n³) on the table of cosines.
/// - Source: Li, Ngai and Voigt, IEEE TBD 2023 (there the median is over all norms since training began).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClippedClustering {
    /// How far two clusters are from each other.
    pub linkage: Linkage,
}

impl ClippedClustering {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self {
            linkage: p.option("linkage", "distance of two clusters: `average` (default) or `complete`")?.unwrap_or_default(),
        })
    }
}

impl Rule for ClippedClustering {
    fn name(&self) -> &'static str {
        "clipped_clustering"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [(self.linkage == Linkage::Complete).then(|| "linkage=complete".into())])
    }
    fn definition(&self) -> &'static str {
        "rows shortened to the median norm; mean of the larger of two clusters by cosine"
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unbounded { why: "two opposite groups of honest rows are told apart" }
    }
    fn plan(&self, _cohort: &Cohort<'_>) -> Plan {
        weighted(*self)
    }
    fn reference(&self, rows: &[Vec<f64>], _cohort: &Cohort<'_>) -> Vec<f64> {
        let norms: Vec<f64> = rows.iter().map(|x| literal::norm(x)).collect();
        let mut ordered = norms.clone();
        ordered.sort_by(f64::total_cmp);
        let limit = literal::median(&ordered);
        let distance = |i: usize, j: usize| match norms[i] * norms[j] {
            0.0 => 2.0,
            product => 1.0 - literal::dot(&rows[i], &rows[j]) / product,
        };
        // Clusters as lists of rows; their distances are computed from those of the rows each time.
        let mut clusters: Vec<Vec<usize>> = (0..rows.len()).map(|i| vec![i]).collect();
        while clusters.len() > 2 {
            let far = |a: &[usize], b: &[usize]| {
                let pairs: Vec<f64> = a.iter().flat_map(|&i| b.iter().map(move |&j| (i, j))).map(|(i, j)| distance(i, j)).collect();
                match self.linkage {
                    Linkage::Average => pairs.iter().sum::<f64>() / pairs.len() as f64,
                    Linkage::Complete => pairs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                }
            };
            let pairs = (0..clusters.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
            let nearest = pairs
                .map(|(a, b)| (far(&clusters[a], &clusters[b]), a, b))
                .min_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)).then(x.2.cmp(&y.2)));
            let Some((_, a, b)) = nearest else { break };
            let gone = clusters.remove(b);
            clusters[a].extend(gone);
        }
        let largest = if clusters.len() == 2 && clusters[1].len() > clusters[0].len() { &clusters[1] } else { &clusters[0] };
        let shortened: Vec<Vec<f64>> = rows
            .iter()
            .zip(&norms)
            .map(|(x, r)| x.iter().map(|v| v * if *r > limit { limit / r } else { 1.0 }).collect())
            .collect();
        literal::mean(&shortened, largest)
    }
}

impl Solve for ClippedClustering {
    fn wants(&self) -> Wants {
        // Small angles need distances between the rows, not from the origin alone.
        Wants::distances().and(Wants::norms())
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let (n, norms) = (geometry.n(), geometry.norms());
        let mut ordered = norms.clone();
        ordered.sort_unstable_by(f64::total_cmp);
        let limit = 0.5 * ordered[(n - 1) / 2] + 0.5 * ordered[n / 2];
        let distance = |i: usize, j: usize| {
            if norms[i] * norms[j] == 0.0 { 2.0 } else { one_less_cosine(geometry, &norms, i, j) }
        };
        let mut distances: Vec<f64> = (0..n * n).map(|k| distance(k / n, k % n)).collect();
        let mut clusters: Vec<Vec<usize>> = (0..n).map(|i| vec![i]).collect();
        let mut left: Vec<usize> = (0..n).collect();
        while left.len() > 2 {
            let pairs = left.iter().enumerate().flat_map(|(at, &b)| left[..at].iter().map(move |&a| (a, b)));
            let order = |x: &(usize, usize), y: &(usize, usize)| {
                distances[x.0 * n + x.1].total_cmp(&distances[y.0 * n + y.1]).then(x.cmp(y))
            };
            let Some((a, b)) = pairs.min_by(order) else { break };
            let (size_a, size_b) = (clusters[a].len() as f64, clusters[b].len() as f64);
            for &c in left.iter().filter(|&&c| c != a && c != b) {
                let (x, y) = (distances[a * n + c], distances[b * n + c]);
                let merged = match self.linkage {
                    Linkage::Average => (size_a * x + size_b * y) / (size_a + size_b),
                    Linkage::Complete => x.max(y),
                };
                distances[a * n + c] = merged;
                distances[c * n + a] = merged;
            }
            let gone = std::mem::take(&mut clusters[b]);
            clusters[a].extend(gone);
            left.retain(|&c| c != b);
        }
        let largest = left.iter().copied().max_by(|&a, &b| clusters[a].len().cmp(&clusters[b].len()).then(b.cmp(&a))).unwrap_or(0);
        let mut weights = vec![0.0; geometry.all.n()];
        let m = clusters[largest].len() as f64;
        for &i in &clusters[largest] {
            weights[i] = if norms[i] > limit { limit / norms[i] } else { 1.0 } / m;
        }
        if let Some(origin) = geometry.origin {
            weights[origin] = 1.0 - weights.iter().sum::<f64>();
        }
        Ok(Solution::new(Mixing::row(weights)))
    }
}

/// 1 − cos of the angle between two rows. Of nearly parallel rows, such as rows with a common offset, it is the part of their distance that
/// their lengths do not explain: (‖x − y‖² − (‖x‖ − ‖y‖)²) / 2‖x‖‖y‖. The difference from 1 would leave rounding.
fn one_less_cosine(geometry: &Geometry, norms: &[f64], i: usize, j: usize) -> f64 {
    let (all, product) = (&geometry.all, norms[i] * norms[j]);
    match geometry.origin {
        Some(o) if all.distance2(i, j) <= product => {
            let squares = (all.at(i, i) - all.at(j, j)) - 2.0 * (all.at(i, o) - all.at(j, o));
            let lengths = squares / (norms[i] + norms[j]);
            (all.distance2(i, j) - lengths * lengths).max(0.0) / product * 0.5
        }
        _ => 1.0 - geometry.cosine(i, j),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        // Three point right, two point left; the median norm is 3.
        let rows = [vec![2.0, 0.0], vec![-5.0, 0.1], vec![3.0, 0.0], vec![-4.0, 0.0], vec![1.0, 0.0]];
        for linkage in [Linkage::Average, Linkage::Complete] {
            let y = everyone(&rows, 2, |c| ClippedClustering { linkage }.reference(&rows, c));
            approx::assert_abs_diff_eq!(&y[..], &[2.0, 0.0][..], epsilon = 1e-12);
        }
    }
}
