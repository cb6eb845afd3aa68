//! Properties that follow from the definitions, and the inequality that resilience is.

use crate::agree::{core_rules, parsed, run};
use crate::check::{EPS, Failures, TINY, same_bits, same_rows, within};
use crate::device::engines;
use crate::families::{self, Case, Random};
use crate::literal;
use resam::Engine;
use resam::rules::{Rule, TrimmedMean};

/// The matrix with its rows in another order; row i becomes row `to[i]`.
fn permuted(case: &Case, to: &[usize]) -> Case {
    let mut other = case.clone();
    for (i, &j) in to.iter().enumerate() {
        other.row_mut(j).copy_from_slice(case.row(i));
    }
    other
}

fn map(case: &Case, change: impl Fn(usize, f32) -> f32) -> Case {
    let data = case.data.iter().enumerate().map(|(at, x)| change(at % case.d, *x)).collect();
    Case { data, ..case.clone() }
}

/// The size of what a result is made of, column by column: the largest of the values without the far rows.
fn sizes(case: &Case) -> Vec<f64> {
    let honest = case.honest();
    (0..case.d).map(|k| honest.iter().map(|&i| f64::from(case.row(i)[k].abs())).fold(0.0, f64::max)).collect()
}

/// Accuracy of two runs of one rule against each other, relative to the size of the values.
fn accuracy(rule: &dyn Rule, n: usize) -> f64 {
    match rule.spec().as_str() {
        "geometric_median" => 1e-5,
        "geometric_median:method=direct" => 1e-3,
        _ => 2.0 * (n as f64 + 8.0) * EPS,
    }
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let mut failures = Failures::default();
    let mut random = Random::new(2);
    for family in ["gauss", "alie", "far 1e12", "wide"] {
        for (n, f, d) in [(5, 1, 65), (8, 3, 200), (15, 3, 20)] {
            let case = families::make(family, n, f, d, 8);
            let mut to: Vec<usize> = (0..n).collect();
            for i in (1..n).rev() {
                to.swap(i, random.index(0, i as i64 + 1) as usize);
            }
            let other = permuted(&case, &to);
            for rule in core_rules() {
                if rule.check(n, f).is_err() {
                    continue;
                }
                for (name, engine) in engines() {
                    let [a, b] = [&case, &other].map(|case| run(&engine, &*rule, case).expect("an aggregate"));
                    let result = match (rule.name(), &a.report.kept) {
                        ("krum", _) => same_bits(&b.values, &a.values),
                        ("median", _) if n % 2 == 1 => same_bits(&b.values, &a.values),
                        // The CPU's sums in f64 are rounded once; the GPU's depend on the order of the terms.
                        ("median" | "trimmed_mean" | "meamed", _) if name == "cpu" => same_bits(&b.values, &a.values),
                        ("average" | "geometric_median", _) | (_, None) => Ok(()),
                        // The Byzantine rows are equal: which of them is kept depends on the order.
                        _ if family == "alie" => Ok(()),
                        (_, Some(kept)) => {
                            let mut kept: Vec<usize> = kept.iter().map(|&i| to[i]).collect();
                            kept.sort_unstable();
                            same_rows("kept", b.report.kept.as_deref().unwrap_or(&[]), &kept)
                        }
                    };
                    // The average is made of all rows, far ones included.
                    let all = Case { byzantine: Vec::new(), ..case.clone() };
                    let sizes = if rule.name() == "average" { sizes(&all) } else { sizes(&case) };
                    let wanted: Vec<f64> = a.values.iter().map(|v| f64::from(*v)).collect();
                    let near = |k: usize| accuracy(&*rule, n) * sizes[k] + n as f64 * TINY;
                    let result = result.and_then(|()| if family == "wide" { Ok(()) } else { within(&b.values, &wanted, near) });
                    failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
                }
            }
        }
    }
    failures.settle();
}

/// F(2ᵖx) = 2ᵖF(x) to the bit, F(−x) = −F(x) for rules that prefer no side, F(x + t) = F(x) + t where t is exact.
#[test]
fn scaling_and_translation() {
    let mut failures = Failures::default();
    for (n, f, d) in [(5, 2, 65), (8, 2, 200)] {
        // Multiples of 1/1024 below 8, so that adding 4 or −100 is exact.
        let case = map(&families::make("alie", n, f, d, 18), |_, x| (x.clamp(-7.9, 7.9) * 1024.0).round() / 1024.0);
        for rule in core_rules() {
            if rule.check(n, f).is_err() {
                continue;
            }
            for (name, engine) in engines() {
                let result = |case: &Case| run(&engine, &*rule, case).expect("an aggregate").values;
                let plain = result(&case);
                let wanted: Vec<f64> = plain.iter().map(|v| f64::from(*v)).collect();
                for power in [-40i32, -3, 1, 25, 60] {
                    let factor = 2f32.powi(power);
                    let got = result(&map(&case, |_, x| x * factor));
                    let scaled: Vec<f64> = wanted.iter().map(|v| v * f64::from(factor)).collect();
                    let near = |_: usize| accuracy(&*rule, n) * 8.0 * f64::from(factor);
                    failures
                        .note(|| format!("{name}, {}, times 2^{power}, {}", rule.spec(), case.name()), within(&got, &scaled, near));
                }
                for shift in [4.0f32, -100.0] {
                    let got = result(&map(&case, |k, x| x + shift * [1.0, -1.0, 0.5][k % 3]));
                    let moved: Vec<f64> =
                        wanted.iter().enumerate().map(|(k, v)| v + f64::from(shift) * [1.0, -1.0, 0.5][k % 3]).collect();
                    let near = |_: usize| accuracy(&*rule, n) * 16.0 + 4.0 * EPS * f64::from(shift.abs());
                    failures.note(|| format!("{name}, {}, plus {shift}, {}", rule.spec(), case.name()), within(&got, &moved, near));
                }
            }
        }
    }
    failures.settle();
}

/// How far away a far row is does not matter to the rules that drop it.
#[test]
fn far_rows_are_dropped_wherever_they_are() {
    let mut failures = Failures::default();
    for (n, f, d) in [(5, 1, 65), (9, 3, 130)] {
        let far = |size: f32| {
            let mut case = families::make("gauss", n, f, d, 28);
            for i in case.byzantine.clone() {
                case.row_mut(i).iter_mut().for_each(|x| *x = if *x < 0.0 { -size } else { size });
            }
            case
        };
        for rule in core_rules() {
            if rule.check(n, f).is_err() || matches!(rule.name(), "average" | "geometric_median") {
                continue;
            }
            for (name, engine) in engines() {
                let near = run(&engine, &*rule, &far(1e4)).expect("an aggregate");
                for size in [1e9, 1e20, 3.4e38] {
                    let got = run(&engine, &*rule, &far(size)).expect("an aggregate");
                    failures.note(|| format!("{name}, {}, {size:e}", rule.spec()), same_bits(&got.values, &near.values));
                }
            }
        }
    }
    failures.settle();
}

/// Equal honest rows: the result is that row, whatever the others are.
#[test]
fn equal_honest_rows_win() {
    let mut failures = Failures::default();
    for (n, f, d) in [(3, 1, 65), (5, 2, 65), (9, 4, 130), (15, 3, 20)] {
        for size in [1.0, 1e4, 1e30] {
            let mut case = families::make("gauss", n, f, d, 38);
            let honest = case.honest();
            let row = case.row(honest[0]).to_vec();
            honest.iter().for_each(|&i| case.row_mut(i).copy_from_slice(&row));
            case.byzantine.clone().iter().for_each(|&i| case.row_mut(i).iter_mut().for_each(|x| *x *= size));
            let wanted: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            for rule in core_rules() {
                if rule.check(n, f).is_err() || rule.lambda(n, f, d).value().is_none() {
                    continue;
                }
                for (name, engine) in engines() {
                    let got = run(&engine, &*rule, &case).expect("an aggregate").values;
                    // The direct iteration only approaches a row.
                    let error = if rule.spec().ends_with("direct") { 1e-4 } else { (n as f64 + 2.0) * EPS };
                    let bound = |k: usize| error * wanted[k].abs().max(f64::from(u8::from(error > 1e-5))) + TINY;
                    failures.note(|| format!("{name}, {}, {size:e}, {}", rule.spec(), case.name()), within(&got, &wanted, bound));
                }
            }
        }
    }
    failures.settle();
}

/// max over S of ‖F(x) − mean_S‖ / diam(S), S of n − f rows. `None` where only the diameter is zero.
fn ratio(engine: &Engine, rule: &dyn Rule, case: &Case, subsets: &[Vec<usize>]) -> f64 {
    let y = engine.aggregate_blocking(rule, &case.rows(), case.f).expect("an aggregate").values;
    let d2 = literal::distances2(&(0..case.n).map(|i| case.row(i)).collect::<Vec<_>>());
    let size = case.data.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let of = |s: &Vec<usize>| {
        let off = (0..case.d).map(|k| {
            let mean = literal::mean(s.iter().map(|&i| f64::from(case.row(i)[k])));
            (f64::from(y[k]) - mean).powi(2)
        });
        // What rounding alone can do is no violation.
        let off = (off.sum::<f64>().sqrt() - 64.0 * EPS * size).max(0.0);
        let diameter = literal::diameter2(&d2, s).sqrt();
        if off == 0.0 { 0.0 } else { off / diameter }
    };
    subsets.iter().map(of).fold(0.0, f64::max)
}

/// Climbs from random starts towards inputs that move the rule as far as they can, and returns the largest ratio to λ seen.
fn search(engine: &Engine, rule: &dyn Rule, (n, f, d): (usize, usize, usize), random: &mut Random, tries: usize) -> (f64, Case) {
    let subsets = literal::subsets(n, n - f);
    let mut best: Option<(f64, Case)> = None;
    for start in 0..3 {
        let point = |random: &mut Random| if start == 1 { random.index(-1, 2) as f32 } else { random.normal() as f32 };
        let data = (0..n * d).map(|_| point(random)).collect();
        let mut here = Case { family: "search", n, f, d, byzantine: Vec::new(), data };
        let mut worst = ratio(engine, rule, &here, &subsets);
        for step in 0..tries {
            let mut there = here.clone();
            match random.index(0, 4) {
                // One value, one row, one row onto another, or one row far away.
                0 => {
                    let at = random.index(0, (n * d) as i64) as usize;
                    there.data[at] += (random.normal() * 0.5f64.powi((step * 8 / tries) as i32)) as f32;
                }
                1 => {
                    let i = random.index(0, n as i64) as usize;
                    let size = 0.5f64.powi((step * 8 / tries) as i32);
                    there.row_mut(i).iter_mut().for_each(|x| *x += (random.normal() * size) as f32);
                }
                2 => {
                    let [i, j] = [0, 1].map(|_| random.index(0, n as i64) as usize);
                    let row = there.row(j).to_vec();
                    there.row_mut(i).copy_from_slice(&row);
                }
                _ => {
                    let i = random.index(0, n as i64) as usize;
                    there.row_mut(i).iter_mut().for_each(|x| *x *= 10.0);
                }
            }
            if there.data.iter().any(|v| v.abs() > 1e6) {
                continue;
            }
            let found = ratio(engine, rule, &there, &subsets);
            if found >= worst {
                (here, worst) = (there, found);
            }
        }
        if best.as_ref().is_none_or(|(r, _)| worst > *r) {
            best = Some((worst, here));
        }
    }
    best.expect("three starts")
}

#[test]
fn no_input_beats_lambda() {
    let mut failures = Failures::default();
    let mut random = Random::new(6);
    let engine = Engine::cpu();
    for rule in core_rules().into_iter().chain(parsed(&["phocas", "mva", "smea", "nnm+krum", "nnm+median"])) {
        for (n, f) in [(3, 1), (4, 1), (5, 1), (5, 2), (6, 2), (7, 2), (7, 3)] {
            if rule.check(n, f).is_err() {
                continue;
            }
            for d in [1, 2, 3, 5] {
                let Some(lambda) = rule.lambda(n, f, d).value() else { continue };
                let direct = rule.spec().ends_with("direct");
                let (worst, case) = search(&engine, &*rule, (n, f, d), &mut random, if direct { 15 } else { 120 });
                let slack = 1.0 + if direct { 1e-2 } else { 1e-4 };
                let result =
                    if worst <= lambda * slack { Ok(()) } else { Err(format!("{worst} beats λ = {lambda}: {:?}", case.data)) };
                failures.note(|| format!("{}, (n, f, d) = ({n}, {f}, {d})", rule.spec()), result);
            }
        }
    }
    failures.settle();
}

/// Where λ is tight the search must be able to come near: the trimmed mean at d = 1, with f rows of S at one end.
#[test]
fn the_trimmed_mean_reaches_its_lambda() {
    for (n, f) in [(3, 1), (5, 1), (5, 2), (7, 3)] {
        // f honest rows at 1, the others at 0, and f Byzantine ones below: the ones are trimmed, the mean of S is f/(n − f).
        let data: Vec<f32> = (0..n)
            .map(|i| {
                if i < f {
                    -100.0
                } else if i < 2 * f {
                    1.0
                } else {
                    0.0
                }
            })
            .collect();
        let case = Case { family: "tight", n, f, d: 1, byzantine: (0..f).collect(), data };
        let lambda = TrimmedMean.lambda(n, f, 1).value().expect("λ");
        for (name, engine) in engines() {
            let reached = ratio(&engine, &TrimmedMean, &case, &literal::subsets(n, n - f));
            assert!(reached > 0.95 * lambda && reached <= lambda * 1.0001, "{name}: {reached} of {lambda}");
        }
        let (found, _) = search(&Engine::cpu(), &TrimmedMean, (n, f, 1), &mut Random::new(1), 300);
        assert!(found > 0.8 * lambda, "the search finds only {found} of {lambda} at n = {n}, f = {f}");
    }
}

/// The average has no finite λ: the same search shows it.
#[test]
fn the_average_is_caught() {
    let (worst, _) = search(&Engine::cpu(), &resam::rules::Average, (5, 1, 2), &mut Random::new(1), 300);
    assert!(worst > 10.0, "the search moves the average by only {worst}");
    assert_eq!(resam::rules::Average.lambda(5, 1, 2).value(), None);
}
