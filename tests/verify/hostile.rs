//! NaN and infinities, too many of them, wrong calls: the same outcome on every engine.

use crate::agree::{all_rules, named_row, renumbered, rules_for, run, verify};
use crate::check::{Failures, POISON, poisoned, same_bits, same_rows, within};
use crate::device::engines;
use crate::families::{self, Case, Random};
use resam::rules::{Average, Krum, Median, MultiKrum, Neighbors, NonFinite, Rule, TrimmedMean};
use resam::{Aggregate, CpuOptions, Engine, Error, Rows};

/// Quiet and signalling NaN of both signs, the last NaN, both infinities.
pub const PAYLOADS: [u32; 7] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0x7f80_0000, 0xff80_0000];

pub fn with_reference() -> Vec<(&'static str, Engine)> {
    engines().into_iter().chain([("reference", Engine::reference())]).collect()
}

/// Where the bad values of a row stand.
#[derive(Debug, Clone, Copy)]
enum Place {
    One,
    Some,
    Everywhere,
}

fn spoil(case: &mut Case, rows: &[usize], place: Place) {
    let d = case.d;
    for (at, &i) in rows.iter().enumerate() {
        for k in 0..d {
            let hit = match place {
                Place::One => k == (7 * at + d - 1) % d,
                Place::Some => k % 3 == at % 3 || k == 0,
                Place::Everywhere => true,
            };
            if hit {
                case.row_mut(i)[k] = f32::from_bits(PAYLOADS[(at + 2 * k + i) % PAYLOADS.len()]);
            }
        }
    }
}

/// The aggregate in terms of the matrix without these rows.
pub fn reduced(got: &Aggregate, bad: &[usize]) -> Result<Aggregate, String> {
    let left: Vec<usize> = (0..got.report.n).filter(|i| !bad.contains(i)).collect();
    let mut got = got.clone();
    got.report.n -= bad.len();
    got.report.f -= bad.len();
    if let Some(kept) = &got.report.kept {
        let at = |i: &usize| left.iter().position(|l| l == i).ok_or(format!("row {i} was kept, but it is not finite"));
        got.report.kept = Some(kept.iter().map(at).collect::<Result<_, _>>()?);
    }
    if let Some(weights) = &got.report.weights {
        if bad.iter().any(|&i| weights[i] != 0.0) {
            return Err(format!("weights {weights:?} for the bad rows {bad:?}"));
        }
        got.report.weights = Some(left.iter().map(|&i| weights[i]).collect());
    }
    Ok(got)
}

/// The outcome with k ≤ f bad rows.
pub fn verify_spoilt(rule: &dyn Rule, case: &Case, bad: &[usize], got: &Aggregate) -> Result<(), String> {
    same_rows("non-finite", &got.report.non_finite, bad)?;
    if let Some(k) = got.values.iter().position(|v| !v.is_finite()) {
        return Err(format!("column {k} is {}", got.values[k]));
    }
    let (case, got, rule) = match rule.non_finite() {
        NonFinite::LeaveOut => (case.without(bad), reduced(got, bad)?, &*renumbered(rule, bad)),
        NonFinite::Order | NonFinite::Propagate => (case.clone(), got.clone(), rule),
    };
    let reference = Engine::reference_f64(rule, &case.rows(), case.f).map_err(|e| e.to_string())?;
    verify(rule, &case, &reference, &got)
}

#[test]
fn up_to_f_bad_rows() {
    let mut failures = Failures::default();
    let mut random = Random::new(21);
    for (n, f, d) in [(5, 1, 1), (5, 2, 70), (8, 3, 70), (9, 4, 3), (15, 3, 500)] {
        for (k, place) in (1..=f).flat_map(|k| [Place::One, Place::Some, Place::Everywhere].map(|place| (k, place))) {
            let mut case = families::make("gauss", n, f, d, k as u64);
            let bad = random.choose(n, k);
            spoil(&mut case, &bad, place);
            for rule in rules_for(&case) {
                if rule.non_finite() == NonFinite::Propagate || named_row(&*rule).is_some_and(|row| bad.contains(&row)) {
                    continue;
                }
                let label = |name: &str| format!("{name}, {}, {k} rows bad {place:?}, {}", rule.spec(), case.name());
                for (name, engine) in engines() {
                    let result = run(&engine, &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                        verify_spoilt(&*rule, &case, &bad, &got)?;
                        if rule.non_finite() == NonFinite::Order {
                            return Ok(());
                        }
                        // The whole matrix is in the sample: the very same computation as without these rows.
                        let without = run(&engine, &*renumbered(&*rule, &bad), &case.without(&bad)).map_err(|e| e.to_string())?;
                        same_bits(&got.values, &without.values)
                    });
                    failures.note(|| label(name), result);
                }
                let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
                let result = run(&Engine::reference(), &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                    same_rows("non-finite", &got.report.non_finite, &bad)?;
                    same_bits(&got.values, &reference.iter().map(|v| *v as f32).collect::<Vec<_>>())
                });
                failures.note(|| label("reference"), result);
            }
        }
    }
    failures.settle();
}

#[test]
fn more_than_f_bad_rows_are_named() {
    let mut failures = Failures::default();
    for (n, f, d) in [(1, 0, 5), (2, 0, 3), (3, 1, 1), (5, 1, 70), (8, 3, 70)] {
        for place in [Place::One, Place::Some, Place::Everywhere] {
            for k in [f + 1, n] {
                let mut case = families::make("gauss", n, f, d, k as u64);
                let bad = Random::new((n + k) as u64).choose(n, k);
                spoil(&mut case, &bad, place);
                for rule in rules_for(&case) {
                    if rule.non_finite() == NonFinite::Propagate {
                        continue;
                    }
                    let expected = Error::NonFinite { rule: rule.name().into(), rows: bad.clone(), f };
                    for (name, engine) in with_reference() {
                        let mut out = poisoned(d);
                        let got = engine.aggregate_into_blocking(&*rule, &case.rows(), f, &mut out).map(|r| r.rule);
                        let result = if got != Err(expected.clone()) {
                            Err(format!("{got:?}, expected {expected:?}"))
                        } else if out.iter().any(|v| !v.is_nan()) {
                            Err(format!("the output holds {:?}, not NaN", &out[..d.min(4)]))
                        } else {
                            Ok(())
                        };
                        failures.note(|| format!("{name}, {}, {k} rows bad {place:?}, {}", rule.spec(), case.name()), result);
                    }
                }
            }
        }
    }
    failures.settle();
}

/// A call that cannot be served is refused before anything is written.
#[test]
fn refused_calls_leave_the_output_alone() {
    let case = families::make("gauss", 6, 2, 10, 1);
    let krum = |c| -> Box<dyn Rule> { Box::new(Krum { neighbors: Neighbors::Count(c), ..Krum::default() }) };
    let multi = |m| -> Box<dyn Rule> { Box::new(MultiKrum { m: Some(m), ..MultiKrum::default() }) };
    for (name, engine) in with_reference() {
        let refused = |rule: &dyn Rule, f: usize, length: usize| {
            let mut out = poisoned(length);
            let error = engine.aggregate_into_blocking(rule, &case.rows(), f, &mut out).expect_err("a refusal");
            same_bits(&out, &poisoned(length)).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
            error
        };
        for rule in all_rules() {
            // 6 rows: f = 3 is half of them.
            let f = if rule.name() == "average" { 7 } else { 3 };
            let error = refused(&*rule, f, 10);
            assert!(matches!(error, Error::Requirement { n: 6, f: got, .. } if got == f), "{name}: {error}");
            let text = error.to_string();
            assert!(
                text.contains("n = 6")
                    && text.contains(&format!("f = {f}"))
                    && rule.spec().contains(text.split(':').next().unwrap_or("-")),
                "{text}"
            );
            for length in [0, 9, 11] {
                let expected = Error::OutputLength { got: length, expected: 10 };
                assert_eq!(refused(&*rule, 1, length), expected, "{name}");
            }
        }
        for rule in [krum(0), krum(6), krum(usize::MAX), multi(0), multi(7)] {
            let error = refused(&*rule, 1, 10);
            assert!(matches!(error, Error::Parameter { .. }), "{name}: {error}");
            assert!(error.to_string().contains(rule.name()), "{error}");
        }
        assert!(
            engine.aggregate_blocking(&*krum(5), &case.rows(), 1).is_ok()
                && engine.aggregate_blocking(&*multi(6), &case.rows(), 1).is_ok()
        );
        assert!(matches!(
            refused(&Krum { neighbors: Neighbors::Classic, ..Krum::default() }, 2, 10),
            Error::Requirement { n: 6, f: 2, .. }
        ));
    }
}

#[test]
fn shapes() {
    assert_eq!(Rows::from_slice::<f32>(&[], 0, 0).err(), Some(Error::NoWorkers));
    assert_eq!(Rows::from_slice::<f32>(&[], 0, 5).err(), Some(Error::NoWorkers));
    assert_eq!(Rows::from_vecs::<f32>(&[]).err(), Some(Error::NoWorkers));
    assert_eq!(Rows::from_slice(&[1.0; 7], 2, 3).err(), Some(Error::Shape { got: 7, n: 2, d: 3 }));
    for n in [1 << 48, usize::MAX] {
        assert!(matches!(Rows::from_slice::<f32>(&[], n, 0).err(), Some(Error::Parameter { .. })), "{n} rows of nothing");
    }
    assert_eq!(Rows::from_slice::<f32>(&[], usize::MAX, 2).err(), Some(Error::Shape { got: 0, n: usize::MAX, d: 2 }));
    let ragged = [vec![1.0, 2.0], vec![1.0, 2.0], vec![1.0]];
    assert_eq!(Rows::from_vecs(&ragged).err(), Some(Error::Ragged { row: 2, got: 1, expected: 2 }));
    let ragged: [&[f32]; 2] = [&[1.0], &[]];
    assert_eq!(Rows::from_rows(&ragged).err(), Some(Error::Ragged { row: 1, got: 0, expected: 1 }));
    assert!(matches!(Engine::cpu_with(CpuOptions { threads: Some(1 << 20) }), Err(Error::Parameter { .. })));
    // No coordinates: an empty result, but the rule still has its say.
    for (name, engine) in with_reference() {
        for (n, f) in [(usize::MAX, 1), (usize::MAX / 8000, 1), (60_000, 60_000)] {
            assert!(engine.prepare_blocking(&Median::default(), n, f).is_err(), "{name}: {n} rows");
        }
        for rule in all_rules().into_iter().filter(|rule| rule.check(5, 1).is_ok()) {
            let rows = Rows::from_slice::<f32>(&[], 5, 0).expect("five empty rows");
            let got = engine.aggregate_blocking(&*rule, &rows, 1).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
            assert!(got.values.is_empty());
            assert!(engine.aggregate_blocking(&*rule, &rows, 6).is_err());
            let matrix = engine.load_blocking(&rows).expect("a matrix");
            assert!(engine.aggregate_blocking(&*rule, &matrix, 1).expect("an aggregate").values.is_empty());
        }
    }
}

/// The average gives what its formula gives, by class.
#[test]
fn average_propagates() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let columns: [([f32; 3], f64); 8] = [
        ([1.0, 2.0, 6.0], 3.0),
        ([nan, 2.0, 6.0], f64::NAN),
        ([1.0, inf, 6.0], f64::INFINITY),
        ([1.0, 2.0, -inf], f64::NEG_INFINITY),
        ([inf, 2.0, -inf], f64::NAN),
        ([inf, inf, inf], f64::INFINITY),
        ([nan, inf, inf], f64::NAN),
        ([3e38, -3e38, 3e38], 1e38),
    ];
    // Over tiles and their edges.
    let wide: Vec<_> = columns.iter().cycle().take(8 * 40 + 3).collect();
    let data: Vec<f32> = (0..3).flat_map(|i| wide.iter().map(move |(c, _)| c[i])).collect();
    let want: Vec<f64> = wide.iter().map(|(_, y)| *y).collect();
    let rows = Rows::from_slice(&data, 3, wide.len()).expect("rows");
    for (name, engine) in with_reference() {
        for f in [0, 1, 3] {
            let got = engine.aggregate_blocking(&Average, &rows, f).expect("an aggregate");
            within(&got.values, &want, |k| 1e-6 * want[k].abs()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(got.report.non_finite, [0, 1, 2], "{name}");
        }
    }
}

/// Finite values next to the largest, of both signs, overflow nowhere.
#[test]
fn huge_values_do_not_overflow() {
    let mut failures = Failures::default();
    let mut random = Random::new(17);
    for (n, f, d) in [(4, 1, 70), (5, 2, 70), (8, 3, 300), (9, 2, 2)] {
        let value = |random: &mut Random| (random.sign() * (3.3 + 0.1 * random.unit()) * 1e38) as f32;
        let data: Vec<f32> = (0..n * d).map(|_| value(&mut random)).collect();
        let case = Case { family: "all huge", n, f, d, byzantine: Vec::new(), data };
        for rule in rules_for(&case) {
            let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
            for (name, engine) in engines() {
                let result = run(&engine, &*rule, &case).map_err(|e| e.to_string());
                failures.note(
                    || format!("{name}, {}, {}", rule.spec(), case.name()),
                    result.and_then(|got| verify(&*rule, &case, &reference, &got)),
                );
            }
        }
    }
    // By hand.
    let rows = [[3e38f32], [-3e38], [3e38], [3.4e38]];
    let slices: Vec<&[f32; 1]> = rows.iter().collect();
    let rows = Rows::from_rows(&slices).expect("rows");
    let by_hand: [(&dyn Rule, f64); 3] = [(&Average, 1.6e38), (&Median::default(), 3e38), (&TrimmedMean, 3e38)];
    for (name, engine) in with_reference() {
        for (rule, want) in by_hand {
            let got = engine.aggregate_blocking(rule, &rows, 1).expect("an aggregate").values;
            failures.note(|| format!("{name}, {}", rule.name()), within(&got, &[want], |_| 1e-6 * want));
        }
    }
    failures.settle();
}

/// Garbage in the caller's buffer never survives.
#[test]
fn every_column_is_written() {
    let case = families::make("gauss", 5, 1, 4097, 2);
    for (name, engine) in with_reference() {
        for rule in rules_for(&case) {
            let got = run(&engine, &*rule, &case).expect("an aggregate");
            assert!(got.values.iter().all(|v| v.to_bits() != POISON.to_bits()), "{name}, {}", rule.spec());
        }
    }
}
