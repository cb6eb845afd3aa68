use super::{NonFinite, Rule, coordinate_factor, literal};
use crate::plan::{Plan, Stat};

/// Mean around median (MeaMed): per coordinate, the mean of the n − f values nearest the median; of two equally near
/// values the lower one is kept.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = 2f/(n−f) · Δ with Δ = min{2√(n−f), √d}.
/// - Hostile input: each column is ordered by bits; NaN and infinite values are farther than any finite one.
/// - Cost: one read of the data. Which values are kept is decided exactly, so the kept sets are the same on every engine.
/// - Source: Xie, Koyejo and Gupta, 2018; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeaMed;

impl Rule for MeaMed {
    fn name(&self) -> &'static str {
        "meamed"
    }
    fn definition(&self) -> &'static str {
        "per coordinate: mean of the n-f values nearest the median (ties: the lower value)"
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Option<f64> {
        Some(2.0 * f as f64 / (n - f) as f64 * coordinate_factor(n, f, d))
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, n: usize, f: usize, _d: usize) -> Plan {
        Plan::Coordinate(Stat::NearestMedian { keep: n - f })
    }
    fn reference(&self, rows: &[Vec<f64>], f: usize) -> Vec<f64> {
        literal::per_coordinate(rows, |ordered| {
            let (n, keep) = (ordered.len(), ordered.len() - f);
            // 2c, as the exact sum of two f32 values when they are of comparable size; a difference of two distances,
            // v_hi + v_lo − 2c, is then compared with zero after exact summation.
            let (a, b) = (ordered[(n - 1) / 2], ordered[n / 2]);
            let (mut lo, mut hi) = (0, n);
            while hi - lo > keep {
                let farther = |v: f64| !v.is_finite();
                let drop_low =
                    farther(ordered[lo]) || !farther(ordered[hi - 1]) && exact_sign(&[a, b, -ordered[lo], -ordered[hi - 1]]) > 0;
                if drop_low { lo += 1 } else { hi -= 1 }
            }
            ordered[lo..hi].iter().map(|v| v / keep as f64).sum()
        })
    }
}

/// Sign of the exact sum of a few numbers: repeatedly replaces two of them by their sum and its rounding error until
/// nothing changes; the numbers then do not overlap and the largest one decides.
fn exact_sign(terms: &[f64]) -> i32 {
    let mut terms = terms.to_vec();
    loop {
        let before = terms.clone();
        for i in 1..terms.len() {
            let (x, y) = (terms[i - 1], terms[i]);
            let sum = x + y;
            let back = sum - x;
            terms[i - 1] = (x - (sum - back)) + (y - back);
            terms[i] = sum;
        }
        if terms == before {
            break;
        }
    }
    match terms.iter().rev().find(|t| **t != 0.0) {
        None => 0,
        Some(t) if *t > 0.0 => 1,
        Some(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples() {
        // Median 4; distances 3, 2, 0, 1, 96: the farthest is dropped.
        let rows = [vec![1.0], vec![2.0], vec![4.0], vec![5.0], vec![100.0]];
        assert_eq!(MeaMed.reference(&rows, 1), [3.0]);
        // Median 3; 1 and 5 are equally near: the lower one stays.
        let tie = [vec![1.0], vec![3.0], vec![5.0]];
        assert_eq!(MeaMed.reference(&tie, 1), [2.0]);
    }

    #[test]
    fn exact_sign_sees_below_the_last_bit() {
        assert_eq!(exact_sign(&[1.0, 1e-40, -1.0, 0.0]), 1);
        assert_eq!(exact_sign(&[1e30, -1e-40, -1e30, 0.0]), -1);
        assert_eq!(exact_sign(&[0.5, 0.25, -0.75, 0.0]), 0);
    }
}
