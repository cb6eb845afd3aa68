//! Rules in an encoder of the caller's give what the engine gives, in one submission of the caller's own.

use crate::agree::parsed;
use crate::check::{EPS, Failures, TINY, same_bits, within};
use crate::families::{self, Case};
use crate::shared::Program;
use resam::rules::{CenteredClipping, Given};
use resam::wgpu::BufferUsages;
use resam::{Aggregate, DeviceReport, DeviceRows, DeviceRule, DeviceVector, Dtype, Error, Rows, Rule, bench, f16};
use std::sync::Arc;

/// All that can be encoded: on columns, the average, on distances, and after mixing.
fn encodable() -> Vec<Arc<dyn Rule>> {
    parsed(&[
        "average",
        "median",
        "trimmed_mean",
        "meamed",
        "phocas",
        "sign_majority",
        "krum",
        "krum:neighbors=classic",
        "multi_krum",
        "multi_krum:m=2",
        "geometric_median",
        "centered_clipping",
        "centered_clipping:tau=0.5,iterations=3",
        "nnm+median",
        "nnm+trimmed_mean",
        "nnm+meamed",
        "nnm+phocas",
        "nnm+sign_majority",
    ])
}

/// τ, rounds, and where it begins.
fn clipping(rule: &dyn Rule, case: &Case) -> Option<(f64, usize, Vec<f64>)> {
    match rule.spec().as_str() {
        "centered_clipping" => Some((10.0, 1, vec![0.0; case.d])),
        "centered_clipping:tau=0.5,iterations=3" => Some((0.5, 3, vec![0.0; case.d])),
        _ => None,
    }
}

/// Within 10^-4 of what a round moves each coordinate, and the rounding of what it begins at.
fn clips(case: &Case, (tau, rounds, start): &(f64, usize, Vec<f64>), got: &[f32], want: &[f32]) -> Result<(), String> {
    let finite: Vec<&[f32]> = (0..case.n).map(|i| case.row(i)).filter(|row| row.iter().all(|x| x.is_finite())).collect();
    let mut steps = vec![0.0; case.d];
    for row in &finite {
        let apart: Vec<f64> = row.iter().zip(start).map(|(x, v)| f64::from(*x) - v).collect();
        let clip = (tau / apart.iter().map(|a| a * a).sum::<f64>().sqrt()).min(1.0) / finite.len() as f64;
        steps.iter_mut().zip(&apart).for_each(|(s, a)| *s += clip * a.abs());
    }
    let wide: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
    within(got, &wide, |k| 1e-4 * *rounds as f64 * steps[k] + 4.0 * EPS * (wide[k].abs() + start[k].abs()) + TINY)
}

struct Encoded {
    values: Vec<f32>,
    report: resam::Result<DeviceReport>,
}

/// Brings the case's rows to the device, combines them and reads the result, in one encoder.
fn encode(program: &Program, rule: &DeviceRule, case: &Case) -> Encoded {
    let (n, d) = (case.n, case.d);
    let staged = program.buffer(4 * (n * d) as u64, BufferUsages::COPY_SRC | BufferUsages::COPY_DST);
    program.queue.write_buffer(&staged, 0, bytemuck::cast_slice(&case.data));
    let gradients = program.buffer(4 * (n * d) as u64, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    let (out, after) = (program.sevens(d, BufferUsages::STORAGE), program.sevens(d, BufferUsages::STORAGE));
    let mut encoder = program.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&staged, 0, &gradients, 0, 4 * (n * d) as u64);
    rule.encode(&mut encoder, &DeviceRows::new(&gradients, n, d), &DeviceVector::new(&out)).expect("commands");
    encoder.copy_buffer_to_buffer(&out, 0, &after, 0, 4 * d as u64);
    // Nothing has happened until the caller submits.
    assert!(program.read(&out).iter().all(|v| *v == 7.0));
    program.queue.submit([encoder.finish()]);
    Encoded { values: program.read(&after), report: rule.report_blocking() }
}

/// Whether the choice of the engine was clear enough for sums in f32.
fn clear(want: &Aggregate) -> bool {
    want.report.margin.is_none_or(|margin| margin > 1e-3)
}

fn compare(rule: &dyn Rule, case: &Case, want: &resam::Result<Aggregate>, got: &Encoded) -> Result<bool, String> {
    let want = match (want, &got.report) {
        (Ok(want), Ok(report)) => {
            if report.non_finite != want.report.non_finite {
                return Err(format!("rows {:?} are said to be bad, not {:?}", report.non_finite, want.report.non_finite));
            }
            want
        }
        (Err(Error::NonFinite { rows, .. }), Err(Error::NonFinite { rows: found, .. })) if rows == found => {
            return if got.values.iter().all(|v| v.is_nan()) { Ok(true) } else { Err("a result beside an error".into()) };
        }
        (want, report) => {
            let want = want.as_ref().map(|want| &want.report.non_finite);
            return Err(format!("{:?}, expected {want:?}", report.as_ref().map(|report| &report.non_finite)));
        }
    };
    if rule.spec() == "geometric_median" {
        let report = got.report.as_ref().expect("a report");
        if !report.converged {
            return Err(format!("not converged: {report:?}"));
        }
        let wide: Vec<f64> = want.values.iter().map(|v| f64::from(*v)).collect();
        // Half of the rows are no farther than this from it in any column.
        let far = |i: usize| case.row(i).iter().zip(&want.values).map(|(x, y)| f64::from((x - y).abs())).fold(0.0, f64::max);
        let mut distances: Vec<f64> = (0..case.n).map(far).collect();
        distances.sort_by(f64::total_cmp);
        // Where half of them are the median itself, the others still weigh 1e-15: no smaller distance is told from zero.
        let near = distances[case.n / 2].max(1e-10 * distances[case.n - 1].min(1.0));
        return within(&got.values, &wide, |k| 1e-4 * near + 4.0 * EPS * wide[k].abs() + TINY).map(|()| true);
    }
    if let Some(how) = clipping(rule, case) {
        return clips(case, &how, &got.values, &want.values).map(|()| true);
    }
    match same_bits(&got.values, &want.values) {
        Ok(()) => Ok(true),
        // Another choice that rounding cannot tell from the best.
        Err(_) if !clear(want) && got.values.iter().all(|v| v.is_finite()) => Ok(false),
        Err(differ) => Err(format!("{differ}; margin {:?}", want.report.margin)),
    }
}

#[test]
fn encoded_rules_are_the_engines() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let mut failures = Failures::default();
    let (mut exact, mut close) = (0, 0);
    for (n, f, d) in [(11, 2, 130), (15, 3, 4500), (26, 6, 70)] {
        for rule in encodable() {
            let made = engine.device_rule(&*rule, n, d, f, Dtype::F32).expect("a rule");
            for family in families::NAMES {
                // A line has no one geometric median, and rows of 3e38 beside others leave f32.
                if rule.spec() == "geometric_median" && ["line", "equal", "wide", "denormals", "zeros"].contains(&family) {
                    continue;
                }
                // Which of two rows on it is the most central is a matter of rounding, and sums are formed about that one.
                if rule.spec().contains('+') && family == "line" {
                    continue;
                }
                let case = families::make(family, n, f, d, 7);
                let want = engine.aggregate_blocking(&*rule, &case.rows(), f);
                let result = compare(&*rule, &case, &want, &encode(&program, &made, &case));
                if let Ok(same) = result {
                    (exact, close) = (exact + usize::from(same), close + usize::from(!same));
                }
                failures.note(|| format!("{} of {n} x {d}, {family}", rule.spec()), result.map(drop));
            }
        }
    }
    failures.settle();
    println!("{exact} the same, {close} another choice in a close call");
    assert!(close * 20 < exact);
    program.no_error_was_heard();
}

/// No bad row, as many as may be, and one more; seen by the look at a few columns, or hidden from it.
#[test]
fn bad_rows_are_left_out_and_too_many_leave_no_number() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let (n, f, d) = (11, 3, 9000);
    let mut failures = Failures::default();
    let mut hidden = 0;
    for rule in encodable() {
        let made = engine.device_rule(&*rule, n, d, f, Dtype::F32).expect("a rule");
        for (bad, at) in [(0, 0..d), (1, 0..d), (3, 0..d), (4, 0..d), (1, 4321..4322), (3, 8999..9000), (4, 17..18)] {
            for value in [f32::NAN, f32::NEG_INFINITY, 3e38] {
                let mut case = families::make("gauss", n, f, d, 3);
                for i in 0..bad {
                    case.row_mut(2 * i)[at.clone()].fill(value);
                }
                let want = engine.aggregate_blocking(&*rule, &case.rows(), f);
                let got = encode(&program, &made, &case);
                hidden += usize::from(got.report.as_ref().is_ok_and(|report| report.hidden_row));
                // An average of infinities is one as well.
                let far = bad == 4 && value == 3e38;
                let result = if far { Ok(true) } else { compare(&*rule, &case, &want, &got) };
                failures.note(|| format!("{} with {bad} rows of {value} in {at:?}", rule.spec()), result.map(drop));
            }
        }
    }
    failures.settle();
    assert!(hidden > 10, "{hidden} rows hid");
    program.no_error_was_heard();
}

#[test]
fn what_cannot_be_encoded_is_said() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    for rule in parsed(&[
        "mda",
        "centered_clipping:iterations=300",
        "nnm+krum",
        "bulyan",
        "nnm+nnm+median",
        "multi_krum:power=4",
        "bucketing+median",
    ]) {
        let error = engine.device_rule(&*rule, 15, 100, 2, Dtype::F32).expect_err(&rule.spec());
        assert!(matches!(error, Error::Given { .. }), "{error}");
    }
    let krum = &parsed(&["krum"])[0];
    assert!(matches!(engine.device_rule(&**krum, 300, 10, 2, Dtype::F32), Err(Error::Parameter { .. })));
    assert!(matches!(engine.device_rule(&**krum, 5, 10, 3, Dtype::F32), Err(Error::Requirement { .. })));
    assert!(matches!(engine.device_rule(&**krum, 0, 10, 0, Dtype::F32), Err(Error::NoWorkers)));
    assert!(matches!(resam::Engine::cpu().device_rule(&**krum, 5, 10, 1, Dtype::F32), Err(Error::Device { .. })));
    let made = engine.device_rule(&**krum, 5, 10, 1, Dtype::F32).expect("a rule");
    let values: Vec<f32> = bench::data(5, 10, 1).expect("memory");
    let rows = program.place(&values, 5, 10, (0, 10), BufferUsages::STORAGE);
    let out = DeviceVector::new(&program.sevens(10, BufferUsages::STORAGE));
    let mut encoder = program.device.create_command_encoder(&Default::default());
    let other = program.place(&values, 10, 5, (0, 5), BufferUsages::STORAGE);
    assert!(matches!(made.encode(&mut encoder, &other, &out), Err(Error::Buffer(_))));
    assert!(matches!(made.encode(&mut encoder, &rows.clone().dtype(Dtype::F16), &out), Err(Error::Buffer(_))));
    assert!(matches!(made.encode(&mut encoder, &rows, &out.clone().offset(4)), Err(Error::Buffer(_))));
    // What was refused left the encoder as it was.
    made.encode(&mut encoder, &rows, &out).expect("commands");
    program.queue.submit([encoder.finish()]);
    assert!(made.report_blocking().is_ok());
    program.no_error_was_heard();
}

/// Rows so small that they vanish beside the others cannot make a second read, which a hidden row brings about, fail.
#[test]
fn a_hidden_row_and_a_tiny_one_do_no_harm_together() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let (n, f, d) = (11, 3, 9000);
    let mut failures = Failures::default();
    for rule in encodable() {
        let made = engine.device_rule(&*rule, n, d, f, Dtype::F32).expect("a rule");
        for tiny in [1e-30, 1e-44, 0.0] {
            let mut case = families::make("gauss", n, f, d, 3);
            case.row_mut(4)[4321] = f32::NAN;
            case.row_mut(7).fill(tiny);
            let want = engine.aggregate_blocking(&*rule, &case.rows(), f);
            let result = compare(&*rule, &case, &want, &encode(&program, &made, &case));
            failures.note(|| format!("{} with a row of {tiny:e}", rule.spec()), result.map(drop));
        }
    }
    failures.settle();
}

/// Centered clipping goes on from what it made last, without leaving the device; from what is not finite it does not.
#[test]
fn clipping_begins_at_the_previous_aggregate() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let (n, f, d) = (11, 2, 5000);
    let rule = CenteredClipping { tau: 30.0, iterations: 2, ..Default::default() };
    let from = |previous: Vec<f32>| rule.given(Given::Previous(previous.into())).expect("a rule");
    let made = engine.device_rule(&*from(vec![0.25; d]), n, d, f, Dtype::F32).expect("a rule");
    let out = program.sevens(d + 1, BufferUsages::STORAGE);
    let target = DeviceVector::new(&out).offset(4);
    let mut previous = vec![0.25; d];
    for step in 0..4 {
        let case = families::make("gauss", n, f, d, step);
        let rows = program.place(&case.data, n, d, (0, d), BufferUsages::STORAGE);
        let mut encoder = program.device.create_command_encoder(&Default::default());
        made.encode(&mut encoder, &rows, &target).expect("commands");
        made.encode_previous(&mut encoder, &target).expect("commands");
        program.queue.submit([encoder.finish()]);
        let want = engine.aggregate_blocking(&*from(previous.clone()), &case.rows(), f).expect("an aggregate");
        let got = program.read(&out)[1..].to_vec();
        let start = previous.iter().map(|v| f64::from(*v)).collect();
        clips(&case, &(30.0, 2, start), &got, &want.values).unwrap_or_else(|e| panic!("step {step}: {e}"));
        assert_eq!(made.report_blocking().map(|report| report.iterations), Ok(2));
        previous = got;
    }
    let zero = engine.device_rule(&rule, n, d, f, Dtype::F32).expect("a rule");
    let case = families::make("gauss", n, f, d, 1);
    let rows = program.place(&case.data, n, d, (0, d), BufferUsages::STORAGE);
    for bad in [f32::NAN, f32::INFINITY] {
        program.queue.write_buffer(&out, 4 * 4999, bytemuck::cast_slice(&[bad]));
        let mut encoder = program.device.create_command_encoder(&Default::default());
        assert!(matches!(zero.encode_previous(&mut encoder, &target), Err(Error::Given { .. })));
        assert!(matches!(made.encode_previous(&mut encoder, &target.clone().offset(8)), Err(Error::Buffer(_))));
        made.encode_previous(&mut encoder, &target).expect("commands");
        made.encode(&mut encoder, &rows, &target).expect("commands");
        program.queue.submit([encoder.finish()]);
        assert!(program.read(&out)[1..].iter().all(|v| v.is_nan()));
        assert!(matches!(made.report_blocking(), Err(Error::Parameter { .. })));
    }
    program.no_error_was_heard();
}

/// One row, one column, none, and as many rows as there can be; halves at an odd offset.
#[test]
fn sizes_at_the_ends_of_their_ranges() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let mut failures = Failures::default();
    for (n, f, d) in [(1, 0, 1), (1, 0, 300), (2, 0, 5), (3, 1, 1), (127, 1, 37), (128, 2, 700), (130, 40, 5)] {
        // Kernels for many rows take seconds to compile: one of each kind.
        let few = parsed(&["krum", "multi_krum", "geometric_median", "centered_clipping", "nnm+median", "trimmed_mean"]);
        for rule in if n > 100 { few } else { encodable() } {
            let case = families::make("gauss", n, f, d, 5);
            match engine.device_rule(&*rule, n, d, f, Dtype::F32) {
                Ok(made) => {
                    let want = engine.aggregate_blocking(&*rule, &case.rows(), f);
                    let result = compare(&*rule, &case, &want, &encode(&program, &made, &case));
                    failures.note(|| format!("{} of {n} x {d}", rule.spec()), result.map(drop));
                }
                // The median of one or two points is their mean, and of one column that of its values, whichever rows are finite: that is for
                // the host.
                Err(Error::Given { .. }) if rule.spec() == "geometric_median" && (n <= 2 || d == 1) => {}
                Err(Error::Requirement { .. } | Error::Parameter { .. }) if rule.check(n, f).is_err() || n > 128 => {}
                Err(error) => failures.note(|| format!("{} of {n} x {d}", rule.spec()), Err(error.to_string())),
            }
        }
    }
    let halves: Vec<f16> = bench::data(9, 301, 2).expect("memory");
    let rows = program.place(&halves, 9, 301, (3, 305), BufferUsages::STORAGE);
    for rule in encodable() {
        let made = engine.device_rule(&*rule, 9, 301, 2, Dtype::F16).expect("a rule");
        let out = program.sevens(301, BufferUsages::empty());
        let mut encoder = program.device.create_command_encoder(&Default::default());
        made.encode(&mut encoder, &rows, &DeviceVector::new(&out)).expect("commands");
        program.queue.submit([encoder.finish()]);
        let want = engine.aggregate_blocking(&*rule, &Rows::from_slice(&halves, 9, 301).expect("rows"), 2).expect("an aggregate");
        let data = halves.iter().map(|half| half.to_f32()).collect();
        let case = Case { family: "halves", n: 9, f: 2, d: 301, byzantine: Vec::new(), data };
        if let Some(how) = clipping(&*rule, &case) {
            failures.note(|| format!("{} of halves", rule.spec()), clips(&case, &how, &program.read(&out), &want.values));
        } else if rule.spec() != "geometric_median" && clear(&want) {
            failures.note(|| format!("{} of halves", rule.spec()), same_bits(&program.read(&out), &want.values));
        }
    }
    failures.settle();
    let made = engine.device_rule(&*parsed(&["krum"])[0], 5, 0, 1, Dtype::F32).expect("a rule");
    let out = program.sevens(1, BufferUsages::STORAGE);
    let mut encoder = program.device.create_command_encoder(&Default::default());
    made.encode(&mut encoder, &DeviceRows::new(&out, 5, 0), &DeviceVector::new(&out)).expect("commands");
    program.queue.submit([encoder.finish()]);
    assert_eq!((made.report_blocking().expect("a report").non_finite, program.read(&out)), (vec![], vec![7.0]));
    program.no_error_was_heard();
}

/// With a row left out fewer are kept than the rule may keep: it refuses, as the engine does. Where it would order the rows left out with the
/// others it is not encoded at all.
#[test]
fn what_the_rule_refuses_without_bad_rows_is_refused() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    for (spec, n, f, bad) in
        [("multi_krum:m=5", 5, 1, 1), ("multi_krum:m=8", 9, 3, 1), ("multi_krum:m=8", 9, 3, 3), ("krum:neighbors=4", 5, 1, 1)]
    {
        let mut case = families::make("gauss", n, f, 40, 3);
        (0..bad).for_each(|i| case.data[i * 40 + 7] = f32::NAN);
        let rule = parsed(&[spec]).remove(0);
        let Ok(made) = engine.device_rule(&*rule, n, 40, f, Dtype::F32) else {
            assert!(rule.check(n, f).is_err(), "{spec}");
            continue;
        };
        let got = encode(&program, &made, &case);
        let want = engine.aggregate_blocking(&*rule, &case.rows(), f).map(|want| want.values);
        assert_eq!(got.report.as_ref().err(), want.as_ref().err(), "{}", rule.spec());
        assert!(want.is_ok() || got.values.iter().all(|y| y.is_nan()), "{}", rule.spec());
    }
    let column = parsed(&["geometric_median"]);
    let error = engine.device_rule(&*column[0], 3, 1, 1, Dtype::F32).unwrap_err().to_string();
    assert!(error.contains("left out"), "{error}");
}
