//! Nothing that computes something else is worth a measurement.

use super::data;
use crate::dtype::Dtype;
use crate::engine::Engine;
use crate::engines::execute::Options;
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::rules::Rule;

/// Columns of the check, more than one block of columns that engines sum in f32.
const COLUMNS: usize = 4200;

/// Columns of the sample, fewer than those of the check, so that the kernels of larger matrices run.
const SAMPLE: usize = 64;

/// Largest difference from the definition, relative to the largest coordinate.
const NEAR: f64 = 1e-4;

/// Columns in which a rounding may decide which of two values equally near a centre is kept; the result then lies among the rows' values.
const TIES: usize = COLUMNS / 1000;

/// Largest difference from the definition, as a share of its norm, where every coordinate is off by no more than one neighbour of a row could do:
/// of a thousand rows some have two equally near but for rounding, and with either of them the same mean of n − f.
const NEIGHBOUR: f64 = 1e-3;

/// Subsets of rows that a definition may enumerate here.
const SUBSETS: u128 = 500;

/// Rules whose definitions enumerate subsets of rows.
const ENUMERATING: [&str; 3] = ["mda", "mva", "smea"];

/// Holds a rule's aggregate of a small seeded matrix of n rows of that type against its literal definition in f64. Definitions that enumerate subsets
/// of rows are asked for a smaller f.
///
/// # Errors
/// [`Error::Disagrees`]; what [`Engine::aggregate`] refuses.
pub fn check(engine: &Engine, rule: &dyn Rule, (n, f): (usize, usize), dtype: Dtype, seed: u64) -> Result<()> {
    let engine = engine.clone().with_options(Options { sample: SAMPLE, ..engine.options() });
    let spec = rule.spec();
    let last = spec.rsplit('+').next().and_then(|stage| stage.split(':').next()).unwrap_or_default();
    let f = if ENUMERATING.contains(&last) { (0..=f).rev().find(|&f| subsets(n, f) <= SUBSETS).unwrap_or(0) } else { f };
    let mut values: Vec<f32> = data(n, COLUMNS, seed)?;
    // Rows of different size: among like rows two sets of neighbours may be equally good for every column at once.
    values.chunks_mut(COLUMNS).enumerate().for_each(|(i, row)| row.iter_mut().for_each(|v| *v *= 1.0 + i as f32 / n as f32));
    let words: Vec<Vec<u32>> = values.chunks(COLUMNS).map(|row| dtype.rounded(row)).collect();
    let rows = Rows::of_words(&words, COLUMNS, dtype);
    let got = engine.aggregate_blocking(rule, &rows, f)?.values;
    let expected = Engine::reference_f64(rule, &rows, f)?;
    let Some(column) = disagreement(&rows, f, &got, &expected) else { return Ok(()) };
    let (rule, device) = (spec, engine.name());
    Err(Error::Disagrees { rule, device, n, f, column, got: got[column].into(), expected: expected[column] })
}

/// The column in which an aggregate is farthest from what is expected, if that is not what roundings may do.
fn disagreement(rows: &Rows<'_>, f: usize, got: &[f32], expected: &[f64]) -> Option<usize> {
    let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let off = |k: usize| (f64::from(got[k]) - expected[k]).abs();
    let wrong: Vec<usize> = (0..got.len()).filter(|&k| off(k).is_nan() || off(k) > NEAR * largest).collect();
    let column = |k: usize| rows.iter().map(move |row| row[k]);
    let among_rows = |&k: &usize| column(k).any(|v| v <= got[k]) && column(k).any(|v| v >= got[k]);
    let neighbours_apart = |&k: &usize| {
        let spread = column(k).fold(f32::NEG_INFINITY, f32::max) - column(k).fold(f32::INFINITY, f32::min);
        off(k) <= f64::from(spread) / (rows.n() - f) as f64
    };
    let norm = |of: &dyn Fn(usize) -> f64| (0..got.len()).map(|k| of(k).powi(2)).sum::<f64>().sqrt();
    let near = norm(&off) <= NEIGHBOUR * norm(&|k| expected[k]);
    if wrong.len() <= TIES && wrong.iter().all(among_rows) || near && wrong.iter().all(neighbours_apart) {
        return None;
    }
    wrong.into_iter().max_by(|&a, &b| off(a).total_cmp(&off(b)))
}

/// C(n, f), held within range.
fn subsets(n: usize, f: usize) -> u128 {
    (0..f).fold(1, |count: u128, k| count.saturating_mul((n - k) as u128) / (k as u128 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::resilience::Resilience;
    use crate::rules::{Average, Cohort, TrimmedMean};

    /// Claims to be the trimmed mean and computes the average.
    #[derive(Debug)]
    struct Faulty;

    impl Rule for Faulty {
        fn name(&self) -> &'static str {
            "trimmed_mean"
        }
        fn definition(&self) -> &'static str {
            TrimmedMean.definition()
        }
        fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
            TrimmedMean.lambda(n, f, d)
        }
        fn plan(&self, cohort: &Cohort<'_>) -> Plan {
            Average.plan(cohort)
        }
        fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
            TrimmedMean.reference(rows, cohort)
        }
    }

    #[test]
    fn a_planted_fault_is_noticed() {
        let error = check(&Engine::cpu(), &Faulty, (15, 3), Dtype::F32, 1).unwrap_err();
        assert!(matches!(&error, Error::Disagrees { got, expected, .. } if got != expected), "{error}");
        let text = error.to_string();
        assert!(text.contains("trimmed_mean on cpu") && text.contains("by definition"), "{text}");
    }

    /// What roundings may do is borne, and no more than that.
    #[test]
    fn ties_are_told_from_faults() {
        let (n, f) = (20, 4);
        let values: Vec<f32> = data(n, COLUMNS, 1).unwrap();
        let rows = Rows::from_slice(&values, n, COLUMNS).unwrap();
        let expected = Engine::reference_f64(&TrimmedMean, &rows, f).unwrap();
        let moved = |columns: usize, by: f32| {
            let mut got: Vec<f32> = expected.iter().map(|v| *v as f32).collect();
            got[..columns].iter_mut().for_each(|v| *v += by);
            disagreement(&rows, f, &got, &expected)
        };
        // Columns span some 0.9, and a neighbour's share is a sixteenth.
        let size = (expected.iter().map(|v| v * v).sum::<f64>() / COLUMNS as f64).sqrt() as f32;
        assert_eq!([moved(0, 1.0), moved(TIES, 0.2), moved(COLUMNS, 5e-4 * size), moved(8, 0.01 * size)], [None; 4]);
        assert!(moved(TIES, 2.0).is_some() && moved(1, f32::NAN).is_some(), "among no rows");
        assert!(moved(8, 0.2).is_some() && moved(COLUMNS, 2e-3 * size).is_some(), "too far, too many");
    }

    #[test]
    fn every_rule_is_what_its_definition_says() {
        for rule in crate::bench::rules() {
            for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
                check(&Engine::cpu(), &*rule, (15, 3), dtype, 1).unwrap();
            }
        }
    }

    #[test]
    fn subsets_are_counted() {
        assert_eq!((subsets(15, 3), subsets(5, 0), subsets(51, 2)), (455, 1, 1275));
        assert!(subsets(1000, 500) > SUBSETS);
    }
}
