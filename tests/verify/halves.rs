//! Rows of halves give what the same values in f32 give, bit for bit, for half the bytes.

use crate::agree::parsed;
use crate::check::{Failures, same_bits};
use crate::device;
use resam::{Aggregate, DistributedMomentum, Dtype, Element, Engine, Input, Report, Rows, Rule, bench, bf16, f16};
use std::sync::Arc;

/// A type of 16 bits.
trait Half: Element + Into<f32> {
    const DTYPE: Dtype;
    fn of_bits(bits: u16) -> Self;
    fn nearest(value: f32) -> Self;
}

impl Half for f16 {
    const DTYPE: Dtype = Dtype::F16;
    fn of_bits(bits: u16) -> Self {
        Self::from_bits(bits)
    }
    fn nearest(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Half for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
    fn of_bits(bits: u16) -> Self {
        Self::from_bits(bits)
    }
    fn nearest(value: f32) -> Self {
        Self::from_f32(value)
    }
}

/// n rows: ordinary values, ties and zeros of both signs, denormal numbers; where `hostile`, the last row is any bits, NaN and
/// infinities among them.
fn values<H: Half>(n: usize, d: usize, hostile: bool) -> Vec<H> {
    let mut random = fastrand::Rng::with_seed((n * d) as u64);
    let mut value = |i: usize| match random.u32(..8) {
        _ if hostile && i + 1 == n => H::of_bits(random.u16(..)),
        0 => H::nearest(random.i32(-2..3) as f32),
        1 => H::nearest(if random.bool() { 0.0 } else { -0.0 }),
        2 => H::of_bits(random.u16(..) & 0x807f),
        _ => H::nearest(random.f32() - 0.5),
    };
    let mut values: Vec<H> = (0..n * d).map(|at| value(at / d)).collect();
    if hostile {
        values[n * d - 1] = H::nearest(f32::NAN);
        values[(n - 1) * d] = H::nearest(f32::NEG_INFINITY);
    }
    values
}

fn widened<H: Half>(halves: &[H]) -> Vec<f32> {
    halves.iter().map(|half| (*half).into()).collect()
}

fn all_rules() -> Vec<Arc<dyn Rule>> {
    let chains = ["nnm+trimmed_mean", "nnm+median", "nnm+aksel", "arc+meamed", "bucketing+krum", "geometric_median:method=direct"];
    bench::rules().into_iter().chain(parsed(&chains)).collect()
}

fn engines() -> Vec<(&'static str, Engine)> {
    let all = device::engines().into_iter().chain([("reference", Engine::reference())]);
    all.map(|(name, engine)| (name, device::small_sample(engine))).collect()
}

/// The same result, and the same report of half the bytes.
fn same(halves: &resam::Result<Aggregate>, wide: &resam::Result<Aggregate>) -> Result<(), String> {
    let (halves, wide) = match (halves, wide) {
        (Ok(halves), Ok(wide)) => (halves, wide),
        (Err(halves), Err(wide)) if halves == wide => return Ok(()),
        other => return Err(format!("{other:?}")),
    };
    same_bits(&halves.values, &wide.values)?;
    let read = halves.report.bytes_read;
    let halves = Report { bytes_read: 2 * read, bytes_uploaded: 0, bytes_downloaded: 0, ..halves.report.clone() };
    let wide = Report { bytes_uploaded: 0, bytes_downloaded: 0, ..wide.report.clone() };
    if halves == wide { Ok(()) } else { Err(format!("{halves:?} of {read} bytes, but {wide:?}")) }
}

/// Rows in host memory and rows that the engine holds, of even and odd length, one column, and more than a block of them.
fn agree<H: Half>() {
    let (n, f) = (11, 2);
    let mut failures = Failures::default();
    for (d, hostile) in [(1, false), (7, true), (130, false), (4103, true)] {
        let halves = values::<H>(n, d, hostile);
        let wide = widened(&halves);
        let (halves, wide) = (Rows::from_slice(&halves, n, d).expect("rows"), Rows::from_slice(&wide, n, d).expect("rows"));
        assert_eq!((halves.dtype(), wide.dtype()), (H::DTYPE, Dtype::F32));
        for (name, engine) in engines() {
            let held = engine.load_blocking(&halves).expect("a matrix");
            let read = same_bits(&held.read_blocking().expect("values"), &wide.iter().collect::<Vec<_>>().concat());
            failures.note(|| format!("{name}, {d} columns read back"), read);
            for rule in all_rules() {
                // Their definitions enumerate subsets of rows.
                if name == "reference" && d > 1000 && ["mda", "mva", "smea", "bulyan"].contains(&rule.name()) {
                    continue;
                }
                let aggregate = |input: Input<'_>| engine.aggregate_blocking(&*rule, input, f);
                let case = |what| format!("{} on {name}, {what} of {d} columns", rule.spec());
                let want = aggregate((&wide).into());
                failures.note(|| case("rows"), same(&aggregate((&halves).into()), &want));
                let want = aggregate((&engine.load_blocking(&wide).expect("a matrix")).into());
                failures.note(|| case("a matrix"), same(&aggregate((&held).into()), &want));
            }
        }
    }
    failures.settle();
}

#[test]
fn f16_rows_are_their_values_in_f32() {
    agree::<f16>();
}

#[test]
fn bf16_rows_are_their_values_in_f32() {
    agree::<bf16>();
}

/// Momentums are kept in f32, whatever the type of the gradients.
#[test]
fn gradients_of_halves() {
    let (n, d, f) = (7, 4099, 2);
    for (name, engine) in engines() {
        for rule in parsed(&["median", "krum", "nnm+trimmed_mean"]) {
            let [mut one, mut two] = [0, 1].map(|_| DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums"));
            for hostile in [false, true] {
                let halves = values::<bf16>(n, d, hostile);
                let wide = widened(&halves);
                let [a, b] = [
                    one.step_and_aggregate_blocking(&*rule, &Rows::from_slice(&halves, n, d).expect("rows"), f),
                    two.step_and_aggregate_blocking(&*rule, &Rows::from_slice(&wide, n, d).expect("rows"), f),
                ]
                .map(|result| result.expect("an aggregate"));
                same_bits(&a.values, &b.values).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
                assert_eq!((a.report.absent, a.report.passes), (b.report.absent, b.report.passes));
            }
            assert_eq!(one.snapshot_blocking().expect("a snapshot"), two.snapshot_blocking().expect("a snapshot"), "{name}");
        }
    }
}

/// Slabs of a few columns, one after another; half the bytes go to the device.
#[cfg(feature = "gpu")]
#[test]
fn halves_stream() {
    let (n, d, f) = (11, 3 * 4096 + 5, 2);
    let [small, large] = [600 << 10, 16 << 20].map(|budget| device::small_sample(device::gpu_with_budget(budget)));
    let mut failures = Failures::default();
    let halves = values::<f16>(n, d, true);
    let wide = widened(&halves);
    let (halves, wide) = (Rows::from_slice(&halves, n, d).expect("rows"), Rows::from_slice(&wide, n, d).expect("rows"));
    for rule in parsed(&["median", "average", "krum", "nnm+trimmed_mean", "geometric_median:method=direct"]) {
        let want = large.aggregate_blocking(&*rule, &wide, f);
        let got = small.aggregate_blocking(&*rule, &halves, f);
        failures.note(|| rule.spec(), same(&got, &want));
        if let (Ok(got), Ok(want)) = (got, want) {
            // Tables beside the rows take little.
            let (rows, table) = ((2 * n * d) as u64, 4096);
            let (got, want, passes) = (got.report.bytes_uploaded, want.report.bytes_uploaded, got.report.passes as u64);
            let half = got <= passes * (rows + table) && want <= 2 * rows + passes * table && want >= 2 * rows;
            failures.note(|| rule.spec(), if half { Ok(()) } else { Err(format!("{got} and {want} bytes uploaded")) });
        }
    }
    failures.settle();
}
