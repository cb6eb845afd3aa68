use super::{NonFinite, Rule, literal};
use crate::error::Result;
use crate::gram::Gram;
use crate::parameters::Parameters;
use crate::plan::{Plan, Solution, Solve, Stat, Weights, Weiszfeld};
use crate::solve::weiszfeld;

/// Where Weiszfeld's iteration runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    /// On the n × n inner products: one read of the data whatever the number of rounds, relative tolerance 1e-11.
    #[default]
    Gram,
    /// On the data: one read a round, no host round-trip, relative tolerance 1e-6, at most 500 rounds.
    Direct,
}

impl std::str::FromStr for Method {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "gram" => Ok(Method::Gram),
            "direct" => Ok(Method::Direct),
            _ => Err("not 'gram' or 'direct'".into()),
        }
    }
}

/// Geometric median (GM), converged: y = argmin Σ_i ‖x_i − y‖ over all n rows. Where it is not unique (n = 2, or an even
/// number of rows on a line), the midpoint of the minimisers.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = 1 + √((n−f)² / (n(n−2f))).
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k); far rows up to 3e38 keep their small weight.
/// - Cost: two reads of the data with [`Method::Gram`]; one a round with [`Method::Direct`], which exists to check it and
///   for data that must not wait for the host. In one dimension it is the median: one read.
/// - Source: Weiszfeld 1937; step at a row, Vardi and Zhang 2000; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GeometricMedian {
    /// Where the iteration runs.
    pub method: Method,
}

impl GeometricMedian {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { method: p.take("method")?.unwrap_or_default() })
    }
}

impl Rule for GeometricMedian {
    fn name(&self) -> &'static str {
        "geometric_median"
    }
    fn spec(&self) -> String {
        match self.method {
            Method::Gram => "geometric_median".into(),
            Method::Direct => "geometric_median:method=direct".into(),
        }
    }
    fn definition(&self) -> &'static str {
        "the point with the least sum of distances to all rows, converged"
    }
    fn lambda(&self, n: usize, f: usize, _d: usize) -> Option<f64> {
        let (n, f) = (n as f64, f as f64);
        Some(1.0 + ((n - f) * (n - f) / (n * (n - 2.0 * f))).sqrt())
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::LeaveOut
    }
    fn plan(&self, n: usize, _f: usize, d: usize) -> Plan {
        match self.method {
            _ if n <= 2 => Plan::Weighted(Weights::Uniform),
            _ if d == 1 => Plan::Coordinate(Stat::Ranks { from: (n - 1) / 2, to: n / 2 + 1 }),
            Method::Gram => Plan::Weighted(Weights::Solve(Box::new(InnerProducts))),
            Method::Direct => Plan::Weighted(Weights::Weiszfeld(Weiszfeld { rounds: 500, tolerance: 1e-6 })),
        }
    }
    fn reference(&self, rows: &[Vec<f64>], _f: usize) -> Vec<f64> {
        if rows[0].len() == 1 {
            return literal::per_coordinate(rows, literal::median);
        }
        if let Some(line) = midpoint_on_line(rows) {
            return line;
        }
        // A row is the minimiser when the unit vectors to the others sum to no more than its multiplicity.
        if let Some(row) = rows.iter().find(|x| {
            let (pull, here, _) = pulls(rows, x);
            literal::distance2(&pull, &vec![0.0; x.len()]).sqrt() <= here
        }) {
            return row.clone();
        }
        // Start at the coordinate-wise median, which f rows cannot move far.
        let mut y = literal::per_coordinate(rows, literal::median);
        for _ in 0..100_000 {
            // Weiszfeld's step y + Σ (x_i − y)/r_i / Σ 1/r_i over the rows elsewhere; shorter when rows are here (Vardi, Zhang).
            let (pull, here, inverse) = pulls(rows, &y);
            let strength = literal::distance2(&pull, &vec![0.0; y.len()]).sqrt();
            let share = (1.0 - here / strength).max(0.0);
            let before = y.clone();
            y.iter_mut().zip(&pull).for_each(|(y, p)| *y += share * p / inverse);
            if literal::distance2(&y, &before).sqrt() * inverse <= 1e-13 * rows.len() as f64 {
                break;
            }
        }
        y
    }
}

/// At y: the sum of the unit vectors to the rows elsewhere, the number of rows here, the sum of the inverse distances.
fn pulls(rows: &[Vec<f64>], y: &[f64]) -> (Vec<f64>, f64, f64) {
    let (mut pull, mut here, mut inverse) = (vec![0.0; y.len()], 0.0, 0.0);
    for x in rows {
        let r = literal::distance2(x, y).sqrt();
        if r == 0.0 {
            here += 1.0;
        } else {
            inverse += 1.0 / r;
            pull.iter_mut().zip(x.iter().zip(y)).for_each(|(p, (x, y))| *p += (x - y) / r);
        }
    }
    (pull, here, inverse)
}

/// An even number of rows on one line: the midpoint of the two middle ones. A row is on the line when its distance to it is
/// below a thousandth of its distance to the row the line starts from, one near the coordinate-wise median.
fn midpoint_on_line(rows: &[Vec<f64>]) -> Option<Vec<f64>> {
    let n = rows.len();
    if n % 2 == 1 {
        return None;
    }
    let centre = literal::per_coordinate(rows, literal::median);
    let to_centre: Vec<f64> = rows.iter().map(|x| literal::distance2(x, &centre)).collect();
    let a = &rows[literal::least(&to_centre, 1)[0]];
    let to_a: Vec<f64> = rows.iter().map(|x| -literal::distance2(x, a).sqrt()).collect();
    let end = literal::least(&to_a, 1)[0];
    if to_a[end] == 0.0 {
        return Some(a.clone());
    }
    let direction: Vec<f64> = rows[end].iter().zip(a).map(|(x, a)| (x - a) / -to_a[end]).collect();
    let mut along = Vec::with_capacity(n);
    for x in rows {
        let t: f64 = x.iter().zip(a).zip(&direction).map(|((x, a), u)| (x - a) * u).sum();
        let foot: Vec<f64> = a.iter().zip(&direction).map(|(a, u)| a + t * u).collect();
        if literal::distance2(x, &foot) > 1e-6 * literal::distance2(x, a) {
            return None;
        }
        along.push(t);
    }
    let order = literal::least(&along, n / 2);
    let last = *order.iter().max_by(|&&i, &&j| along[i].total_cmp(&along[j]))?;
    let next = (0..n).filter(|i| !order.contains(i)).min_by(|&i, &j| along[i].total_cmp(&along[j]))?;
    Some(literal::mean(rows, &[last, next]))
}

#[derive(Debug)]
struct InnerProducts;

impl Solve for InnerProducts {
    fn solve(&self, gram: &Gram) -> Solution {
        weiszfeld::geometric_median(gram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        let gm = GeometricMedian::default();
        let corner = vec![vec![0.0, 0.0], vec![5.0, 1.0], vec![-5.0, 1.0]];
        assert_eq!(gm.reference(&corner, 1), [0.0, 0.0]);
        let line = vec![vec![0.0, 0.0], vec![1.0, 2.0], vec![3.0, 6.0], vec![10.0, 20.0]];
        assert_eq!(gm.reference(&line, 1), [2.0, 4.0]);
        let h = 3f64.sqrt();
        let y = gm.reference(&[vec![-1.0, 0.0], vec![1.0, 0.0], vec![0.0, h]], 1);
        assert!(y[0].abs() < 1e-9 && (y[1] - h / 3.0).abs() < 1e-9);
    }
}
