//! Distances from inner products: their accuracy on hard inputs, and rows that hide from the sample which picks the pivot.

use crate::agree::{core_rules, named_row, parsed, run, verify};
use crate::check::{EPS, Failures, same_bits, same_rows, within};
use crate::device::{SAMPLE, engines, small_sample};
use crate::families::{self, Case, Random};
use crate::hostile::{PAYLOADS, verify_spoilt};
use crate::literal;
use resam::rules::{Krum, NonFinite, Rule};
use resam::{Engine, Options};
use std::sync::Arc;

/// Rules that need distances.
fn rules_on_distances() -> Vec<Arc<dyn Rule>> {
    let more = parsed(&["medoid", "monna:pivot=1", "mva", "smea", "caf", "nnm+median", "nnm+krum", "nnm+arc+geometric_median"]);
    core_rules().into_iter().filter(|rule| rule.non_finite() == NonFinite::LeaveOut).chain(more).collect()
}

/// Relative accuracy of a squared distance: the products of 4096 columns are summed in f32 in at least eight parts, so that a sum
/// of equal terms, the worst, is rounded 512 times in one direction.
const SCORES: f64 = 512.0 * EPS;

/// Krum's scores in the report against squared distances from differences in f64.
fn scores_are_accurate(label: &str, engine: &Engine, case: &Case) -> Result<bool, String> {
    let got = run(engine, &Krum::default(), case).map_err(|e| e.to_string())?;
    let exact = literal::scores(&literal::distances2(&(0..case.n).map(|i| case.row(i)).collect::<Vec<_>>()), case.n - case.f - 1);
    let scores = got.report.scores.ok_or("no scores in the report")?;
    same_rows("scores", &[scores.len()], &[case.n])?;
    for (i, (score, exact)) in scores.iter().zip(&exact).enumerate() {
        let score = score.ok_or(format!("no score for row {i}"))?;
        let error = (score - exact).abs();
        if error.is_nan() || error > SCORES * exact {
            return Err(format!("{label}: score {i} is {score:e}, expected {exact:e}: relative error {:e}", error / exact));
        }
    }
    Ok(got.report.hidden_row)
}

/// Families whose rows look alike in every part of the columns: nothing hides, so no third read.
const PLAIN: [&str; 10] =
    ["gauss", "alie", "foe", "offset 1000", "offset 1e4", "far 1e12", "far 1e30", "huge", "near equal", "column scales"];

#[test]
fn scores_on_hard_families() {
    let mut failures = Failures::default();
    for family in PLAIN {
        for (n, f, d) in [(5, 1, 9000), (9, 3, 4097), (26, 6, 5000)] {
            let case = families::make(family, n, f, d, 77);
            for (name, engine) in engines() {
                // The kernel centred on a row, and (all columns in the sample) the host's products centred on the median.
                for sample in [SAMPLE, 8192] {
                    let engine = engine.clone().with_options(Options { sample, ..Options::default() });
                    let label = format!("{name}, sample {sample}, {}", case.name());
                    let result = scores_are_accurate(&label, &engine, &case);
                    let result = result.and_then(|hidden| if hidden { Err("a row is said to hide".into()) } else { Ok(()) });
                    failures.note(|| label.clone(), result);
                }
            }
        }
    }
    failures.settle();
}

/// Rows about the origin while the central ones are far from it: what is small beside them decides where norms come in. To a few
/// roundings of the result's own size.
#[test]
fn short_rows_beside_long_ones() {
    let mut failures = Failures::default();
    let specs = [
        "rfa",
        "rfa:iterations=9,nu=0.001",
        "centered_clipping",
        "centered_clipping:tau=0.1,iterations=5",
        "clipping:c=0.5+rfa",
        "clipping:c=1+krum",
        "clipping:c=1+geometric_median",
        "clipping:c=1+mda",
        "clipping:c=1+nnm+krum",
        "clipping:c=1+aksel",
        "arc+multi_krum",
        "arc+geometric_median",
        "arc+nnm+aksel",
        "nnm+clipping:c=1+median",
        "fltrust:row=1",
        "cge",
    ];
    for (n, f, d) in [(7, 1, 300), (9, 4, 5000), (15, 3, 130)] {
        for offset in [30.0, 3000.0, 2e5, 1e12] {
            for short in [1e-3, 0.5, 170.0] {
                let mut case = families::make("gauss", n, f, d, 0x50);
                let directions: Vec<f32> = (0..d).map(|k| if case.row(0)[k] > 0.0 { 1.0 } else { -1.0 }).collect();
                for i in 0..n {
                    let is_short = case.byzantine.contains(&i);
                    let length = short as f32 / (d as f32).sqrt();
                    case.row_mut(i).iter_mut().zip(&directions).for_each(|(x, sign)| {
                        *x = if is_short { *x * length } else { offset as f32 * sign + *x };
                    });
                }
                for rule in parsed(&specs) {
                    let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
                    let size = reference.iter().map(|v| v.abs()).fold(0.0, f64::max);
                    for (name, engine) in engines() {
                        let result = run(&small_sample(engine), &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                            match within(&got.values, &reference, |_| 3e-6 * size) {
                                Err(_) if got.report.close_call() => Ok(()),
                                result => result,
                            }
                        });
                        failures.note(|| format!("{name}, {}, {short:e} beside {offset:e}, {}", rule.spec(), case.name()), result);
                    }
                }
            }
        }
    }
    failures.settle();
}

/// First column of a run of columns in which hidden values are put.
const HIDDEN: usize = 9_987;
const WIDTH: usize = 20_000;

/// Byzantine rows that are the mean of the honest ones, as central as can be, but for a few columns out of many.
fn hiding(n: usize, f: usize, size: f32, columns: usize) -> Case {
    let mut case = families::make("gauss", n, f, WIDTH, 5);
    let honest = case.honest();
    for k in 0..WIDTH {
        let mean = honest.iter().map(|&i| case.row(i)[k]).sum::<f32>() / honest.len() as f32;
        for (at, i) in case.byzantine.clone().into_iter().enumerate() {
            let hidden = (HIDDEN..HIDDEN + columns).contains(&k);
            case.row_mut(i)[k] = if hidden { size * if (at + k) % 2 == 0 { 1.0 } else { -1.0 } } else { mean };
        }
    }
    case.family = "hiding";
    case
}

#[test]
fn rows_that_hide_from_the_sample() {
    let mut failures = Failures::default();
    for (n, f) in [(5, 2), (9, 2)] {
        for (size, columns) in [(1e4, 40), (1e9, 3), (1e20, 1), (3.3e38, 2), (-3.3e38, 200)] {
            let case = hiding(n, f, size, columns);
            for rule in rules_on_distances() {
                if rule.check(n, f).is_err() {
                    continue;
                }
                let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
                for (name, engine) in engines() {
                    let result = run(&small_sample(engine), &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                        verify(&*rule, &case, &reference, &got)?;
                        if !got.report.hidden_row {
                            return Err("the report says that nothing hid".into());
                        }
                        let direct = rule.spec().ends_with("direct");
                        if got.report.passes > if direct { 1002 } else { 3 } {
                            return Err(format!("{} reads", got.report.passes));
                        }
                        Ok(())
                    });
                    failures.note(|| format!("{name}, {}, {size:e} in {columns} columns, {}", rule.spec(), case.name()), result);
                }
            }
            for (name, engine) in engines() {
                let label = format!("{name}, scores, {size:e} in {columns} columns, {}", case.name());
                let result = scores_are_accurate(&label, &small_sample(engine), &case);
                failures.note(|| label.clone(), result.and_then(|hidden| if hidden { Ok(()) } else { Err("nothing hid".into()) }));
            }
        }
    }
    failures.settle();
}

/// NaN and infinities outside of the sample, alone and with others inside it.
#[test]
fn values_that_are_not_finite_outside_of_the_sample() {
    let mut failures = Failures::default();
    for (n, f, k, also_seen) in [(5, 2, 1, false), (5, 2, 2, true), (9, 3, 3, false), (9, 3, 3, true)] {
        let mut case = families::make("gauss", n, f, WIDTH, 8);
        let bad = Random::new(k as u64).choose(n, k);
        for (at, &i) in bad.iter().enumerate() {
            case.row_mut(i)[HIDDEN + at] = f32::from_bits(PAYLOADS[at % PAYLOADS.len()]);
            if also_seen && at == 0 {
                case.row_mut(i).fill(f32::NAN);
            }
        }
        for rule in rules_on_distances() {
            if rule.check(n, f).is_err() || named_row(&*rule).is_some_and(|row| bad.contains(&row)) {
                continue;
            }
            for (name, engine) in engines() {
                let engine = small_sample(engine);
                let result = run(&engine, &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                    verify_spoilt(&*rule, &case, &bad, &got)?;
                    if rule.spec().starts_with("krum") {
                        let without = run(&engine, &*rule, &case.without(&bad)).map_err(|e| e.to_string())?;
                        same_bits(&got.values, &without.values)?;
                    }
                    let direct = rule.spec().ends_with("direct");
                    if !direct && got.report.passes > 3 { Err(format!("{} reads", got.report.passes)) } else { Ok(()) }
                });
                failures.note(|| format!("{name}, {}, {k} rows bad, {}", rule.spec(), case.name()), result);
            }
            // One more than f: all are named, those outside of the sample, too.
            let mut worse = case.clone();
            let more = Random::new(99).choose(n, f + 1);
            for &i in &more {
                worse.row_mut(i)[HIDDEN] = f32::INFINITY;
            }
            let mut all = [&bad[..], &more].concat();
            all.sort_unstable();
            all.dedup();
            let expected = resam::Error::NonFinite { rule: rule.name().into(), rows: all, f };
            for (name, engine) in engines() {
                let got = run(&small_sample(engine), &*rule, &worse).map(|got| got.report.rule);
                let result = if got == Err(expected.clone()) { Ok(()) } else { Err(format!("{got:?}, expected {expected:?}")) };
                failures.note(|| format!("{name}, {}, too many bad rows, {}", rule.spec(), case.name()), result);
            }
        }
    }
    failures.settle();
}

/// Samples that say nothing, or the wrong scale: still right, and in three reads at most.
#[test]
fn samples_that_mislead() {
    let mut failures = Failures::default();
    for family in ["gauss", "far 1e12", "huge", "offset 1e4"] {
        for outside in [0.0f32, 1e-35, 1e-20] {
            let (n, f) = (7, 2);
            let mut case = families::make(family, n, f, 6000, 4);
            // Only a few columns have values of the family's size; elsewhere rows are zero or tiny.
            for i in 0..n {
                case.row_mut(i).iter_mut().enumerate().for_each(|(k, x)| {
                    if !(2990..3100).contains(&k) {
                        *x = outside * x.clamp(-9.0, 9.0);
                    }
                });
            }
            for rule in rules_on_distances() {
                let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
                for (name, engine) in engines() {
                    let result = run(&small_sample(engine), &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                        verify(&*rule, &case, &reference, &got)?;
                        let direct = rule.spec().ends_with("direct");
                        if !direct && got.report.passes > 3 { Err(format!("{} reads", got.report.passes)) } else { Ok(()) }
                    });
                    failures.note(|| format!("{name}, {}, {outside:e} outside, {}", rule.spec(), case.name()), result);
                }
            }
        }
    }
    failures.settle();
}

/// The sample's seed changes what is looked at, not the result.
#[test]
fn any_seed_will_do() {
    let case = families::make("alie", 9, 2, 5000, 6);
    for rule in rules_on_distances() {
        let reference = Engine::reference_f64(&*rule, &case.rows(), 2).expect("a reference");
        for seed in 0..5 {
            for (name, engine) in engines() {
                let engine = engine.with_options(Options { seed, sample: SAMPLE, ..Options::default() });
                let got = run(&engine, &*rule, &case).expect("an aggregate");
                verify(&*rule, &case, &reference, &got).unwrap_or_else(|e| panic!("{name}, {}, seed {seed}: {e}", rule.spec()));
            }
        }
    }
}
