//! What a caller gives beside the matrix: weights of workers, a previous aggregate, a trusted row. And the diagnostics of coordinate rules.

use crate::agree::run;
use crate::check::{EPS, Failures, TINY, same_bits, within};
use crate::device::{engines, small_sample};
use crate::families::{self, Case, Random};
use crate::literal;
use resam::rules::{self, Average, CenteredClipping, FlTrust, GeometricMedian, Given, Median, Rule, TrimmedMean};
use resam::{Engine, Error, Options, Spec};
use std::sync::Arc;

fn weighted(rule: &dyn Rule, weights: &[f64]) -> Arc<dyn Rule> {
    rule.given(Given::Weights(Arc::from(weights))).expect("a rule with weights")
}

/// The size of a column's honest values.
fn size(case: &Case, k: usize) -> f64 {
    let far = case.family.starts_with("far") || case.family == "huge";
    let rows = if far { case.honest() } else { (0..case.n).collect() };
    rows.iter().map(|&i| f64::from(case.row(i)[k].abs())).fold(0.0, f64::max)
}

fn near(case: &Case, rule: &dyn Rule, engine: &Engine, accuracy: f64) -> Result<(), String> {
    let reference = Engine::reference_f64(rule, &case.rows(), case.f).map_err(|e| e.to_string())?;
    let got = run(engine, rule, case).map_err(|e| e.to_string())?;
    within(&got.values, &reference, |k| accuracy * size(case, k) + TINY)
}

#[test]
fn weighted_rules_follow_their_definitions() {
    let mut failures = Failures::default();
    let mut random = Random::new(44);
    for (n, f, d) in [(1, 0, 5), (2, 0, 70), (5, 1, 1), (8, 3, 130), (15, 3, 4100), (70, 9, 65)] {
        for family in ["gauss", "ties", "duplicates", "zeros", "far 1e12", "huge"] {
            let case = families::make(family, n, f, d, 3);
            let whole: Vec<f64> = (0..n).map(|_| random.index(1, 9) as f64).collect();
            let real: Vec<f64> = (0..n).map(|_| 0.1 + random.unit()).collect();
            for (name, engine) in engines() {
                let engine = small_sample(engine);
                for weights in [&whole, &real] {
                    let mut check = |rule: &dyn Rule, accuracy: f64| {
                        let result = near(&case, &*weighted(rule, weights), &engine, accuracy);
                        failures.note(|| format!("{name}, weighted {}, {weights:?}, {}", rule.name(), case.name()), result);
                    };
                    // A sum of n terms, of which each is rounded; far rows belong to an average's result.
                    check(&Median::default(), 2.0 * EPS);
                    check(&TrimmedMean, (n as f64 + 6.0) * EPS);
                    if !matches!(family, "far 1e12" | "huge") {
                        check(&Average, (n as f64 + 6.0) * EPS);
                    }
                    if !matches!(family, "ties" | "zeros" | "duplicates") {
                        check(&GeometricMedian::default(), 2e-4);
                    }
                    check(&CenteredClipping { tau: 0.7, iterations: 3, ..Default::default() }, 2e-4);
                }
            }
        }
    }
    failures.settle();
}

/// Counting every worker twice changes nothing; selected values keep their bits.
#[test]
fn equal_weights_are_no_weights() {
    let case = families::make("alie", 9, 2, 300, 1);
    for (name, engine) in engines() {
        let with = |rule: &dyn Rule| run(&engine, &*weighted(rule, &[2.0; 9]), &case).expect("an aggregate").values;
        let without = |rule: &dyn Rule| run(&engine, rule, &case).expect("an aggregate").values;
        same_bits(&with(&Median::default()), &without(&Median::default())).unwrap_or_else(|e| panic!("{name}: {e}"));
        for rule in [&TrimmedMean as &dyn Rule, &Average, &GeometricMedian::default(), &CenteredClipping::default()] {
            let wanted: Vec<f64> = without(rule).iter().map(|v| f64::from(*v)).collect();
            within(&with(rule), &wanted, |k| 20.0 * EPS * size(&case, k))
                .unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.name()));
        }
    }
}

/// Whatever weight a dropped row claims, the others keep theirs; huge ones that are kept decide.
#[test]
fn what_a_dropped_row_claims_is_of_no_effect() {
    for (n, f, d) in [(5, 1, 70), (15, 3, 200)] {
        let case = families::make("far 1e12", n, f, d, 5);
        let far: Vec<usize> = (0..n).filter(|&i| case.row(i)[0].abs() > 1e9).collect();
        assert_eq!(far.len(), f);
        let claimed = |claim: f64| {
            let weight = |i: usize| if far.contains(&i) { claim } else { 1.0 + (i * i % 7) as f64 / 3.0 };
            (0..n).map(weight).collect::<Vec<f64>>()
        };
        for (name, engine) in engines() {
            let with = |claim: f64| run(&engine, &*weighted(&TrimmedMean, &claimed(claim)), &case).expect("an aggregate").values;
            near(&case, &*weighted(&TrimmedMean, &claimed(1.0)), &engine, (n as f64 + 6.0) * EPS).expect("the definition");
            for claim in [5e-324, 1e-9, 1e9, 1e12, 1e300, 1e308, f64::MAX] {
                same_bits(&with(claim), &with(1.0)).unwrap_or_else(|e| panic!("{name}, n = {n}, a claim of {claim}: {e}"));
            }
            // Kept rows of weights that differ by sixteen orders.
            let weights: Vec<f64> = (0..n).map(|i| if far.contains(&i) { 1.0 } else { 10f64.powi((i % 3) as i32 * 8) }).collect();
            near(&case, &*weighted(&TrimmedMean, &weights), &engine, (n as f64 + 6.0) * EPS).expect("the definition");
        }
    }
}

/// A weight is a worker's: it goes when its row is left out.
#[test]
fn weights_follow_their_rows() {
    let mut case = families::make("gauss", 7, 2, 40, 9);
    let weights = [5.0, 1.0, 2.0, 1.0, 3.0, 1.0, 4.0];
    case.row_mut(2)[7] = f32::NAN;
    let left: Vec<f64> = weights.iter().enumerate().filter(|(i, _)| *i != 2).map(|(_, w)| *w).collect();
    for (name, engine) in engines() {
        for rule in [&GeometricMedian::default() as &dyn Rule, &CenteredClipping::default()] {
            let spoilt = run(&engine, &*weighted(rule, &weights), &case).expect("an aggregate");
            let without = run(&engine, &*weighted(rule, &left), &case.without(&[2])).expect("an aggregate");
            same_bits(&spoilt.values, &without.values).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.name()));
        }
    }
}

#[test]
fn what_a_rule_has_no_use_for_is_refused() {
    let takes = |rule: &dyn Rule, given: Given| match (matches!(given, Given::Weights(_)), rule.given(given)) {
        (_, Ok(_)) => true,
        (weights, Err(Error::Given { rule: named, .. })) => {
            // The name of a chain is its rule's, which may take the weights that the chain does not.
            assert_eq!(named, if weights { rule.spec() } else { rule.name().into() });
            false
        }
        (_, Err(other)) => panic!("{other}"),
    };
    for rule in rules::all() {
        let name = rule.name();
        let weights = ["average", "median", "trimmed_mean", "geometric_median", "centered_clipping"].contains(&name);
        assert_eq!(takes(&*rule, Given::Weights(Arc::from([1.0]))), weights, "{name}");
        assert_eq!(takes(&*rule, Given::Previous(Arc::from([1.0f32]))), name == "centered_clipping", "{name}");
        assert_eq!(takes(&*rule, Given::Trusted(0)), name == "fltrust", "{name}");
    }
    let chain = |text: &str| text.parse::<Spec>().expect(text).into_rule();
    assert!(!takes(&*chain("nnm+average"), Given::Weights(Arc::from([1.0]))));
    assert!(
        takes(&*chain("nnm+fltrust"), Given::Trusted(0))
            && takes(&*chain("arc+centered_clipping"), Given::Previous(Arc::from([1.0f32])))
    );

    let case = families::make("gauss", 5, 1, 3, 1);
    for (name, engine) in engines() {
        for wrong in [vec![1.0; 4], vec![1.0; 6]] {
            let error = run(&engine, &*weighted(&TrimmedMean, &wrong), &case).expect_err("a refusal").to_string();
            assert!(error.contains("number of weights") && error.contains('5'), "{name}: {error}");
        }
        for wrong in [vec![1.0f32; 2], vec![1.0, f32::INFINITY, 2.0]] {
            let rule = CenteredClipping { previous: Some(Arc::from(wrong)), ..Default::default() };
            assert!(matches!(run(&engine, &rule, &case), Err(Error::Parameter { .. })), "{name}");
        }
        for rule in [FlTrust { row: None }, FlTrust { row: Some(5) }] {
            assert!(matches!(run(&engine, &rule, &case), Err(Error::Parameter { .. })), "{name}");
        }
        // A row that is named but holds a NaN.
        let mut spoilt = case.clone();
        spoilt.row_mut(3)[1] = f32::NAN;
        assert!(matches!(run(&engine, &FlTrust { row: Some(3) }, &spoilt), Err(Error::Parameter { .. })), "{name}");
        assert!(matches!(run(&engine, &rules::Monna { pivot: 3 }, &spoilt), Err(Error::Parameter { .. })), "{name}");
    }
    assert!(Average.given(Given::Weights(Arc::from([1.0, -1.0]))).is_err());
}

/// Centered clipping from step to step, on rows the engine holds, alone and after pre-aggregations.
#[test]
fn clipping_goes_on_from_the_previous_aggregate() {
    let mut failures = Failures::default();
    for text in
        ["centered_clipping:tau=0.5,iterations=2", "nnm+centered_clipping:tau=0.5", "clipping:c=3+arc+centered_clipping:tau=1"]
    {
        let rule = text.parse::<Spec>().expect(text).into_rule();
        for (n, f, d) in [(5, 1, 3), (9, 2, 5000)] {
            for (name, engine) in engines() {
                let engine = small_sample(engine);
                let mut previous: Arc<[f32]> = Arc::from(families::make("gauss", 1, 0, d, 8).row(0).to_vec());
                for step in 0..3 {
                    let case = families::make(["gauss", "offset 1000", "far 1e12"][step], n, f, d, step as u64);
                    let rule = rule.given(Given::Previous(previous.clone())).expect("a rule with a start");
                    let result = near(&case, &*rule, &engine, 2e-4);
                    failures.note(|| format!("{name}, {text}, step {step}, {}", case.name()), result);
                    let matrix = engine.load_blocking(&case.rows()).expect("a matrix");
                    let resident = engine.aggregate_blocking(&*rule, &matrix, f).expect("an aggregate").values;
                    let streamed = run(&engine, &*rule, &case).expect("an aggregate").values;
                    failures.note(|| format!("{name}, {text}, resident"), same_bits(&resident, &streamed));
                    previous = Arc::from(streamed);
                }
            }
        }
    }
    failures.settle();
}

/// How often a worker lies outside of the values kept, counted from the definition.
#[test]
fn outside_is_counted() {
    let mut failures = Failures::default();
    let middle = |n: usize| (n - 1) / 2..n / 2 + 1;
    for (n, f, d) in [(5, 1, 70), (11, 2, 4100), (25, 7, 65), (33, 10, 65), (70, 12, 65)] {
        for family in ["gauss", "ties", "zeros"] {
            let case = families::make(family, n, f, d, 17);
            let kept_by = |spec: &str, column: Vec<f32>| -> Vec<f32> {
                match spec {
                    "median" => literal::ordered(column)[middle(n)].to_vec(),
                    "trimmed_mean" => literal::ordered(column)[f..n - f].to_vec(),
                    "meamed" => literal::nearest_median(column, n - f),
                    _ => literal::nearest_by_row(&column, f..n - f, n - f),
                }
            };
            for spec in ["median", "trimmed_mean", "meamed", "phocas"] {
                // Of tied values one is kept, and the count then depends on which.
                if family != "gauss" && spec == "phocas" {
                    continue;
                }
                let rule = spec.parse::<Spec>().expect(spec).into_rule();
                let mut expected = vec![Some(0u64); n];
                for k in 0..d {
                    let kept = literal::ordered(kept_by(spec, case.column(k)));
                    let (low, high) = (kept[0], kept[kept.len() - 1]);
                    for (i, v) in case.column(k).iter().enumerate() {
                        let outside = v.total_cmp(&low).is_lt() || v.total_cmp(&high).is_gt();
                        expected[i] = expected[i].map(|count| count + u64::from(outside));
                    }
                }
                for (name, engine) in engines() {
                    let asked = engine.clone().with_options(Options { diagnose: true, ..Options::default() });
                    let got = run(&asked, &*rule, &case).expect("an aggregate");
                    let result = if got.report.outside.as_ref() == Some(&expected) {
                        let plain = run(&engine, &*rule, &case).expect("an aggregate");
                        same_bits(&got.values, &plain.values)
                    } else {
                        Err(format!("{:?}, expected {expected:?}", got.report.outside))
                    };
                    failures.note(|| format!("{name}, {spec}, {}", case.name()), result);
                }
            }
        }
    }
    failures.settle();
    // Every other kind of coordinate pass says something, and a row far out is said to be outside nearly always.
    let mut case = families::make("gauss", 11, 2, 1000, 5);
    case.row_mut(4).iter_mut().for_each(|x| *x = 100.0 + x.abs());
    for (name, engine) in engines() {
        let asked = engine.with_options(Options { diagnose: true, ..Options::default() });
        let plain = ["sign_majority", "bulyan:picks=once", "nnm+median", "clipping:c=2+trimmed_mean"]
            .map(|s| s.parse::<Spec>().expect(s).into_rule());
        let counted = [weighted(&Median::default(), &[1.0; 11]), weighted(&TrimmedMean, &[3.0; 11])];
        for rule in plain.into_iter().chain(counted) {
            let outside = run(&asked, &*rule, &case).expect("an aggregate").report.outside.expect("counts");
            assert_eq!(outside.len(), 11);
            let said = outside[4].unwrap_or(u64::MAX);
            let enough = match rule.name() {
                "sign_majority" => 300,
                "bulyan" => u64::MAX,
                // Mixed rows are near each other.
                _ if rule.spec().contains('+') => 1,
                _ => 950,
            };
            assert!(said >= enough, "{name}, {}: {outside:?}", rule.spec());
        }
        let none = run(&asked, &rules::Krum::default(), &case).expect("an aggregate").report;
        assert_eq!(none.outside, None);
        assert!(
            run(&asked, &rules::MinimumDiameterAveraging, &case).expect("an aggregate").report.objective.is_some_and(|o| o > 0.0)
        );
    }
}
