//! Ranks that are MPI processes. Run by `cargo test`, this program starts itself under `mpirun`, as root and on more ranks than there are
//! cores; `mpirun` finds it with the name of what the ranks are to do.
#![allow(missing_docs, dead_code)]

#[path = "../verify/check.rs"]
mod check;
#[path = "../verify/families.rs"]
mod families;

use check::same_bits;
use resam::distributed::mpi::{self, Mpi};
use resam::distributed::{Distributed, Shards, Transport};
use resam::rules::{self, Krum};
use resam::{CpuOptions, Engine, Error, Rows, Spec};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

type Outcome = Result<(), String>;

/// Longer than any job here takes. One that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a job may live after one of its ranks died.
const END: Duration = Duration::from_secs(20);

fn main() {
    let Some(what) = std::env::args().nth(1).and_then(|name| RANKS.iter().find(|(known, _)| *known == name)) else {
        launch();
        return;
    };
    mpi::run(what.1).expect("MPI");
}

type Work = fn(Mpi) -> Outcome;

/// What ranks do.
const RANKS: [(&str, Work); 5] = [
    ("as-one-process", as_one_process),
    ("another-length", another_length),
    ("for-ever", for_ever),
    ("a-panic", a_panic),
    ("an-early-end", an_early_end),
];

fn engine() -> Engine {
    let engine = Engine::cpu_with(CpuOptions { threads: Some(1) }).expect("a thread");
    engine.with_options(resam::Options { sample: 64, ..resam::Options::default() })
}

/// Every rule gives the bits of one process, whole messages or in pieces, on rows of workers and on columns.
fn as_one_process(transport: Mpi) -> Outcome {
    let more = ["fltrust:row=1", "geometric_median:method=direct", "nnm+trimmed_mean", "arc+krum", "nnm+aksel"];
    let more = more.map(|text| text.parse::<Spec>().expect(text).into_rule());
    let all: Vec<_> = rules::all().into_iter().chain(more).filter(|rule| rule.spec() != "fltrust").collect();
    let (me, ranks) = (transport.rank(), transport.ranks());
    let mut transport = transport;
    for message in [usize::MAX, 1000] {
        let rank = Distributed::new(engine(), transport.with_message(message));
        for (family, n, f, d) in [("alie", 11, 2, 20_000), ("far 1e30", 11, 2, 4097), ("ties", 11, 2, 5)] {
            let case = families::make(family, n, f, d, 5);
            let workers = n * me / ranks..n * (me + 1) / ranks;
            let mine = Rows::from_slice(&case.data[workers.start * d..workers.end * d], workers.len(), d).expect("rows");
            let columns = Shards::new(d, ranks).range(me);
            let shard: Vec<&[f32]> = (0..n).map(|i| &case.row(i)[columns.clone()]).collect();
            let shard = Rows::from_rows(&shard).expect("rows");
            for rule in &all {
                let what = |e: String| format!("{}, {}, messages of {message}: {e}", rule.spec(), case.name());
                let alone = engine().aggregate_blocking(&**rule, &case.rows(), f).map_err(|e| what(e.to_string()))?;
                let got = rank.aggregate_blocking(&**rule, &mine, f).map_err(|e| what(e.to_string()))?;
                same_bits(&got.values, &alone.values).map_err(what)?;
                let part = rank.aggregate_shard_blocking(&**rule, &shard, d, f).map_err(|e| what(e.to_string()))?;
                same_bits(&part.values, &alone.values[columns.clone()]).map_err(what)?;
                if (&part.report.kept, part.report.passes) != (&alone.report.kept, alone.report.passes) {
                    return Err(what(format!("{:?} and {:?}", part.report, alone.report)));
                }
            }
        }
        transport = rank.into_transport();
    }
    println!("{} rules on rank {me} of {ranks}", all.len());
    Ok(())
}

/// One row of this rank, and the engine.
fn one_row(transport: Mpi, d: usize) -> (Distributed<Mpi>, Vec<f32>) {
    let row = (0..d).map(|k| (k + transport.rank()) as f32).collect();
    (Distributed::new(engine(), transport), row)
}

/// Prints the error, which is to be the same on all ranks; the ranks go on after it.
fn another_length(transport: Mpi) -> Outcome {
    let d = 9000 + transport.rank() / 2;
    let (rank, row) = one_row(transport, d);
    let error = rank.aggregate_blocking(&Krum::default(), &Rows::from_slice(&row, 1, d).expect("a row"), 1);
    println!("error: {}", error.err().ok_or("no error")?);
    let same = Rows::from_slice(&row[..9000], 1, 9000).expect("a row");
    rank.aggregate_blocking(&Krum::default(), &same, 1).map_err(|e| e.to_string()).map(drop)
}

/// Prints the process, and calls until the job ends.
fn for_ever(transport: Mpi) -> Outcome {
    println!("rank {} is {}", transport.rank(), std::process::id());
    let (rank, row) = one_row(transport, 100_000);
    let row = Rows::from_slice(&row, 1, 100_000).expect("a row");
    loop {
        rank.aggregate_blocking(&Krum::default(), &row, 1).map_err(|e| e.to_string())?;
    }
}

fn a_panic(transport: Mpi) -> Outcome {
    assert!(transport.rank() != 1, "rank 1 panics");
    for_ever(transport)
}

fn an_early_end(transport: Mpi) -> Outcome {
    if transport.rank() == 1 { Err(Error::NoWorkers.to_string()) } else { for_ever(transport) }
}

/// A job of so many ranks.
fn job(ranks: usize, what: &str) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-np", &ranks.to_string()]).arg(program).arg(what);
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    started.unwrap_or_else(|e| panic!("mpirun: {e}; Debian and Ubuntu have it in the package openmpi-bin"))
}

/// The job's output, if it ends in time.
fn ended(mut job: Child, limit: Duration) -> Output {
    let start = Instant::now();
    while job.try_wait().expect("a job").is_none() {
        if start.elapsed() > limit {
            let _ = job.kill();
            panic!("the job hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    job.wait_with_output().expect("a job")
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

/// Does a process still do anything? One that has ended is listed until its parent looks.
fn lives(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("(zombie)") && !line.contains("(dead)"))
}

fn launch() {
    for ranks in [1, 2, 4] {
        let output = ended(job(ranks, "as-one-process"), LIMIT);
        assert!(output.status.success() && lines(&output).len() == ranks, "{output:?}");
        println!("{}: as one process", lines(&output).join(", "));
    }

    let output = ended(job(4, "another-length"), LIMIT);
    let errors = lines(&output);
    assert!(output.status.success() && errors.len() == 4 && errors.iter().all(|e| *e == errors[0]), "{output:?}");
    assert!(errors[0].contains("row 2 has 9001"), "{}", errors[0]);
    println!("rows of different lengths: {}", errors[0]);

    for what in ["a-panic", "an-early-end"] {
        let output = ended(job(3, what), END);
        assert!(!output.status.success(), "{output:?}");
        println!("{what}: the job ends");
    }

    let mut running = job(3, "for-ever");
    let mut printed = BufReader::new(running.stdout.take().expect("output")).lines();
    let mut processes: Vec<(String, String)> = Vec::new();
    while processes.len() < 3 {
        let line = printed.next().expect("a line").expect("text");
        let (rank, process) = line.split_once(" is ").expect("a process");
        processes.push((rank.into(), process.into()));
    }
    std::thread::sleep(Duration::from_millis(300));
    let victim = processes.iter().find(|(rank, _)| rank == "rank 1").expect("rank 1");
    assert!(Command::new("kill").args(["-9", &victim.1]).status().expect("kill").success());
    let start = Instant::now();
    let output = ended(running, END);
    assert!(!output.status.success(), "{output:?}");
    for (rank, process) in &processes {
        while lives(process) {
            assert!(start.elapsed() < END, "{rank} lives on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!("kill -9 of rank 1 of 3: the job ends after {:.1} s", start.elapsed().as_secs_f64());
}
