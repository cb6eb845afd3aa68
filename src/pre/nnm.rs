use super::PreAggregation;
use crate::error::Result;
use crate::geometry::{Geometry, Mixing};
use crate::gram::{Gram, gap};
use crate::parallel::of_rows;
use crate::plan::{DeviceSolve, Solution, Solve};
use crate::rules::literal;

/// Nearest-neighbor mixing (NNM): y_i = mean of the n − f rows nearest x_i, itself included; equally near rows go by index.
///
/// - Requirement: f < n/2.
/// - Resilience: κ of NNM before a rule F is 8f/(n−f) · (κ_F + 1): see [`kappa_after_nnm`](crate::resilience::kappa_after_nnm).
/// - Source: Allouah et al., AISTATS 2023.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearestNeighborMixing;

impl PreAggregation for NearestNeighborMixing {
    fn name(&self) -> &'static str {
        "nnm"
    }
    fn definition(&self) -> &'static str {
        "each row becomes the mean of the n-f rows nearest it, itself included"
    }
    fn solver(&self, n: usize, f: usize) -> Box<dyn Solve> {
        Box::new(Neighbors { keep: n - f })
    }
    fn reference(&self, rows: &[Vec<f64>], f: usize) -> Vec<Vec<f64>> {
        let nearest = |x: &Vec<f64>| {
            let distances: Vec<f64> = rows.iter().map(|y| literal::distance2(x, y)).collect();
            literal::mean(rows, &literal::least(&distances, rows.len() - f))
        };
        rows.iter().map(nearest).collect()
    }
}

#[derive(Debug)]
struct Neighbors {
    keep: usize,
}

impl Solve for Neighbors {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let found: Vec<(Vec<usize>, f64)> = of_rows(gram.n(), |i| nearest(gram, i, self.keep));
        let margin = found.iter().map(|(_, margin)| *margin).min_by(f64::total_cmp).filter(|_| self.keep < gram.n());
        let mixing = Mixing::means(found.iter().map(|(rows, _)| rows), gram.n());
        Ok(Solution { margin, ..Solution::new(mixing) })
    }
    fn on_device(&self) -> Option<DeviceSolve> {
        Some(DeviceSolve::Nearest { keep: self.keep })
    }
}

/// The `keep` rows nearest row i, and the relative gap to the next.
fn nearest(gram: &Gram, i: usize, keep: usize) -> (Vec<usize>, f64) {
    let distances: Vec<f64> = (0..gram.n()).map(|j| gram.distance2(i, j)).collect();
    let mut order: Vec<usize> = (0..gram.n()).collect();
    order.sort_unstable_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(a.cmp(&b)));
    let margin = order.get(keep).map_or(f64::INFINITY, |&next| gap(distances[order[keep - 1]], distances[next]));
    order.truncate(keep);
    (order, margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 3.0, 50.0].map(|v| vec![v]).to_vec();
        let third = 4.0 / 3.0;
        let mixed = NearestNeighborMixing.reference(&rows, 1);
        assert!(mixed.iter().zip([third, third, third, 18.0]).all(|(y, want)| (y[0] - want).abs() < 1e-14), "{mixed:?}");
    }
}
