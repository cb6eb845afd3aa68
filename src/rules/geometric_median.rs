use super::{Cohort, Fixed, Given, Rule, Weights, literal, per_coordinate, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::parameters::Parameters;
use crate::plan::{DeviceSolve, Mix, Plan, Solution, Solve, Stat, Weiszfeld};
use crate::resilience::{NNM, RESAM, Resilience, honest_ratio};
use crate::solve::weiszfeld;
use std::sync::Arc;

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

/// Geometric median (GM), converged: y = argmin Σ_i a_i ‖x_i − y‖ over all n rows, with weights a_i = 1 unless others are given.
/// Where it is not unique (n = 2, or an even number of rows on a line), the midpoint of the minimisers.
///
/// - Requirement: f < n/2; weights protect as long as no f rows carry half of their sum.
/// - Resilience: λ = 1 + √((n−f)² / (n(n−2f))).
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k); far rows up to 3e38 keep their small weight.
/// - Cost: two reads of the data with [`Method::Gram`]; one a round with [`Method::Direct`], which exists to check it and
///   for data that must not wait for the host, and takes no weights. In one dimension it is the median: one read.
/// - Source: Weiszfeld 1937; step at a row, Vardi and Zhang 2000; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GeometricMedian {
    /// Where the iteration runs.
    pub method: Method,
    /// One for each row; `None` for equal ones.
    pub weights: Option<Weights>,
}

impl GeometricMedian {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let meaning = "`gram` (default): solved on inner products; \
                       `direct`: Weiszfeld's iteration on the data itself, a read a round";
        Ok(Self { method: p.option("method", meaning)?.unwrap_or_default(), weights: None })
    }
}

impl Rule for GeometricMedian {
    fn name(&self) -> &'static str {
        "geometric_median"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [(self.method == Method::Direct).then(|| "method=direct".into())])
    }
    fn definition(&self) -> &'static str {
        "the point with the least sum of distances to all rows, converged"
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        self.weights.as_ref().map_or(Ok(()), |weights| weights.fit(self, cohort))
    }
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        match (given, self.method) {
            (Given::Weights(weights), Method::Gram) => Ok(Arc::new(Self { weights: Some(Weights::new(weights)?), ..self.clone() })),
            (Given::Weights(_), Method::Direct) => {
                Err(Error::Given { rule: self.spec(), what: "weights of workers; the default method does".into() })
            }
            (given, _) => Err(super::refused(self, &given)),
        }
    }
    fn lambda(&self, n: usize, f: usize, _d: usize) -> Resilience {
        if self.weights.is_some() {
            return Resilience::Unknown;
        }
        let (n, f) = (n as f64, f as f64);
        Resilience::proved(1.0 + ((n - f) * (n - f) / (n * (n - 2.0 * f))).sqrt(), RESAM)
    }
    fn kappa(&self, n: usize, f: usize, _d: usize) -> Resilience {
        if self.weights.is_some() {
            return Resilience::Unknown;
        }
        Resilience::published(4.0 * honest_ratio(n, f).powi(2), NNM)
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let n = cohort.n();
        match (&self.weights, self.method) {
            (Some(weights), _) if cohort.d == 1 => Plan { mix: Mix::Counted(weights.counts(cohort)), stat: Stat::CountedMedian },
            (Some(weights), _) => weighted(InnerProducts { weights: weights.of(cohort) }),
            (None, _) if n <= 2 => weighted(Fixed(vec![1.0; n])),
            (None, _) if cohort.d == 1 => per_coordinate(Stat::median(n)),
            (None, Method::Gram) => weighted(InnerProducts { weights: vec![1.0; n] }),
            (None, Method::Direct) => {
                Plan { mix: Mix::Weiszfeld(Weiszfeld { rounds: 500, tolerance: 1e-6 }), stat: Stat::Identity }
            }
        }
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let weights = self.weights.as_ref().map_or(vec![1.0; rows.len()], |w| w.of(cohort));
        if let Some(line) = middle_of_line(rows, &weights) {
            return line;
        }
        // A row is the minimiser when the unit vectors to the others sum to no more than the weight that is there.
        if let Some(row) = rows.iter().find(|x| {
            let (pull, here, _) = pulls(rows, &weights, x);
            literal::norm(&pull) <= here
        }) {
            return row.clone();
        }
        // Start at the coordinate-wise median, which f rows cannot move far.
        let mut y = literal::per_coordinate(rows, literal::median);
        for _ in 0..100_000 {
            // Weiszfeld's step y + Σ (x_i − y)/r_i / Σ 1/r_i over the rows elsewhere; shorter when rows are here (Vardi, Zhang).
            let (pull, here, inverse) = pulls(rows, &weights, &y);
            let share = (1.0 - here / literal::norm(&pull)).max(0.0);
            let before = y.clone();
            y.iter_mut().zip(&pull).for_each(|(y, p)| *y += share * p / inverse);
            if literal::distance2(&y, &before).sqrt() * inverse <= 1e-13 * weights.iter().sum::<f64>() {
                break;
            }
        }
        y
    }
}

/// At y: the weighted sum of the unit vectors to the rows elsewhere, the weight here, the weighted sum of the inverse distances.
fn pulls(rows: &[Vec<f64>], weights: &[f64], y: &[f64]) -> (Vec<f64>, f64, f64) {
    let (mut pull, mut here, mut inverse) = (vec![0.0; y.len()], 0.0, 0.0);
    for (x, a) in rows.iter().zip(weights) {
        let r = literal::distance2(x, y).sqrt();
        if r == 0.0 {
            here += a;
        } else {
            inverse += a / r;
            pull.iter_mut().zip(x.iter().zip(y)).for_each(|(p, (x, y))| *p += a * (x - y) / r);
        }
    }
    (pull, here, inverse)
}

/// Rows on one line: the weighted median along it where the weights split evenly there, and always in one dimension. A row is on the
/// line when its distance to it is below a thousandth of its distance to the row the line starts from, one near the
/// coordinate-wise median.
fn middle_of_line(rows: &[Vec<f64>], weights: &[f64]) -> Option<Vec<f64>> {
    let n = rows.len();
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
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| along[i].total_cmp(&along[j]));
    let half = weights.iter().sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (at, &i) in order.iter().enumerate() {
        below += weights[i];
        if below == half {
            return Some(literal::mean(rows, &[i, order[at + 1]]));
        }
        if below > half {
            return (rows[0].len() == 1).then(|| rows[i].clone());
        }
    }
    None
}

#[derive(Debug)]
struct InnerProducts {
    weights: Vec<f64>,
}

impl Solve for InnerProducts {
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        Ok(weiszfeld::geometric_median(&geometry.gram, &self.weights))
    }
    fn on_device(&self) -> Option<DeviceSolve> {
        self.weights.iter().all(|w| *w == self.weights[0]).then_some(DeviceSolve::LeastDistances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let at = |rows: &[Vec<f64>]| everyone(rows, 1, |c| GeometricMedian::default().reference(rows, c));
        assert_eq!(at(&[vec![0.0, 0.0], vec![5.0, 1.0], vec![-5.0, 1.0]]), [0.0, 0.0]);
        let line = [vec![0.0, 0.0], vec![1.0, 2.0], vec![3.0, 6.0], vec![10.0, 20.0]];
        assert_eq!(at(&line), [2.0, 4.0]);
        let weighted = |w: [f64; 4]| {
            let rule = GeometricMedian { weights: Some(Weights::new(Arc::from(w)).unwrap()), ..Default::default() };
            everyone(&line, 1, |c| rule.reference(&line, c))
        };
        assert_eq!(weighted([1.0, 1.0, 3.0, 1.0]), [3.0, 6.0]);
        assert_eq!(weighted([1.0, 3.0, 2.0, 2.0]), [2.0, 4.0]);
        let h = 3f64.sqrt();
        let y = at(&[vec![-1.0, 0.0], vec![1.0, 0.0], vec![0.0, h]]);
        assert!(y[0].abs() < 1e-9 && (y[1] - h / 3.0).abs() < 1e-9);
    }
}
