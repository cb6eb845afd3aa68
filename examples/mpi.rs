//! Eight workers, two of them hostile, on any number of MPI ranks: a robust all-reduce of their gradients.
//!
//! `cargo build --release --features mpi --example mpi && mpirun -np 4 target/release/examples/mpi`
//!
//! The columns (by default 100,000) and how often each rule is timed may be given: `mpi 10000000 5`.

use resam::distributed::{Distributed, Transport, mpi};
use resam::{Engine, Error, Result, Rows, Spec};
use std::time::Instant;

const WORKERS: usize = 8;

/// What a worker would send: noise about a common vector; the last two are hostile.
fn gradient(worker: usize, d: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(worker as u64);
    let honest = |k: usize, noise: f32| (k as f32 * 0.37).sin() + noise - 0.5;
    let row = (0..d).map(|k| if worker < 6 { honest(k, random.f32()) } else { -1e20 * honest(k, random.f32()) });
    row.collect()
}

fn work(transport: mpi::Mpi) -> Result<()> {
    let mut arguments =
        std::env::args().skip(1).map(|argument| argument.parse::<usize>().map_err(|e| Error::Transport(e.to_string())));
    let (d, times) = (arguments.next().unwrap_or(Ok(100_000))?, arguments.next().unwrap_or(Ok(0))?);
    let (rank, ranks) = (transport.rank(), transport.ranks());
    let mine: Vec<Vec<f32>> = (WORKERS * rank / ranks..WORKERS * (rank + 1) / ranks).map(|worker| gradient(worker, d)).collect();
    let rows = if mine.is_empty() { None } else { Some(Rows::from_vecs(&mine)?) };

    let rank = Distributed::new(Engine::open_blocking("auto")?, transport);
    for rule in ["average", "median", "trimmed_mean", "krum", "geometric_median", "nnm+trimmed_mean"] {
        let spec: Spec = rule.parse()?;
        let result = rank.aggregate_blocking(spec.rule(), rows.as_ref(), 2)?;
        let digest = result.values.iter().fold(0u32, |digest, y| digest.rotate_left(5) ^ y.to_bits());
        let first = result.values.first().unwrap_or(&0.0);
        if rank.transport().rank() == 0 {
            println!("{rule:17} {first:10.3e} ...  digest {digest:08x}  kept rows {:?}", result.report.kept);
        }
        let started = Instant::now();
        for _ in 0..times {
            rank.aggregate_blocking(spec.rule(), rows.as_ref(), 2)?;
        }
        if times > 0 && rank.transport().rank() == 0 {
            eprintln!("{rule:17} {:7.1} ms on {ranks} ranks", started.elapsed().as_secs_f64() / times as f64 * 1e3);
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    mpi::run(work)
}
