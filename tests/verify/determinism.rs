//! One engine gives the same bits over threads, memory budgets, ways to hand over the rows, and calls.

use crate::agree::{rules_for, run};
use crate::check::{Failures, same_bits};
use crate::device::{SAMPLE, engines, small_sample};
use crate::families;
use resam::{Aggregate, CpuOptions, Engine, Input, Rows};

/// Everything of a report but what depends on how the data came to the device.
fn same_report(a: &Aggregate, b: &Aggregate) -> Result<(), String> {
    let plain = |got: &Aggregate| {
        let mut report = got.report.clone();
        (report.device, report.bytes_uploaded, report.bytes_downloaded) = (String::new(), 0, 0);
        report
    };
    let (a, b) = (plain(a), plain(b));
    if a == b { Ok(()) } else { Err(format!("reports differ: {a:?} and {b:?}")) }
}

fn same(a: &Aggregate, b: &Aggregate) -> Result<(), String> {
    same_bits(&b.values, &a.values).and_then(|()| same_report(a, b))
}

#[test]
fn any_number_of_threads() {
    let mut failures = Failures::default();
    let engines = [1, 2, 3].map(|threads| small_sample(Engine::cpu_with(CpuOptions { threads: Some(threads) }).expect("threads")));
    for family in ["gauss", "far 1e30", "offset 1e4"] {
        for (n, f, d) in [(5, 1, 33_000), (26, 6, 12_289)] {
            let case = families::make(family, n, f, d, 31);
            for rule in rules_for(&case) {
                let [one, two, three] = [0, 1, 2].map(|i| run(&engines[i], &*rule, &case).expect("an aggregate"));
                failures.note(|| format!("{}, {}", rule.spec(), case.name()), same(&one, &two).and_then(|()| same(&one, &three)));
            }
        }
    }
    failures.settle();
    assert!(Engine::cpu_with(CpuOptions { threads: Some(0) }).is_err());
}

/// Many matrices in one call: what each gives alone, in order, and errors where they belong.
#[test]
fn many_matrices_at_once() {
    let mut failures = Failures::default();
    let cases: Vec<_> = (0..70).map(|k| families::make("alie", 7, 2, [65, 1, 9000, 300][k % 4], k as u64)).collect();
    let rows: Vec<Rows> = cases.iter().map(families::Case::rows).collect();
    let spoilt = [f32::NAN; 21];
    let spoilt = Rows::from_slice(&spoilt, 7, 3).expect("rows");
    for (name, engine) in engines() {
        let matrix = engine.load_blocking(&rows[2]).expect("a matrix");
        let mut inputs: Vec<Input> = rows.iter().map(Input::from).collect();
        inputs[5] = Input::from(&spoilt);
        inputs[6] = Input::from(&matrix);
        for rule in
            crate::agree::parsed(&["median", "krum", "geometric_median", "nnm+trimmed_mean", "geometric_median:method=direct"])
        {
            let many = engine.aggregate_many_blocking(&*rule, &inputs, 2);
            for (k, got) in many.iter().enumerate() {
                let alone = engine.aggregate_blocking(&*rule, inputs[k], 2);
                let result = match (got, &alone) {
                    (Ok(got), Ok(alone)) => same(alone, got),
                    (got, alone) if k == 5 && got == alone && got.is_err() => Ok(()),
                    other => Err(format!("{other:?}")),
                };
                failures.note(|| format!("{name}, {}, matrix {k}", rule.spec()), result);
            }
        }
        assert_eq!(engine.aggregate_many_blocking(&resam::rules::TrimmedMean, &[], 2), []);
    }
    failures.settle();
}

/// Compiling beforehand is refused as the call is, and changes no result.
#[test]
fn prepared_engines() {
    let case = families::make("gauss", 6, 1, 300, 9);
    for (name, engine) in engines() {
        for rule in rules_for(&case) {
            engine.prepare_blocking(&*rule, 6, 1).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
            assert!(run(&engine, &*rule, &case).is_ok());
        }
        assert!(
            engine.prepare_blocking(&resam::rules::TrimmedMean, 6, 3).is_err()
                && engine.prepare_blocking(&resam::rules::TrimmedMean, 0, 0).is_err()
        );
    }
}

#[test]
fn any_form_of_rows_and_any_call() {
    let mut failures = Failures::default();
    for (n, f, d) in [(5, 1, 9001), (8, 2, 130)] {
        let case = families::make("alie", n, f, d, 5);
        let vecs: Vec<Vec<f32>> = (0..n).map(|i| case.row(i).to_vec()).collect();
        for (name, engine) in engines() {
            let engine = small_sample(engine);
            let matrix = engine.load_blocking(&case.rows()).expect("a matrix");
            same_bits(&matrix.read_blocking().expect("a copy"), &case.data).expect("what was loaded");
            for rule in rules_for(&case) {
                let once = run(&engine, &*rule, &case).expect("an aggregate");
                let again = run(&engine, &*rule, &case).expect("an aggregate");
                let of_vecs = engine.aggregate_blocking(&*rule, &Rows::from_vecs(&vecs).expect("rows"), f).expect("an aggregate");
                let resident = engine.aggregate_blocking(&*rule, &matrix, f).expect("an aggregate");
                let result = same(&once, &again).and_then(|()| same(&once, &of_vecs)).and_then(|()| same(&once, &resident));
                failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
                failures.note(
                    || format!("{name}, {}, resident, {}", rule.spec(), case.name()),
                    // Tables: a few numbers a row, and the columns of the sample; the median of mixed rows. Not the data.
                    if resident.report.bytes_uploaded
                        < 64 * n as u64 + 1024 + if rule.spec().ends_with("+aksel") { 4 * d as u64 } else { 0 }
                        && once.report.bytes_uploaded == again.report.bytes_uploaded
                    {
                        Ok(())
                    } else {
                        Err(format!("{} bytes uploaded", resident.report.bytes_uploaded))
                    },
                );
            }
        }
    }
    failures.settle();
}

#[cfg(feature = "gpu")]
#[test]
fn any_memory_budget() {
    use crate::device::{gpu, gpu_with_budget};
    let mut failures = Failures::default();
    let (n, f, d) = (8, 2, 40_001);
    let whole = 4 * (n * d) as u64;
    let least = 6 * 4 * (n * 2048) as u64;
    // Ten slabs that stream; four that stay between reads; the smallest budget that is accepted.
    let budgets = [2 * whole / 3, 2 * whole, least];
    let small: Vec<Engine> = budgets.iter().map(|&b| small_sample(gpu_with_budget(b))).collect();
    let large = small_sample(gpu());
    for family in ["alie", "far 1e30"] {
        let case = families::make(family, n, f, d, 12);
        for rule in rules_for(&case) {
            let whole = run(&large, &*rule, &case).expect("an aggregate");
            for (engine, budget) in small.iter().zip(budgets) {
                let result = run(engine, &*rule, &case).map_err(|e| e.to_string()).and_then(|got| same(&whole, &got));
                failures.note(|| format!("{}, budget {budget}, {}", rule.spec(), case.name()), result);
            }
        }
    }
    failures.settle();

    let case = families::make("gauss", n, f, 100, 1);
    for budget in [0, 1, least - 1] {
        let error =
            run(&gpu_with_budget(budget), &resam::rules::Median::default(), &case).expect_err("too small a budget").to_string();
        assert!(error.contains(&format!("at least {least}")) && error.contains(&budget.to_string()), "{error}");
    }
}

/// More than a binding's usual 128 MiB, and more than one slab on the device.
#[cfg(feature = "gpu")]
#[test]
fn more_than_256_mebibytes() {
    use crate::families::{Case, Random};
    use resam::rules::{Krum, Median, Rule};
    let (n, d) = (5, 13_500_001);
    let mut random = Random::new(1);
    let data: Vec<f32> = (0..n * d).map(|_| f32::from_bits(random.bits() & 0xbfff_ffff) - 1.0).collect();
    let case = Case { family: "large", n, f: 1, d, byzantine: Vec::new(), data };
    assert!(4 * case.data.len() > 256 << 20);
    let gpu = crate::device::gpu();
    let matrix = gpu.load_blocking(&case.rows()).expect("a matrix");
    for rule in [&Median::default() as &dyn Rule, &Krum::default()] {
        let cpu = run(&Engine::cpu(), rule, &case).expect("an aggregate");
        let streamed = run(&gpu, rule, &case).expect("an aggregate");
        same_bits(&streamed.values, &cpu.values).unwrap_or_else(|e| panic!("{}: {e}", rule.name()));
        let resident = gpu.aggregate_blocking(rule, &matrix, 1).expect("an aggregate");
        same(&streamed, &resident).unwrap_or_else(|e| panic!("{}: {e}", rule.name()));
        assert!(streamed.report.bytes_uploaded >= 4 * (n * d) as u64 && resident.report.bytes_uploaded < 2048);
        assert_eq!(cpu.report.kept, streamed.report.kept);
    }
}

/// Many callers at once share one engine: none sees another's buffers.
#[test]
fn callers_side_by_side() {
    for (name, engine) in engines() {
        let engine = engine.with_options(resam::Options { sample: SAMPLE, ..resam::Options::default() });
        let cases: Vec<_> = (0..4).map(|i| families::make("alie", 5 + i % 2, 1, 5000 + 64 * i, i as u64)).collect();
        let alone: Vec<Vec<Aggregate>> = cases
            .iter()
            .map(|case| rules_for(case).iter().map(|rule| run(&engine, &**rule, case).expect("an aggregate")).collect())
            .collect();
        std::thread::scope(|scope| {
            for (case, alone) in cases.iter().zip(&alone) {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 0..3 {
                        for (rule, alone) in rules_for(case).iter().zip(alone) {
                            let got = run(engine, &**rule, case).expect("an aggregate");
                            same(alone, &got).unwrap_or_else(|e| panic!("{name}, {}, round {round}: {e}", rule.spec()));
                        }
                    }
                });
            }
        });
    }
}
