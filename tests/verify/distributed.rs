//! Any number of ranks, and any number of engines in one process, give the bits and the report of one engine; what is wrong on one rank is
//! the same error on all of them, and never a wait without end.

use crate::agree::{all_rules, named_row, parsed, run};
use crate::check::{Failures, POISON, same_bits};
use crate::device::{engines, small_sample};
use crate::families::{self, Case};
use resam::distributed::{Distributed, Shards, Threads, Transport};
use resam::rules::{CenteredClipping, FlTrust, Given, Krum, Median, Rule, TrimmedMean};
use resam::{Aggregate, CpuOptions, DistributedMomentum, Dtype, Engine, Error, Options, Report, Result, Rows, bf16, f16};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Longer than any test here takes.
const LIMIT: Duration = Duration::from_secs(300);

/// What each of so many ranks, on threads, makes of its work. One that waits for ever ends the process.
fn on_ranks<V: Send>(ranks: usize, work: impl Fn(Threads) -> V + Sync) -> Vec<V> {
    let (done, waits) = channel::<()>();
    std::thread::spawn(move || {
        if waits.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("ranks wait for each other for ever");
            std::process::abort();
        }
    });
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = Threads::new(ranks).into_iter().map(|rank| scope.spawn(|| work(rank))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    drop(done);
    results
}

/// An engine of one thread: as many as there are ranks share the processor.
fn one_thread() -> Engine {
    small_sample(Engine::cpu_with(CpuOptions { threads: Some(1) }).expect("a thread"))
}

/// The workers of each rank: none, one or several.
fn workers(n: usize, ranks: usize) -> Vec<std::ops::Range<usize>> {
    let cut = |rank: usize| if ranks > 2 && rank == 1 { 0 } else { n * rank / ranks };
    (0..ranks).map(|rank| cut(rank)..if rank + 1 == ranks { n } else { cut(rank + 1) }).collect()
}

/// Every rule that takes the case, those that hang on rounding as well: here it must be the same.
fn rules_for(case: &Case) -> Vec<Arc<dyn Rule>> {
    let fits = |rule: &Arc<dyn Rule>| rule.check(case.n, case.f).is_ok() && named_row(&**rule).is_none_or(|row| row < case.n);
    all_rules().into_iter().chain(parsed(&["autogm", "clipped_clustering", "signguard"])).filter(fits).collect()
}

/// Everything of a report but the names of devices and what went to and from them.
fn plain(report: &Report) -> Report {
    Report { device: String::new(), bytes_uploaded: 0, bytes_downloaded: 0, ..report.clone() }
}

fn same(got: &Result<Aggregate>, want: &Result<Aggregate>) -> std::result::Result<(), String> {
    match (got, want) {
        (Ok(got), Ok(want)) => {
            same_bits(&got.values, &want.values)?;
            // As text: a score may be NaN.
            let [got, want] = [got, want].map(|aggregate| format!("{:?}", plain(&aggregate.report)));
            if got == want { Ok(()) } else { Err(format!("reports differ: {got} and {want}")) }
        }
        (Err(got), Err(want)) if got == want => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// The rows of some workers, as a rank holds them.
fn held<'a>(case: &'a Case, workers: &std::ops::Range<usize>) -> Option<Rows<'a>> {
    let values = &case.data[workers.start * case.d..workers.end * case.d];
    (!workers.is_empty()).then(|| Rows::from_slice(values, workers.len(), case.d).expect("rows"))
}

/// The case by every rule on so many ranks, each of which holds some workers.
fn on_workers(case: &Case, rules: &[Arc<dyn Rule>], ranks: usize, options: Options) -> Vec<Vec<Result<Aggregate>>> {
    let workers = workers(case.n, ranks);
    on_ranks(ranks, |rank| {
        let mine = held(case, &workers[rank.rank()]);
        let rank = Distributed::new(one_thread().with_options(options), rank);
        rules.iter().map(|rule| rank.aggregate_blocking(&**rule, mine.as_ref(), case.f)).collect()
    })
}

fn spoilt(mut case: Case, rows: &[usize], value: f32) -> Case {
    for (k, &i) in rows.iter().enumerate() {
        // In the first columns and in the last ones, where a sample hardly looks.
        let at = if k % 2 == 0 { case.d - 1 - k } else { k };
        case.row_mut(i)[at] = value;
    }
    case
}

#[test]
fn any_number_of_ranks() {
    let mut failures = Failures::default();
    let mut cases: Vec<Case> = Vec::new();
    for family in ["gauss", "far 1e30", "offset 1e4", "ties", "huge"] {
        cases.push(families::make(family, 7, 2, 13_000, 3));
    }
    cases.push(families::make("alie", 26, 6, 12_289, 4));
    // One block: only one rank has columns. None at all; one row.
    cases.extend([(9, 2, 130), (5, 1, 1), (5, 1, 0), (1, 0, 9000)].map(|(n, f, d)| families::make("wide", n, f, d, 5)));
    cases.push(spoilt(families::make("alie", 8, 2, 20_000, 6), &[1, 6], f32::NAN));
    cases.push(spoilt(families::make("gauss", 8, 2, 20_000, 7), &[0, 3, 5], f32::INFINITY));
    cases.push(spoilt(families::make("gauss", 8, 2, 20_000, 8), &[2], 3e38));
    for (case, diagnose) in cases.iter().zip([true, false].iter().cycle()) {
        let options = Options { diagnose: *diagnose, ..one_thread().options() };
        let engine = one_thread().with_options(options);
        let rules = rules_for(case);
        let alone: Vec<_> = rules.iter().map(|rule| run(&engine, &**rule, case)).collect();
        for ranks in [1, 2, 3, 4] {
            for (rank, all) in on_workers(case, &rules, ranks, options).iter().enumerate() {
                for ((rule, got), want) in rules.iter().zip(all).zip(&alone) {
                    failures.note(|| format!("{}, {}, rank {rank} of {ranks}", rule.spec(), case.name()), same(got, want));
                }
            }
        }
    }
    failures.settle();
}

/// From rows in memory and from a loaded matrix.
type Both = (Result<Aggregate>, Result<Aggregate>);

/// Ranks that hold columns, in memory or loaded, on every engine.
#[test]
fn columns_on_any_engine() {
    let mut failures = Failures::default();
    let case = families::make("alie", 8, 2, 9001, 5);
    let shards = Shards::new(case.d, 2);
    for (name, engine) in engines() {
        let engine = small_sample(engine);
        let rules: Vec<_> = rules_for(&case).into_iter().filter(|rule| name == "cpu" || !rule.spec().contains("direct")).collect();
        let parts = on_ranks(2, |rank| {
            let columns = shards.range(rank.rank());
            let shard: Vec<&[f32]> = (0..case.n).map(|i| &case.row(i)[columns.clone()]).collect();
            let shard = Rows::from_rows(&shard).expect("rows");
            let matrix = engine.load_blocking(&shard).expect("a matrix");
            let rank = Distributed::new(engine.clone(), rank);
            let both = |rule: &Arc<dyn Rule>| {
                let loaded = rank.aggregate_shard_blocking(&**rule, &matrix, case.d, case.f);
                (rank.aggregate_shard_blocking(&**rule, &shard, case.d, case.f), loaded)
            };
            rules.iter().map(both).collect::<Vec<_>>()
        });
        for (at, rule) in rules.iter().enumerate() {
            let whole = |pick: fn(&Both) -> &Result<Aggregate>| -> Result<Aggregate> {
                let parts = parts.iter().map(|part| pick(&part[at]).clone()).collect::<Result<Vec<_>>>()?;
                Ok(Aggregate { values: parts.iter().flat_map(|part| part.values.clone()).collect(), ..parts[0].clone() })
            };
            let want = run(&engine, &**rule, &case);
            failures.note(|| format!("{name}, {}, rows", rule.spec()), same(&whole(|both| &both.0), &want));
            failures.note(|| format!("{name}, {}, loaded", rule.spec()), same(&whole(|both| &both.1), &want));
        }
    }
    failures.settle();
}

/// Halves travel as halves.
#[test]
fn rows_of_halves() {
    let case = families::make("gauss", 5, 1, 8193, 5);
    let engine = one_thread();
    fn check<E: resam::Element>(case: &Case, engine: &Engine, values: Vec<E>) {
        let rows = Rows::from_slice(&values, case.n, case.d).expect("rows");
        for rule in parsed(&["median", "krum", "geometric_median", "nnm+trimmed_mean"]) {
            let want = engine.aggregate_blocking(&*rule, &rows, 1);
            let all = on_ranks(3, |rank| {
                let me = rank.rank();
                let mine = Rows::from_slice(&values[[0, 2, 3][me] * case.d..[2, 3, 5][me] * case.d], [2, 1, 2][me], case.d)?;
                assert_ne!(mine.dtype(), Dtype::F32);
                Distributed::new(engine.clone(), rank).aggregate_blocking(&*rule, &mine, 1)
            });
            all.iter().for_each(|got| same(got, &want).unwrap_or_else(|e| panic!("{}: {e}", rule.spec())));
        }
    }
    check(&case, &engine, case.data.iter().map(|v| f16::from_f32(*v)).collect());
    check(&case, &engine, case.data.iter().map(|v| bf16::from_f32(*v)).collect());
}

/// A transport that counts what leaves a rank for others, and may forget to add what one rank has.
struct Counted {
    threads: Threads,
    sent: AtomicU64,
    reduced: AtomicU64,
    forgets: bool,
}

impl Counted {
    fn new(threads: Threads) -> Self {
        Self { threads, sent: AtomicU64::new(0), reduced: AtomicU64::new(0), forgets: false }
    }
}

impl Transport for Counted {
    fn rank(&self) -> usize {
        self.threads.rank()
    }
    fn ranks(&self) -> usize {
        self.threads.ranks()
    }
    fn all_reduce(&self, values: &mut [i64]) -> Result<()> {
        self.reduced.fetch_add(size_of_val(values) as u64, Relaxed);
        if self.forgets && self.rank() == 1 {
            values.fill(0);
        }
        self.threads.all_reduce(values)
    }
    fn all_to_all(&self, outgoing: &[&[u8]], incoming: &mut [&mut [u8]]) -> Result<()> {
        let others = outgoing.iter().enumerate().filter(|(to, _)| *to != self.rank());
        self.sent.fetch_add(others.map(|(_, bytes)| bytes.len() as u64).sum(), Relaxed);
        self.threads.all_to_all(outgoing, incoming)
    }
}

/// One worker a rank: no more bytes than a ring all-reduce of d values, beside what does not grow with d.
#[test]
fn bytes_of_a_robust_all_reduce() {
    for (ranks, d) in [(2, 1 << 18), (4, 1 << 18), (8, (1 << 19) + 77)] {
        let case = families::make("gauss", ranks, 0, d, 5);
        for rule in [&Median::default() as &dyn Rule, &Krum::default()] {
            let sent = on_ranks(ranks, |rank| {
                let mine = held(&case, &(rank.rank()..rank.rank() + 1)).expect("a row");
                let rank = Distributed::new(one_thread(), Counted::new(rank));
                rank.aggregate_blocking(rule, &mine, 0).expect("an aggregate");
                (rank.transport().sent.load(Relaxed), rank.transport().reduced.load(Relaxed))
            });
            let (n, sample) = (ranks as u64, 80 * ranks as u64);
            let shards = Shards::new(d, ranks);
            for (rank, (sent, reduced)) in sent.into_iter().enumerate() {
                let others = (d - shards.range(rank).len()) as u64;
                let mine = shards.range(rank).len() as u64 * (n - 1);
                // Headers, rows' lengths, largest magnitudes, and the columns of the sample.
                let few = n * (1000 + 4 * n + 4 * sample);
                assert!((4 * (others + mine)..4 * (others + mine) + few).contains(&sent), "{}: {sent}", rule.name());
                assert!(reduced <= 40 * n * (n + 1) + 16 * n, "{reduced}");
                let ring = 2 * 4 * d as u64 * (n - 1) / n;
                assert!(sent <= ring + 2 * 4 * 4096 * n + few, "{} on {ranks} ranks: {sent}, a ring {ring}", rule.name());
            }
        }
    }
}

/// The comparison notices sums that lack a rank's part.
#[test]
fn a_transport_that_forgets_is_noticed() {
    let case = spoilt(families::make("gauss", 6, 1, 9000, 5), &[3], f32::NAN);
    let mut noticed = Vec::new();
    for rule in parsed(&["median", "krum", "geometric_median", "geometric_median:method=direct", "cge", "nnm+aksel"]) {
        let want = run(&one_thread(), &*rule, &case);
        let all = on_ranks(2, |rank| {
            let mine = held(&case, &[0..3, 3..6][rank.rank()]);
            let rank = Distributed::new(one_thread(), Counted { forgets: true, ..Counted::new(rank) });
            rank.aggregate_blocking(&*rule, mine.as_ref(), case.f)
        });
        noticed.push((rule.spec(), all.iter().all(|got| same(got, &want).is_err())));
    }
    assert!(noticed.iter().all(|(_, noticed)| *noticed), "{noticed:?}");
}

/// The errors of all ranks: one and the same.
fn one_error(errors: Vec<Option<Error>>) -> Error {
    let first = errors[0].clone().expect("an error");
    assert!(errors.iter().all(|e| e.as_ref() == Some(&first)), "{errors:?}");
    first
}

/// Three ranks, of which one does something else than `usual`.
fn odd_rank(odd: impl Fn(Distributed<Threads>, &Rows<'_>) -> Result<Aggregate> + Sync) -> Error {
    let case = families::make("gauss", 3, 1, 9000, 5);
    one_error(on_ranks(3, |rank| {
        let me = rank.rank();
        let mine = held(&case, &(me..me + 1)).expect("a row");
        let rank = Distributed::new(one_thread(), rank);
        if me == 1 { odd(rank, &mine) } else { rank.aggregate_blocking(&Krum::default(), &mine, 1) }.err()
    }))
}

#[test]
fn what_is_wrong_on_one_rank_is_an_error_on_all() {
    let krum = Krum::default();
    let of_other = |rank: Distributed<Threads>, engine| Distributed::new(engine, rank.into_transport());
    let error = odd_rank(|rank, mine| rank.aggregate_blocking(&TrimmedMean, mine, 1));
    assert!(
        matches!(&error, Error::Rank { rank: 1, reason } if reason.contains("trimmed_mean") && reason.contains("krum")),
        "{error}"
    );
    let error = odd_rank(|rank, mine| rank.aggregate_blocking(&krum, mine, 0));
    assert!(matches!(error, Error::Rank { rank: 1, .. }), "{error}");
    let error = odd_rank(|rank, _| rank.aggregate_blocking(&krum, &Rows::from_slice(&[1.0f32; 8999], 1, 8999)?, 1));
    assert_eq!(error, Error::Ragged { row: 1, got: 8999, expected: 9000 });
    let error = odd_rank(|rank, _| rank.aggregate_blocking(&krum, &Rows::from_slice(&[f16::ONE; 9000], 1, 9000)?, 1));
    assert!(matches!(&error, Error::Rank { rank: 1, reason } if reason.contains("f16")), "{error}");
    // Two rows: n is another one, which all ranks see.
    let error = odd_rank(|rank, _| rank.aggregate_blocking(&krum, &Rows::from_slice(&[f32::NAN; 18_000], 2, 9000)?, 1));
    assert_eq!(error, Error::NonFinite { rule: "krum".into(), rows: vec![1, 2], f: 1 });
    let error = odd_rank(|rank, mine| rank.aggregate_shard_blocking(&krum, mine, 9000, 1));
    assert!(matches!(error, Error::Rank { rank: 1, .. }), "{error}");
    let error = odd_rank(|rank, _| Err(rank.withdraw(Error::NoWorkers)));
    assert_eq!(error, Error::Rank { rank: 1, reason: Error::NoWorkers.to_string() });
    let seeded = Options { seed: 1, ..one_thread().options() };
    let error = odd_rank(|rank, mine| of_other(rank, one_thread().with_options(seeded)).aggregate_blocking(&krum, mine, 1));
    assert!(matches!(error, Error::Rank { rank: 1, .. }), "{error}");
    for wrong in [Engine::reference(), Engine::several(vec![one_thread(), one_thread()]).expect("engines")] {
        let wrong = small_sample(wrong);
        let error = odd_rank(|rank, mine| of_other(rank, wrong.clone()).aggregate_blocking(&krum, mine, 1));
        assert!(matches!(&error, Error::Rank { rank: 1, reason } if reason.contains("one CPU or GPU engine")), "{error}");
    }
    #[cfg(feature = "gpu")]
    {
        let cramped = small_sample(crate::device::gpu_with_budget(1));
        let error = odd_rank(|rank, mine| of_other(rank, cramped.clone()).aggregate_blocking(&krum, mine, 1));
        assert!(matches!(&error, Error::Rank { rank: 1, reason } if reason.contains("memory_budget")), "{error}");
    }
    // Nobody has rows; f is impossible; a shard of another width.
    let none = on_ranks(3, |rank| Distributed::new(one_thread(), rank).aggregate_blocking(&krum, None, 1).err());
    assert_eq!(one_error(none), Error::NoWorkers);
    let case = families::make("gauss", 2, 1, 9000, 5);
    let impossible = on_workers(&case, &parsed(&["krum"]), 2, one_thread().options());
    assert!(matches!(one_error(impossible.into_iter().map(|mut all| all.remove(0).err()).collect()), Error::Requirement { .. }));
    let wide = on_ranks(2, |rank| {
        let me = rank.rank();
        let width = Shards::new(9000, 2).range(me).len() + me;
        let rank = Distributed::new(one_thread(), rank);
        rank.aggregate_shard_blocking(&krum, &Rows::from_slice(&vec![1.0f32; 3 * width], 3, width)?, 9000, 1).map(drop)
    });
    assert!(matches!(one_error(wide.into_iter().map(Result::err).collect()), Error::Rank { rank: 1, .. }));
}

/// What a rule was given is not in its specification, but shows in what ranks ask of their engines.
#[test]
fn other_things_given_are_noticed() {
    let case = families::make("gauss", 4, 1, 9000, 5);
    let previous = |value: f32| -> Arc<dyn Rule> {
        CenteredClipping::default().given(Given::Previous(vec![value; case.d].into())).expect("a rule that takes it")
    };
    let weights =
        |value: f64| Median::default().given(Given::Weights(vec![value, 1.0, 2.0, 1.0].into())).expect("a rule that takes them");
    for (rules, fine) in [
        ([previous(1.0), previous(1.0)], true),
        ([previous(1.0), previous(1.5)], false),
        ([previous(1.0), CenteredClipping::default().given(Given::Previous(vec![1.0; 7].into())).expect("a rule")], false),
        ([weights(1.0), weights(1.0)], true),
        ([weights(1.0), weights(4.0)], false),
    ] {
        let all = on_ranks(2, |rank| {
            let me = rank.rank();
            let mine = held(&case, &[0..2, 2..4][me]);
            Distributed::new(one_thread(), rank).aggregate_blocking(&*rules[me], mine.as_ref(), 1)
        });
        if fine {
            all.iter().for_each(|got| same(got, &run(&one_thread(), &*rules[0], &case)).expect("the same"));
        } else {
            let error = one_error(all.into_iter().map(Result::err).collect());
            assert!(matches!(error, Error::Rank { rank: 1, .. }), "{error}");
        }
    }
}

/// After an error ranks go on; a rank that is gone is an error on the others, at once and from then on.
#[test]
fn errors_end_calls_and_lost_ranks_end_all() {
    let case = families::make("gauss", 3, 1, 9000, 5);
    let results = on_ranks(3, |rank| {
        let me = rank.rank();
        let mine = held(&case, &(me..me + 1)).expect("a row");
        let rank = Distributed::new(one_thread(), rank);
        let wrong = rank.aggregate_blocking(&Krum::default(), &mine, me).is_err();
        let right = rank.aggregate_blocking(&Krum::default(), &mine, 1).is_ok();
        if me == 1 {
            let dies = std::thread::spawn(move || {
                let _rank = rank;
                std::panic::resume_unwind(Box::new("a rank that dies"));
            });
            assert!(dies.join().is_err());
            return (wrong, right, Vec::new());
        }
        let lost = (0..2).map(|_| rank.aggregate_blocking(&Krum::default(), &mine, 1).err()).collect();
        (wrong, right, lost)
    });
    for (rank, (wrong, right, lost)) in results.into_iter().enumerate() {
        assert!(wrong && right, "rank {rank}");
        assert!(lost.iter().all(|e| matches!(e, Some(Error::Transport(reason)) if reason.contains("gone"))), "{lost:?}");
        assert_eq!(lost.len(), if rank == 1 { 0 } else { 2 });
    }
}

/// Futures of engines may move between threads.
#[test]
fn futures_are_send() {
    fn send<V: Send>(_: &V) {}
    let engine = Engine::several(vec![one_thread()]).expect("an engine");
    let values = [1.0f32, 2.0, 4.0];
    let rows = Rows::from_slice(&values, 3, 1).expect("rows");
    send(&engine.aggregate(&TrimmedMean, &rows, 1));
    let mut momentum = DistributedMomentum::new_blocking(&engine, 3, 1, 0.5).expect("momentums");
    send(&momentum.step_and_aggregate(&TrimmedMean, &rows, 1));
}

/// So many engines as one, of each kind.
fn several(count: usize) -> Vec<(&'static str, Engine, Engine)> {
    let of = |engines: Vec<Engine>| small_sample(Engine::several(engines).expect("engines"));
    vec![
        ("cpu", one_thread(), of((0..count).map(|_| one_thread()).collect())),
        #[cfg(feature = "gpu")]
        {
            let more = (1..count).map(|_| crate::device::gpu_with_budget(1 << 30));
            ("gpu", small_sample(crate::device::gpu()), of(std::iter::once(crate::device::gpu()).chain(more).collect()))
        },
    ]
}

#[test]
fn several_engines_in_one_process() {
    let mut failures = Failures::default();
    let cases = [
        families::make("alie", 8, 2, 9001, 5),
        families::make("far 1e30", 5, 1, 130, 5),
        spoilt(families::make("gauss", 8, 2, 12_300, 5), &[1, 6], f32::NAN),
        spoilt(families::make("gauss", 8, 2, 12_300, 5), &[1, 6, 7], f32::NAN),
        families::make("gauss", 5, 1, 0, 5),
    ];
    for (name, one, all) in several(2) {
        for case in &cases {
            let loaded = all.load_blocking(&case.rows()).expect("a matrix");
            assert_eq!((loaded.n(), loaded.d()), (case.n, case.d));
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&loaded.read_blocking().expect("a copy")), bits(&case.data));
            for rule in rules_for(case) {
                let (want, got) = (run(&one, &*rule, case), run(&all, &*rule, case));
                let again = all.aggregate_blocking(&*rule, &loaded, case.f);
                let result = match (&got, &want) {
                    // A single GPU takes the steps between rounds itself, in f32.
                    (Ok(got), Ok(want)) if name == "gpu" && rule.spec().ends_with("direct") => {
                        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * b.abs().max(1.0);
                        if got.values.iter().zip(&want.values).all(near) { Ok(()) } else { Err("far".into()) }
                    }
                    _ => same(&got, &want),
                };
                failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result.and_then(|()| same(&again, &got)));
            }
        }
    }
    failures.settle();
}

/// Rounds of the direct iteration are the same for any number of GPUs, from one on.
#[test]
fn direct_rounds_on_any_number_of_engines() {
    let case = families::make("alie", 8, 2, 9001, 5);
    let [direct] = &parsed(&["geometric_median:method=direct"])[..] else { panic!("one rule") };
    for ((name, _, one), (_, _, three)) in several(1).into_iter().zip(several(3)) {
        same(&run(&three, &**direct, &case), &run(&one, &**direct, &case)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn several_engines_are_used_as_one() {
    for list in [Vec::new(), vec![Engine::reference()], vec![one_thread(), Engine::several(vec![one_thread()]).expect("an engine")]]
    {
        assert!(matches!(Engine::several(list), Err(Error::Parameter { .. })));
    }
    let case = families::make("gauss", 5, 1, 9000, 5);
    for (name, one, all) in several(2) {
        assert!(all.name().contains(" and "), "{}", all.name());
        all.prepare_blocking(&TrimmedMean, 5, 1).expect("kernels");
        let (rows, short) = (case.rows(), all.aggregate_into_blocking(&TrimmedMean, &case.rows(), 1, &mut [0.0; 3]));
        assert_eq!(short, Err(Error::OutputLength { got: 3, expected: case.d }));
        let elsewhere = one.load_blocking(&rows).expect("a matrix");
        assert!(matches!(all.aggregate_blocking(&TrimmedMean, &elsewhere, 1), Err(Error::Device { .. })));
        let own = all.load_blocking(&rows).expect("a matrix");
        assert!(matches!(one.aggregate_blocking(&TrimmedMean, &own, 1), Err(Error::Device { .. })));
        let many = all.aggregate_many_blocking(&TrimmedMean, &[(&rows).into(), (&own).into()], 1);
        many.iter().for_each(|got| same(got, &run(&one, &TrimmedMean, &case)).unwrap_or_else(|e| panic!("{name}: {e}")));
        // NaN where too many rows are spoilt, on every engine.
        let spoilt = spoilt(case.clone(), &[1, 3], f32::NAN);
        let mut out = vec![POISON; case.d];
        assert!(all.aggregate_into_blocking(&Krum::default(), &spoilt.rows(), 1, &mut out).is_err());
        assert!(out.iter().all(|y| y.is_nan()), "{name}");
    }
}

#[test]
fn momentums_on_several_engines() {
    for (name, one, all) in several(2) {
        let [mut a, mut b] = [&one, &all].map(|engine| DistributedMomentum::new_blocking(engine, 5, 9000, 0.9).expect("momentums"));
        for seed in 0..4 {
            let mut case = families::make("gauss", 5, 1, 9000, seed);
            if seed == 2 {
                case.row_mut(4)[8999] = f32::NAN;
            }
            for momentum in [&mut a, &mut b] {
                match seed {
                    1 => momentum.reset(3).expect("a worker"),
                    3 => {
                        momentum.remove_worker(1).expect("a worker");
                        assert_eq!(momentum.add_worker().expect("a worker"), 4);
                    }
                    _ => (),
                }
            }
            for rule in [&TrimmedMean as &dyn Rule, &Krum::default()] {
                let [want, got] = [&mut a, &mut b].map(|m| m.step_and_aggregate_blocking(rule, &case.rows(), 1));
                let (got, want) = (got.expect("an aggregate"), want.expect("an aggregate"));
                same_bits(&got.values, &want.values).unwrap_or_else(|e| panic!("{name}, step {seed}: {e}"));
                assert_eq!((got.report.absent, got.report.kept), (want.report.absent, want.report.kept));
            }
        }
        let [a, b] = [&a, &b].map(|momentum| momentum.snapshot_blocking().expect("a snapshot"));
        assert_eq!(a, b);
        let resumed = DistributedMomentum::resume_blocking(&all, &b).expect("momentums");
        assert_eq!(resumed.snapshot_blocking().expect("a snapshot"), a);
    }
}

/// Ranks that hold columns step them, and agree on who is absent.
#[test]
fn momentums_on_columns() {
    let (n, d) = (5, 13_000);
    let steps: Vec<Case> = (0..4)
        .map(|seed| {
            let case = families::make("gauss", n, 1, d, seed);
            // Absent by one value in the last rank's columns; then too many.
            if seed == 1 {
                spoilt(case, &[4], f32::NAN)
            } else if seed == 2 {
                spoilt(case, &[1, 2], f32::INFINITY)
            } else {
                case
            }
        })
        .collect();
    let rules = parsed(&["trimmed_mean", "krum", "nnm+median"]);
    let mut alone = DistributedMomentum::new_blocking(&one_thread(), n, d, 0.9).expect("momentums");
    let mut step = |(case, rule): (&Case, &Arc<dyn Rule>)| alone.step_and_aggregate_blocking(&**rule, &case.rows(), 1);
    let want: Vec<_> = steps.iter().zip(rules.iter().cycle()).map(&mut step).collect();
    assert!(want[1].as_ref().is_ok_and(|got| got.report.absent == [4]) && want[2].is_err());
    let shards = Shards::new(d, 3);
    let got = on_ranks(3, |rank| {
        let columns = shards.range(rank.rank());
        let rank = Distributed::new(one_thread(), rank);
        let mut momentum = DistributedMomentum::new_blocking(rank.engine(), n, columns.len(), 0.9).expect("momentums");
        let step = |(case, rule): (&Case, &Arc<dyn Rule>)| {
            let shard: Vec<&[f32]> = (0..n).map(|i| &case.row(i)[columns.clone()]).collect();
            rank.step_and_aggregate_shard_blocking(&mut momentum, &**rule, &Rows::from_rows(&shard)?, d, 1)
        };
        let results: Vec<_> = steps.iter().zip(rules.iter().cycle()).map(step).collect();
        // The worker that it trusts is absent.
        let refused = Arc::new(FlTrust { row: Some(4) }) as Arc<dyn Rule>;
        let before = momentum.steps();
        let step = |momentum: &mut DistributedMomentum| {
            let shard: Vec<&[f32]> = (0..n).map(|i| &steps[1].row(i)[columns.clone()]).collect();
            rank.step_and_aggregate_shard_blocking(momentum, &*refused, &Rows::from_rows(&shard)?, d, 1)
        };
        assert!(matches!(step(&mut momentum), Err(Error::Parameter { .. })) && momentum.steps() == before);
        (results, momentum.snapshot_blocking().expect("a snapshot"))
    });
    let alone = alone.snapshot_blocking().expect("a snapshot");
    for (rank, (results, snapshot)) in got.iter().enumerate() {
        let columns = shards.range(rank);
        for (step, (got, want)) in results.iter().zip(&want).enumerate() {
            let part = |want: &Aggregate| Aggregate { values: want.values[columns.clone()].to_vec(), ..want.clone() };
            same(got, &want.as_ref().map(part).map_err(Clone::clone)).unwrap_or_else(|e| panic!("rank {rank}, step {step}: {e}"));
        }
        for i in 0..n {
            let width = columns.len();
            let whole = &alone.momentums[i * d..(i + 1) * d][columns.clone()];
            same_bits(&snapshot.momentums[i * width..(i + 1) * width], whole).expect("the same momentums");
        }
        assert_eq!(snapshot.steps, alone.steps);
    }
}

/// A GPU and a CPU: each column of a coordinate-wise rule is that of its engine; other rules are near.
#[cfg(feature = "gpu")]
#[test]
fn engines_of_different_kinds() {
    let case = families::make("gauss", 8, 2, 9001, 5);
    let mixed = small_sample(Engine::several(vec![crate::device::gpu(), Engine::cpu()]).expect("engines"));
    let cut = Shards::new(case.d, 2).range(0).end;
    let (gpu, cpu) = (small_sample(crate::device::gpu()), small_sample(Engine::cpu()));
    for rule in parsed(&["median", "trimmed_mean", "meamed", "phocas", "sign_majority"]) {
        let [got, gpu, cpu] = [&mixed, &gpu, &cpu].map(|engine| run(engine, &*rule, &case).expect("an aggregate").values);
        same_bits(&got, &[&gpu[..cut], &cpu[cut..]].concat()).unwrap_or_else(|e| panic!("{}: {e}", rule.spec()));
    }
    for rule in parsed(&["krum", "geometric_median", "nnm+trimmed_mean"]) {
        let [got, cpu] = [&mixed, &cpu].map(|engine| run(engine, &*rule, &case).expect("an aggregate"));
        assert_eq!(got.report.kept, cpu.report.kept);
        assert!(got.values.iter().zip(&cpu.values).all(|(a, b)| (a - b).abs() < 1e-5), "{}", rule.spec());
    }
}

/// Adapters of one name are told apart by number.
#[cfg(feature = "gpu")]
#[test]
fn adapters_by_number() {
    let name = crate::device::gpu().name();
    let (adapter, _) = name.rsplit_once(" (").expect("a name and a backend");
    assert_eq!(Engine::open_blocking(&format!("{adapter}#0")).expect("the same adapter").name(), name);
    assert!(
        matches!(Engine::open_blocking(&format!("{adapter}#99")), Err(Error::NoDevice { wanted, .. }) if wanted.contains("#99"))
    );
    assert!(matches!(Engine::open_blocking("gpu#99"), Err(Error::NoDevice { .. })));
    assert!(matches!(Engine::open_blocking("#0"), Err(Error::NoDevice { .. })));
    let adapters = pollster::block_on(resam::adapters());
    match adapters.iter().filter(|adapter| adapter.real).count() {
        0 => assert!(matches!(Engine::open_blocking("gpus"), Err(Error::NoDevice { .. }))),
        real => assert_eq!(Engine::open_blocking("gpus").expect("GPUs").name().matches(" and ").count(), real - 1),
    }
}
