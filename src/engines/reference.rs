//! The reference engine: every rule by its literal definition in f64. Slow, one thread, no shared code with the other two.

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::rules::{NonFinite, Rule};

/// The aggregate in f64, and the rows that hold NaN or infinite values.
pub(crate) fn aggregate(rule: &dyn Rule, rows: &Rows, f: usize, absent: &[usize]) -> Result<(Vec<f64>, Vec<usize>)> {
    rule.check(rows.n(), f)?;
    let present: Vec<usize> = (0..rows.n()).filter(|i| !absent.contains(i)).collect();
    let non_finite: Vec<usize> = present.iter().copied().filter(|&i| rows.row(i).iter().any(|v| !v.is_finite())).collect();
    let left_out: Vec<usize> = match rule.non_finite() {
        NonFinite::LeaveOut => (0..rows.n()).filter(|i| absent.contains(i) || non_finite.contains(i)).collect(),
        NonFinite::Order | NonFinite::Propagate => absent.to_vec(),
    };
    let unusable = absent.len() + non_finite.len();
    let kept: Vec<Vec<f64>> =
        (0..rows.n()).filter(|i| !left_out.contains(i)).map(|i| rows.row(i).iter().map(|v| f64::from(*v)).collect()).collect();
    if kept.is_empty() || unusable > f && rule.non_finite() != NonFinite::Propagate {
        let mut rows = [absent, &non_finite].concat();
        rows.sort_unstable();
        return Err(Error::NonFinite { rule: rule.name().into(), rows, f });
    }
    let f = f.saturating_sub(left_out.len());
    if !left_out.is_empty() {
        rule.check(kept.len(), f)?;
    }
    Ok((if rows.d() == 0 { Vec::new() } else { rule.reference(&kept, f) }, non_finite))
}

/// m ← βm + (1−β)g, rounded once.
pub(crate) fn step(momentum: &mut [f32], gradient: &[f32], beta: f32) {
    for (m, g) in momentum.iter_mut().zip(gradient) {
        *m = (f64::from(beta) * f64::from(*m) + (1.0 - f64::from(beta)) * f64::from(*g)) as f32;
    }
}
