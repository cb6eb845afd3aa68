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

/// Rows that are unlike: those behind are the same again. Among a thousand unlike rows some have two neighbours equally near but for rounding, and
/// NNM may take either; which of two like rows it takes makes no difference.
const UNLIKE: usize = 256;

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
    (UNLIKE..n).for_each(|i| values.copy_within((i - UNLIKE) * COLUMNS..(i - UNLIKE + 1) * COLUMNS, i * COLUMNS));
    let words: Vec<Vec<u32>> = values.chunks(COLUMNS).map(|row| dtype.rounded(row)).collect();
    let rows = Rows::of_words(&words, COLUMNS, dtype);
    let got = engine.aggregate_blocking(rule, &rows, f)?.values;
    let expected = Engine::reference_f64(rule, &rows, f)?;
    let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let off = |k: usize| (f64::from(got[k]) - expected[k]).abs();
    let wrong: Vec<usize> = (0..COLUMNS).filter(|&k| off(k).is_nan() || off(k) > NEAR * largest).collect();
    let among_rows = |&k: &usize| rows.iter().any(|row| row[k] <= got[k]) && rows.iter().any(|row| row[k] >= got[k]);
    if wrong.len() <= TIES && wrong.iter().all(among_rows) {
        return Ok(());
    }
    let worst = wrong.into_iter().max_by(|&a, &b| off(a).total_cmp(&off(b))).unwrap_or(0);
    let (rule, device) = (spec, engine.name());
    Err(Error::Disagrees { rule, device, n, f, column: worst, got: got[worst].into(), expected: expected[worst] })
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

    #[test]
    fn every_rule_is_what_its_definition_says() {
        for rule in crate::bench::rules() {
            for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
                check(&Engine::cpu(), &*rule, (15, 3), dtype, 1).unwrap();
            }
        }
    }

    #[test]
    fn a_thousand_rows_are_checked() {
        let spec: crate::Spec = "nnm+median".parse().unwrap();
        check(&Engine::cpu(), spec.rule(), (1000, 100), Dtype::F32, 1).unwrap();
    }

    #[test]
    fn subsets_are_counted() {
        assert_eq!((subsets(15, 3), subsets(5, 0), subsets(51, 2)), (455, 1, 1275));
        assert!(subsets(1000, 500) > SUBSETS);
    }
}
