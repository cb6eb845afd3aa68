//! Engines under many threads, under several executors of futures, and under callers who do not wait for an answer. A binary of its own: one
//! test looks at the memory of the whole process.
#![allow(missing_docs)]

use peak_alloc::PeakAlloc;
use resam::{DistributedMomentum, Engine, Error, Input, Matrix, Report, Rows, Rule, Snapshot, Spec};
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One test at a time: what the others hold is not counted.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Few columns are sampled, so that the kernels for larger matrices run at small sizes.
fn small_sample(engine: Engine) -> Engine {
    let options = resam::Options { sample: 64, ..engine.options() };
    engine.with_options(options)
}

/// On the adapter that `RESAM_TEST_DEVICE` names, else on a real GPU if there is one, else on lavapipe.
fn gpu(memory_budget: Option<u64>) -> Engine {
    let open = |name: &str| pollster::block_on(Engine::open_with(name, memory_budget));
    let engine = match std::env::var("RESAM_TEST_DEVICE").unwrap_or_default().trim() {
        "" => open("gpu").or_else(|_| open("lavapipe")),
        name => open(name),
    };
    small_sample(engine.expect("a Vulkan adapter; Mesa's software one is in the package mesa-vulkan-drivers"))
}

/// Every kind of engine; one takes so many bytes of its device's memory, so that longer rows go through it in several slabs.
fn engines(little: u64) -> Vec<(&'static str, Engine)> {
    let two_threads = Engine::cpu_with(resam::CpuOptions { threads: Some(2) }).expect("threads");
    vec![
        ("cpu", small_sample(Engine::cpu())),
        ("cpu of two threads", small_sample(two_threads)),
        ("reference", Engine::reference()),
        ("gpu", gpu(None)),
        ("gpu with little memory", gpu(Some(little))),
    ]
}

/// Bytes in which 7 rows go through in slabs of 4096 columns.
const SLABS: u64 = 700_000;

fn rule(spec: &str) -> Arc<dyn Rule> {
    spec.parse::<Spec>().expect("a rule").into_rule()
}

/// n rows of d; the last one NaN where hostile.
fn values(n: usize, d: usize, hostile: bool) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed((n * d) as u64);
    let mut values: Vec<f32> = (0..n * d).map(|_| random.f32() - 0.5).collect();
    if hostile {
        values[(n - 1) * d..].fill(f32::NAN);
    }
    values
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|y| y.to_bits()).collect()
}

/// Compiles, or does not.
#[test]
fn everything_may_go_to_other_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send>(future: T) -> T {
        future
    }
    shared::<(Engine, Matrix, DistributedMomentum, Snapshot, Error, Report, Spec, Rows<'static>)>();
    let (engine, data) = (Engine::cpu(), values(3, 2, false));
    let rows = Rows::from_slice(&data, 3, 2).expect("rows");
    let median = resam::rules::Median::default();
    pollster::block_on(async {
        let mut momentum = sent(DistributedMomentum::new(&engine, 3, 2, 0.5)).await.expect("momentums");
        sent(momentum.step(&rows)).await.expect("a step");
        sent(momentum.step_and_aggregate(&median, &rows, 1)).await.expect("a step");
        sent(momentum.snapshot()).await.expect("a snapshot");
        let matrix = sent(engine.load(&rows)).await.expect("a matrix");
        sent(matrix.read()).await.expect("values");
        let want = sent(engine.aggregate(&median, &matrix, 1)).await.expect("an aggregate");
        let mut out = [0.0; 2];
        sent(engine.aggregate_into(&median, &rows, 1, &mut out)).await.expect("an aggregate");
        let many = sent(engine.aggregate_many(&median, &[(&rows).into()], 1)).await;
        let layers = sent(engine.aggregate_layers(&median, &rows, 1)).await;
        sent(engine.prepare(&median, 3, 1)).await.expect("kernels");
        sent(Engine::open("cpu")).await.expect("an engine");
        assert_eq!((out[..] == want.values[..], many, layers), (true, vec![Ok(want.clone())], vec![Ok(want)]));
    });
}

#[test]
fn any_executor() {
    let _turn = alone();
    for (name, engine) in engines(SLABS) {
        let (n, d, f) = (7, 9000, 2);
        for spec in ["median", "krum", "geometric_median"] {
            let work = {
                let (engine, rule) = (engine.clone(), rule(spec));
                move || {
                    let (engine, rule) = (engine.clone(), rule.clone());
                    async move {
                        let data = values(n, d, true);
                        let rows = Rows::from_slice(&data, n, d)?;
                        Ok::<_, Error>(bits(&engine.aggregate(&*rule, &rows, f).await?.values))
                    }
                }
            };
            let want = pollster::block_on(work()).expect("an aggregate");
            let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
            let spawned: Vec<_> = (0..4).map(|_| tokio.spawn(work())).collect();
            for task in spawned {
                let got = tokio.block_on(task).expect("no panic").expect("an aggregate");
                assert!(got == want, "{name}, {spec}: tokio");
            }
            let alone = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            assert!(alone.block_on(work()).expect("an aggregate") == want, "{name}, {spec}: tokio on one thread");
            let spawned: Vec<_> = (0..4).map(|_| smol::spawn(work())).collect();
            for task in spawned {
                assert!(smol::block_on(task).expect("an aggregate") == want, "{name}, {spec}: smol");
            }
        }
    }
}

/// Polls a future so many times at most, each time when it asked for it, and drops it.
fn cut_short<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    pollster::block_on(poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(value) => Poll::Ready(Some(value)),
        }
    }))
}

/// Dropped after any number of polls, a call leaves an engine that answers as before, to the same call and to another.
#[test]
fn calls_that_nobody_waits_for() {
    let _turn = alone();
    let (n, d, f) = (7, 9001, 2);
    let data = values(n, d, true);
    let rows = Rows::from_slice(&data, n, d).expect("rows");
    let mut most = 0;
    for (name, engine) in engines(SLABS) {
        let matrix = engine.load_blocking(&rows).expect("a matrix");
        let other = rule("trimmed_mean");
        let other_want = engine.aggregate_blocking(&*other, &rows, f).expect("an aggregate").values;
        for spec in
            ["median", "krum", "geometric_median", "geometric_median:method=direct", "nnm+trimmed_mean", "nnm+aksel", "average"]
        {
            let rule = rule(spec);
            for (form, input) in [("rows", Input::from(&rows)), ("a matrix", Input::from(&matrix))] {
                let want = engine.aggregate_blocking(&*rule, input, f).expect("an aggregate").values;
                // With a neighbour whose call is under way, and whose work may be submitted with this one's.
                for polls in 0.. {
                    let neighbour = engine.aggregate(&*other, &rows, f);
                    let cut = async {
                        let mut neighbour = pin!(neighbour);
                        let begun = cut_short(neighbour.as_mut(), 1);
                        let cut = cut_short(engine.aggregate(&*rule, input, f), polls);
                        let neighbour = match begun {
                            Some(done) => done,
                            None => neighbour.await,
                        };
                        (cut, neighbour)
                    };
                    let (cut, neighbour) = pollster::block_on(cut);
                    let case = || format!("{name}, {spec} of {form}, {polls} polls");
                    assert_eq!(bits(&neighbour.expect("an aggregate").values), bits(&other_want), "{}: its neighbour", case());
                    let again = engine.aggregate_blocking(&*rule, input, f).expect("an aggregate").values;
                    assert_eq!(bits(&again), bits(&want), "{}: the next", case());
                    if let Some(done) = cut {
                        assert_eq!(bits(&done.expect("an aggregate").values), bits(&want), "{}", case());
                        most = most.max(polls);
                        break;
                    }
                }
            }
        }
        for polls in 0.. {
            let done = cut_short(engine.load(&rows), polls);
            let many = cut_short(engine.aggregate_many(&*other, &[(&rows).into(), (&matrix).into()], f), polls);
            assert_eq!(
                bits(&engine.aggregate_blocking(&*other, &matrix, f).expect("an aggregate").values),
                bits(&other_want),
                "{name}"
            );
            if let (Some(matrix), Some(many)) = (done, many) {
                assert_eq!(bits(&matrix.expect("a matrix").read_blocking().expect("values")), bits(&data), "{name}");
                for one in many {
                    assert_eq!(bits(&one.expect("an aggregate").values), bits(&other_want), "{name}");
                }
                break;
            }
        }
    }
    assert!(most > 10, "no call was cut after more than {most} polls");
}

/// A step of momentums that was cut short is never taken for one that was made.
#[test]
fn steps_that_nobody_waits_for() {
    let _turn = alone();
    let (n, d, f) = (7, 9001, 2);
    let data = values(n, d, false);
    let gradients = Rows::from_slice(&data, n, d).expect("rows");
    for (name, engine) in engines(SLABS) {
        for rule in [None, Some(rule("median")), Some(rule("krum"))] {
            let start =
                DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums").snapshot_blocking().expect("a snapshot");
            let mut cuts = 0;
            for polls in 0.. {
                let mut momentum = DistributedMomentum::resume_blocking(&engine, &start).expect("momentums");
                let step = async {
                    match &rule {
                        None => momentum.step(&gradients).await.map(drop),
                        Some(rule) => momentum.step_and_aggregate(&**rule, &gradients, f).await.map(drop),
                    }
                };
                let done = cut_short(step, polls);
                let steps = momentum.steps();
                match (done, momentum.snapshot_blocking()) {
                    (Some(done), Ok(snapshot)) => {
                        done.expect("a step");
                        assert_eq!(snapshot.steps, 1, "{name}");
                        break;
                    }
                    (None, Ok(snapshot)) if steps == 0 => assert_eq!(snapshot, start, "{name}, {polls} polls"),
                    // The step was made; what was cut short is the rule.
                    (None, Ok(snapshot)) => {
                        let mut whole = DistributedMomentum::resume_blocking(&engine, &start).expect("momentums");
                        whole.step_blocking(&gradients).expect("a step");
                        assert_eq!(snapshot, whole.snapshot_blocking().expect("a snapshot"), "{name}, {polls} polls");
                    }
                    (None, Err(Error::Momentum(reason))) => {
                        assert!(reason.contains("cut short"), "{reason}");
                        assert!(matches!(momentum.step_blocking(&gradients), Err(Error::Momentum(_))));
                        cuts += 1;
                    }
                    (_, Err(e)) => panic!("{name}: {e}"),
                }
            }
            assert_eq!(cuts > 0, name.starts_with("gpu"), "{name}: {cuts} cuts");
        }
    }
}

const THREADS: usize = 8;
const CALLS: usize = 1000;

/// A call of the stress test and the answer it is to give.
struct Job<'a> {
    engine: &'a Engine,
    rule: Arc<dyn Rule>,
    data: &'a [f32],
    n: usize,
    f: usize,
    held: &'a Matrix,
    want: Result<Vec<u32>, Error>,
}

impl Job<'_> {
    /// In one of several ways, some of which are given up; what was wrong goes into `failures`.
    fn run(&self, random: &mut fastrand::Rng, failures: &Mutex<Vec<String>>) {
        let (n, d) = (self.n, self.data.len() / self.n);
        let rows = Rows::from_slice(self.data, n, d).expect("rows");
        let way = random.u32(..8);
        let check = |got: Result<Vec<f32>, Error>| {
            let wrong = match (got.map(|values| bits(&values)), &self.want) {
                (Ok(got), Ok(want)) => match (0..d).filter(|&k| got[k] != want[k]).collect::<Vec<_>>()[..] {
                    [] => return,
                    [k, ..] => format!("column {k} is {:e}, expected {:e}", f32::from_bits(got[k]), f32::from_bits(want[k])),
                },
                (Err(got), Err(want)) if got == *want => return,
                (got, want) => format!("{got:.100?}, expected {want:.100?}"),
            };
            let text = format!("{}: {} of {n} x {d}, way {way}: {wrong}", self.engine.name(), self.rule.spec());
            failures.lock().expect("no panic").push(text);
        };
        match way {
            0 => {
                let mut out = vec![f32::NAN; d];
                let report = self.engine.aggregate_into_blocking(&*self.rule, &rows, self.f, &mut out);
                check(report.map(|_| out));
            }
            1 => {
                let inputs = [Input::from(&rows), Input::from(self.held)];
                let many = self.engine.aggregate_many_blocking(&*self.rule, &inputs, self.f);
                many.into_iter().for_each(|one| check(one.map(|one| one.values)));
            }
            2 => {
                let matrix = self.engine.load_blocking(&rows).expect("a matrix");
                check(self.engine.aggregate_blocking(&*self.rule, &matrix, self.f).map(|one| one.values));
            }
            3 => {
                let done = cut_short(self.engine.aggregate(&*self.rule, &rows, self.f), random.usize(..6));
                done.into_iter().for_each(|one| check(one.map(|one| one.values)));
            }
            4 => {
                let cut: Vec<Vec<&[f32]>> = self.data.chunks(d).map(|row| row.chunks(d / 3 + 1).collect()).collect();
                let rows = Rows::from_layers(cut.iter().map(|layers| layers.iter().copied())).expect("layers");
                check(self.engine.aggregate_blocking(&*self.rule, &rows, self.f).map(|one| one.values));
            }
            _ => check(self.engine.aggregate_blocking(&*self.rule, self.held, self.f).map(|one| one.values)),
        }
    }
}

/// Bytes that the process holds: on its heap, and resident, which counts the driver's as well where the system tells.
fn held() -> [usize; 2] {
    let resident = || -> Option<usize> {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        Some(statm.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
    };
    [MEMORY.current_usage(), resident().unwrap_or(0)]
}

/// Many threads, all engines, all ways to call them: every answer is right, and after a while no more memory is held.
#[test]
fn eight_threads_of_a_thousand_calls() {
    let _turn = alone();
    let begun = Instant::now();
    let sizes = [(3, 1, 1, false), (5, 1, 130, true), (7, 2, 3000, false), (11, 3, 700, true), (15, 4, 64, true)];
    let data: Vec<_> = sizes.map(|(n, f, d, hostile)| (n, f, d, values(n, d, hostile))).into();
    let engines = engines(2 << 20);
    let mut matrices = Vec::new();
    for (name, engine) in &engines {
        for (n, f, d, values) in data.iter().filter(|(.., d, _)| *name != "reference" || *d < 1000) {
            let matrix = engine.load_blocking(&Rows::from_slice(values, *n, *d).expect("rows")).expect("a matrix");
            matrices.push((engine, *n, *f, values, matrix));
        }
    }
    let specs = [
        "median",
        "trimmed_mean",
        "meamed",
        "krum",
        "multi_krum",
        "geometric_median",
        "nnm+trimmed_mean",
        "centered_clipping",
        "cge",
    ];
    let mut jobs = Vec::new();
    for (engine, n, f, data, held) in &matrices {
        // Where a row is NaN, no Byzantine worker is one too few.
        for (spec, f) in specs.iter().map(|spec| (spec, *f)).chain([(&"krum", 0)]) {
            let rule = rule(spec);
            let want = engine.aggregate_blocking(&*rule, held, f).map(|one| bits(&one.values));
            jobs.push(Job { engine, rule, data, n: *n, f, held, want });
        }
    }
    assert!(jobs.iter().filter(|job| job.want.is_err()).count() >= 12, "errors are answers, too");
    let failures = Mutex::new(Vec::new());
    let barrier = Barrier::new(THREADS + 1);
    let calls = |thread: usize, calls: Range<usize>| {
        for call in calls {
            let mut random = fastrand::Rng::with_seed((thread * CALLS + call) as u64);
            // Every fifth on a device: a software one takes long.
            let on_device = call % 5 == 0;
            let fitting = || jobs.iter().filter(|job| job.held_by_a_device() == on_device);
            let job = fitting().nth(random.usize(..fitting().count())).expect("a job");
            job.run(&mut random, &failures);
        }
        barrier.wait();
        barrier.wait();
    };
    let parts = [0..CALLS / 4, CALLS / 4..CALLS / 2, CALLS / 2..CALLS];
    let mut memory = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let parts = parts.clone();
            scope.spawn(move || parts.into_iter().for_each(|part| calls(thread, part)));
        }
        for _ in &parts {
            barrier.wait();
            memory.push(held());
            barrier.wait();
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{} wrong answers:\n{}", failures.len(), failures[..failures.len().min(30)].join("\n"));
    println!("{} jobs, {:.1?}; bytes on the heap and resident: {memory:?}", jobs.len(), begun.elapsed());
    let [_, [heap, resident], [heap_after, resident_after]] = memory[..] else { panic!("three looks at the memory") };
    assert!(heap_after < heap + (1 << 20), "{} bytes more on the heap", heap_after - heap);
    assert!(resident_after < resident + (16 << 20), "{} bytes more resident", resident_after - resident);
}

impl Job<'_> {
    fn held_by_a_device(&self) -> bool {
        let name = self.engine.name();
        !name.starts_with("cpu") && name != "reference"
    }
}

/// Engines with pools of their own need no other: not the global one, of which all threads wait for them here.
#[test]
fn pools_of_their_own_are_all_that_engines_wait_for() {
    let _turn = alone();
    let one = || Engine::cpu_with(resam::CpuOptions { threads: Some(1) }).expect("a thread");
    let engine = small_sample(Engine::several(vec![one(), one()]).expect("engines"));
    let (send, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (n, spec) in [(200, "krum"), (64, "nnm+krum"), (200, "nnm+trimmed_mean"), (200, "nnm+aksel"), (200, "dnc")] {
            let (data, rule) = (values(n, 9000, false), rule(spec));
            let rows = Rows::from_slice(&data, n, 9000).expect("rows");
            rayon::broadcast(|_| engine.aggregate_blocking(&*rule, &rows, 3).expect("an aggregate"));
            send.send(spec).expect("a listener");
        }
    });
    for _ in 0..5 {
        done.recv_timeout(std::time::Duration::from_secs(60)).expect("an answer: a call waits for the global pool");
    }
}
