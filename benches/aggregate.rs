//! Every rule and the plain read of the same bytes under criterion, which keeps a history: for changes from one commit to the next.
//! `resam bench` says how near they are to the limit.
//!
//! `cargo bench` measures the CPU and the GPU that `auto` takes; `RESAM_BENCH_DEVICE=NAME` names another one.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use resam::bench::{self, Bench, Work};
use resam::{Engine, Rows};

fn aggregate(c: &mut Criterion) {
    let named = std::env::var("RESAM_BENCH_DEVICE").unwrap_or("auto".into());
    let other = Engine::open_blocking(&named).expect("the device of RESAM_BENCH_DEVICE");
    let engines = if other.name().starts_with("cpu") { vec![Engine::cpu()] } else { vec![Engine::cpu(), other] };
    for (n, f, d) in [(15, 3, 1_000_000), (25, 5, 1_000_000), (51, 10, 400_000)] {
        let values: Vec<f32> = bench::data(n, d, 1).expect("room for n × d values");
        let rows = Rows::from_slice(&values, n, d).expect("n × d values");
        let mut group = c.benchmark_group(format!("n={n} f={f} d={d}"));
        group.sample_size(10).throughput(Throughput::Bytes(4 * (n * d) as u64));
        for engine in &engines {
            let mut bench = Bench::new(engine, &rows, f).expect("an engine to measure");
            let plain = if engine.name().starts_with("cpu") { vec![Work::Read] } else { vec![Work::Read, Work::Upload] };
            for work in plain.into_iter().chain(bench::rules().into_iter().map(Work::Rule)) {
                // A rule that gives up at this size has nothing to measure.
                if bench.run(&work).is_ok() {
                    let name = format!("{}/{}", work.name(), engine.name());
                    group.bench_function(name, |b| b.iter(|| bench.run(&work).expect("what it did before")));
                }
            }
        }
        group.finish();
    }
}

criterion_group!(benches, aggregate);
criterion_main!(benches);
