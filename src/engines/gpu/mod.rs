//! The GPU engine: the same plans as WGSL kernels through wgpu. All of wgpu lives in this folder.
//!
//! - `buffers`: rows and results in buffers of the caller's
//! - `adapters`: what there is and which one a name means
//! - `caller`: rows and results as a caller has them, for measurements
//! - `shared`: what an engine offers on a device that the caller uses as well
//! - `shader`: the text of every kernel
//! - `clock`: the time that kernels take, by the device's own clock
//! - `cache`: compiled pipelines in a file
//! - `device`: a device with its pipelines, spare buffers and errors
//! - `device_rule`: rules as commands in an encoder of the caller's
//! - `slabs`: a matrix as slabs of columns, on the device or streaming from the host
//! - `layout`: how a matrix is cut
//! - `pool`: spare buffers, recorded work
//! - `params`: the structs that host and kernels share
//! - `races`: a test of all kernels with their invocations in another order
//! - `passes`: what the engine offers to [`crate::engines::execute`]

mod adapters;
mod buffers;
mod cache;
mod caller;
mod clock;
mod device;
mod device_rule;
mod layout;
mod params;
mod passes;
mod pool;
mod races;
mod shader;
mod shared;
mod slabs;

pub use adapters::{AdapterInfo, adapters};
pub(crate) use buffers::Sink;
pub use buffers::{DeviceRows, DeviceVector};
pub(crate) use caller::Caller;
pub use device_rule::{DeviceReport, DeviceRule};
pub(crate) use slabs::Resident;
pub use wgpu;

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::momentum::Gradients;
use crate::plan::Stat;
use crate::rows::Rows;
use crate::rules::Rule;
use device::Device;
use futures::future::{BoxFuture, FutureExt};
use layout::Layout;
use passes::GpuPasses;
use shader::{Coordinate, Of};
use slabs::Source;
use std::path::PathBuf;
use std::sync::Arc;

/// Settings of the GPU engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Part of an adapter's name or driver, without regard to case; `None` for the best real GPU. `NAME#1` is the second of those that
    /// answer to it, `gpu#1` the second real GPU.
    pub adapter: Option<String>,
    /// Device memory in bytes that one call may take for data in host memory; `None` for 2 GiB. A matrix that does not fit
    /// streams through in slabs of columns, once for each read.
    pub memory_budget: Option<u64>,
    /// Folder in which [`Engine::prepare`](crate::Engine::prepare) keeps compiled pipelines for later processes, on adapters that can
    /// (Vulkan); `None` for none. Whoever can write to it must be trusted.
    pub pipeline_cache: Option<PathBuf>,
}

/// Budget when none is given.
const BUDGET: u64 = 2 << 30;

/// The GPU engine.
#[derive(Debug, Clone)]
pub(crate) struct GpuEngine {
    device: Arc<Device>,
    budget: u64,
}

impl GpuEngine {
    pub(crate) fn new(options: GpuOptions) -> BoxFuture<'static, Result<Self>> {
        async move {
            let (adapter, info) = adapters::choose(options.adapter.as_deref()).await?;
            let budget = options.memory_budget.unwrap_or(BUDGET);
            let device = Arc::new(Device::open(adapter, info, budget, options.pipeline_cache.as_deref()).await?);
            Ok(Self { device, budget })
        }
        .boxed()
    }

    /// On a device that the caller uses as well.
    pub(crate) fn on(device: wgpu::Device, queue: wgpu::Queue, memory_budget: Option<u64>) -> Result<Self> {
        let (budget, info) = (memory_budget.unwrap_or(BUDGET), AdapterInfo::of_device(&device));
        Ok(Self { device: Arc::new(Device::share(device, queue, info, budget)?), budget })
    }

    /// Its device and queue.
    pub(crate) fn wgpu(&self) -> (&wgpu::Device, &wgpu::Queue) {
        self.device.wgpu()
    }

    /// A place for d values that are made of these rows, if they stand in a buffer.
    pub(crate) fn sink<'a>(&self, out: &DeviceVector, d: usize, rows: Option<&DeviceRows>) -> Result<Sink<'a>> {
        Ok(Sink::Device(out.write_on(&self.device, d, rows)?))
    }

    /// A rule as commands for encoders of the caller's.
    pub(crate) fn device_rule(&self, rule: &dyn Rule, n: usize, d: usize, f: usize, dtype: Dtype) -> Result<DeviceRule> {
        takes(n)?;
        DeviceRule::new(&self.device, rule, n, d, f, dtype)
    }

    /// Passes over rows in a buffer of the caller's, timed on the device if asked.
    pub(crate) fn foreign<'a>(&self, rows: &DeviceRows, timed: bool) -> Result<GpuPasses<'a>> {
        takes(rows.n())?;
        Ok(GpuPasses::new(self.device.clone(), Source::Foreign(rows.read_on(&self.device)?), timed))
    }

    /// Compiles what only long rows need.
    pub(crate) fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        passes::prepare_adding(&self.device).boxed()
    }

    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.device.info.name, self.device.info.backend)
    }

    /// Keeps compiled pipelines for later processes, if they were to be.
    pub(crate) fn save_pipelines(&self) -> Result<()> {
        self.device.save_pipelines()
    }

    /// Can its device tell how long kernels took?
    pub(crate) fn has_clock(&self) -> bool {
        self.device.clock().is_some()
    }

    /// Does this engine's device hold the matrix?
    pub(crate) fn holds(&self, resident: &Resident) -> bool {
        Arc::ptr_eq(&self.device, resident.device())
    }

    /// Copies rows to the device. The gradients that step momentums are uploaded slab by slab.
    pub(crate) async fn load(&self, rows: &Rows<'_>, momentums: bool) -> Result<Resident> {
        takes(rows.n())?;
        Resident::load(&self.device, rows, if momentums { layout::UPLOADED } else { layout::RESIDENT }).await
    }

    /// Passes over rows in host memory, timed on the device if asked; they stay on the device between the passes of a call if the budget allows.
    pub(crate) fn stream<'a>(&self, rows: &'a Rows<'a>, timed: bool) -> Result<GpuPasses<'a>> {
        takes(rows.n())?;
        let layout = Layout::within(&self.device, rows.n(), rows.d(), rows.dtype(), self.budget)?;
        let whole = Self::whole(rows, layout) <= self.budget;
        Ok(GpuPasses::new(self.device.clone(), Source::host(rows, layout, whole), timed))
    }

    /// Bytes that a call takes whose rows stay on the device between its passes.
    fn whole(rows: &Rows<'_>, layout: Layout) -> u64 {
        let dtype = rows.dtype();
        (dtype.size() * rows.n() * rows.d()) as u64 + 2 * layout.slab_bytes(dtype)
    }

    /// What a call over rows in host memory takes of the budget, 1 being all.
    pub(crate) fn share(&self, rows: &Rows<'_>) -> f64 {
        let layout = Layout::within(&self.device, rows.n(), rows.d(), rows.dtype(), self.budget);
        // One that does not fit streams through all of it.
        layout.map_or(0.0, |layout| (Self::whole(rows, layout) as f64 / self.budget as f64).min(1.0))
    }

    /// Passes over a matrix on the device, timed on it if asked.
    pub(crate) fn resident<'a>(&self, resident: &'a Resident, timed: bool) -> Result<GpuPasses<'a>> {
        takes(resident.n())?;
        Ok(GpuPasses::new(self.device.clone(), Source::Resident(resident), timed))
    }

    /// May a coordinate pass step momentums on its way?
    pub(crate) fn can_step(stat: Stat, values: usize) -> bool {
        Coordinate { stat, values, of: Of::Momentums, diagnose: false }.can_step()
    }

    /// Passes over gradients in host memory or in a buffer of the caller's, timed on the device if asked; a coordinate pass steps the momentums
    /// on its way.
    pub(crate) fn stepping<'a>(
        &self,
        momentums: &'a Resident,
        gradients: Gradients<'a>,
        beta: f32,
        timed: bool,
    ) -> Result<GpuPasses<'a>> {
        takes(gradients.n())?;
        let source = match gradients {
            Gradients::Rows(rows) => Source::host(rows, momentums.layout(), false),
            Gradients::Device(rows) => Source::Foreign(rows.read_on(&self.device)?.cut_as(momentums.layout())),
        };
        Ok(GpuPasses::new(self.device.clone(), source, timed).stepping(momentums, beta))
    }
}

/// Refuses more rows than the kernels take.
pub(crate) fn takes(n: usize) -> Result<()> {
    match n {
        ..=shader::MOST_ROWS => Ok(()),
        _ => Err(Error::parameter("gpu", "n", n, format_args!("at most {} rows; the CPU engine takes more", shader::MOST_ROWS))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Kind};
    use crate::engines::execute::Options;
    use crate::matrix::Input;
    use crate::rules::all;
    use crate::spec::Spec;
    use futures::future::join3;

    pub(super) fn open() -> GpuEngine {
        let named = std::env::var("RESAM_TEST_DEVICE").ok();
        let real = pollster::block_on(adapters()).iter().any(|a| a.real);
        let adapter = named.or_else(|| (!real).then(|| "lavapipe".into())).filter(|name| name != "gpu");
        let engine = pollster::block_on(GpuEngine::new(GpuOptions { adapter, ..GpuOptions::default() }));
        engine.expect("a Vulkan adapter; Mesa's software one is in the package mesa-vulkan-drivers")
    }

    #[test]
    fn plain_reads_and_copies_see_every_value() {
        use crate::engines::passes::{Passes, Plain};
        let engine = open();
        let folded = |n: usize, d: usize, what| {
            let values: Vec<f32> = crate::bench::data(n, d, 5).unwrap();
            let rows = Rows::from_slice(&values, n, d).unwrap();
            let resident = pollster::block_on(engine.load(&rows, false)).unwrap();
            let mut passes = engine.resident(&resident, true).unwrap();
            let got = pollster::block_on(passes.plain(what, &mut [])).unwrap();
            let clock = pollster::block_on(passes.device_seconds());
            assert_eq!((clock.is_some(), clock.is_none_or(|seconds| seconds > 0.0)), (engine.has_clock(), true));
            (got, bytemuck::cast_slice(&values).iter().fold(0, |all, v: &u16| all ^ v))
        };
        // No padding, and more than one group. Of a copy the first four values come back.
        let (got, expected) = folded(8, 64 * 321, Plain::Read);
        assert_eq!(got, expected);
        let (got, expected) = folded(1, 4, Plain::Copy);
        assert_eq!(got, expected);
    }

    /// A rule is made of buffers that calls before it used, some larger than it needs: it sees nothing behind its own part.
    #[test]
    fn what_spare_buffers_held_is_not_seen() {
        use super::device::Use;
        let (engine, n, f, d) = (open(), 9, 2, 84);
        let device = &engine.device;
        let mut values: Vec<f32> = crate::bench::data(n, d, 7).unwrap();
        // Behind the ends of rows 2 and 4, where a longer list of columns looks.
        [3, 5].into_iter().for_each(|i| values[i * d..][..d].fill(f32::NAN));
        for spec in ["krum", "nnm+median", "geometric_median", "centered_clipping"] {
            let rule = spec.parse::<Spec>().unwrap().into_rule();
            let longer = [(0..128).collect::<Vec<u32>>(), vec![u32::MAX; 64]].map(|held| device.filled(Use::Storage, &held));
            drop(longer);
            let made = engine.device_rule(&*rule, n, d, f, crate::dtype::Dtype::F32).unwrap();
            let (rows, out) = (device.filled(Use::Storage, &values).own(), device.storage(d));
            let mut encoder = device.encoder();
            let commands = made.encode(&mut encoder, &DeviceRows::new(&rows.buffer, n, d), &DeviceVector::new(&out.buffer));
            commands.unwrap();
            device.submit(encoder);
            assert_eq!(made.report_blocking().map(|report| report.non_finite), Ok(vec![3, 5]), "{spec}");
        }
    }

    /// All bit patterns of a row of odd length.
    #[test]
    fn halves_are_widened_exactly() {
        use crate::dtype::Dtype;
        use crate::engines::passes::Passes;
        let engine = open();
        let bits: Vec<u16> = (0..=u16::MAX).chain([1]).collect();
        let columns: Vec<usize> = (0..bits.len()).collect();
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let values = dtype.values(bytemuck::cast_slice(&bits));
            let words = [values.words(), values.words()];
            let resident = pollster::block_on(engine.load(&Rows::of_words(&words, bits.len(), dtype), false)).unwrap();
            let got = pollster::block_on(engine.resident(&resident, false).unwrap().sample(&[0, 1], &columns)).unwrap();
            for (k, got) in got.iter().enumerate() {
                let want = values.at(k % bits.len());
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{dtype} {k:x}: {got:e}, expected {want:e}"
                );
            }
        }
    }

    /// Plain means of rows are rounded once, whatever is in a row that they leave out; those that take a larger row than most do are as near as
    /// a plain sum. Plain sums everywhere would not be.
    #[test]
    fn plain_means_are_right_to_a_rounding() {
        use crate::engines::passes::{Columns, First, Mixed, Passes};
        use crate::geometry::Mixing;
        let (engine, d, m) = (open(), 100, 4);
        let mut random = fastrand::Rng::with_seed(6);
        let (mut most, mut of_plain_sums) = (0.0f64, 0.0f64);
        let mut cases =
            vec![(1, 0, 1.0), (8, 0, 300.0), (20, 0, 1e5), (60, 0, 1e20), (4, -130, 1e-37), (2, 120, 1e37), (1, 0, 3e38)];
        // All rows but the last one alike, or just below 1: sums that round in one direction.
        cases.extend([(-1, 0, 1e12), (-2, 0, 1e12), (-2, 0, 1.0)]);
        for (n, taken) in [(4, 2), (15, 12), (25, 20), (33, 25), (120, 119)] {
            for &(places, about, far) in &cases {
                let mut value = |k: usize| {
                    if places < 0 {
                        return if places == -1 { 0.7 } else { 1.0 - random.u8(..) as f32 * f32::exp2(-24.0) };
                    }
                    let size = f32::exp2((about + random.i32(0..=places)) as f32) * (1.0 + random.f32());
                    let sign = if random.bool() { 1.0 } else { -1.0 };
                    if k.is_multiple_of(9) && random.bool() { 0.0 * sign } else { size * sign }
                };
                let mut values: Vec<f32> = (0..n * d).map(|k| value(k % d)).collect();
                // The last row, which all but the last mixed row leave out, is far in half of the columns.
                values[(n - 1) * d..].iter_mut().step_by(2).for_each(|v| *v = far);
                let kept = |i: usize| (0..taken).map(move |j| if i == m - 1 { n - 1 - j } else { (i + j) % (n - 1) });
                let mixing = Mixing::means((0..m).map(|i| kept(i).collect::<Vec<_>>()), n);
                let (rows, scales): (Vec<usize>, _) = ((0..n).collect(), vec![1.0; n]);
                let resident = pollster::block_on(engine.load(&Rows::from_slice(&values, n, d).unwrap(), false)).unwrap();
                let ranked = |r: usize| {
                    let mut out = vec![f32::NAN; d];
                    let first = First::Mixed(Mixed { mixing: &mixing, centre: 0, scales: &scales });
                    let what = Columns { rows: &rows, first, stat: Stat::Ranks { from: r, to: r + 1 }, diagnose: false };
                    let mut passes = engine.resident(&resident, false).unwrap();
                    pollster::block_on(passes.coordinate(&what, &mut Sink::Host(&mut out))).unwrap();
                    out
                };
                let ranked: Vec<Vec<f32>> = (0..m).map(ranked).collect();
                for k in 0..d {
                    let size = |j: usize| f64::from(values[j * d + k].abs());
                    let all = (0..n).map(size).fold(0.0, f64::max);
                    let uses = |j: &usize| (0..m).filter(|&i| mixing.weights(i)[*j] != 0.0).count();
                    let common = (0..n).filter(|j| 2 * uses(j) > m).map(size).reduce(f64::max).unwrap_or(all);
                    // The mean, its bound, and what a plain sum makes of it.
                    let exact = |i: usize| {
                        let mean = kept(i).map(|j| f64::from(values[j * d + k])).sum::<f64>() / taken as f64;
                        let largest = kept(i).map(size).fold(0.0, f64::max);
                        // Compensated sums are no nearer than plain ones about a row where a device does not fuse products.
                        let error = if all < 2f64.powi(97) {
                            let cut = common * n.next_power_of_two().max(4) as f64 * 2f64.powi(-24);
                            0.375 * taken as f64 * if largest <= common { largest.min(cut) } else { largest }
                        } else {
                            (taken + 2) as f64 * largest
                        };
                        let bound = 2f64.powi(-24) * (mean.abs() + error) + 2f64.powi(-123);
                        (mean, bound, kept(i).map(|j| values[j * d + k]).sum::<f32>() / taken as f32)
                    };
                    let mut exact: Vec<_> = (0..m).map(exact).collect();
                    exact.sort_by(|a, b| a.0.total_cmp(&b.0));
                    for (r, &(mean, bound, plain)) in exact.iter().enumerate() {
                        // Means that rounding may exchange.
                        let close = exact.iter().filter(|other| (other.0 - mean).abs() <= other.1 + bound);
                        let bound = bound + close.map(|other| other.1).fold(0.0, f64::max);
                        let error = |z: f32| (f64::from(z) - mean).abs() / bound;
                        let z = ranked[r][k];
                        let what = format!("n = {n}, {places} places about 2^{about}, far {far:e}, column {k}, rank {r}");
                        assert!(error(z) <= 1.0, "{what}: {z:e}, expected {mean:e}, {} times {bound:e}", error(z));
                        (most, of_plain_sums) = (most.max(error(z)), of_plain_sums.max(error(plain)));
                    }
                }
            }
        }
        assert!(most > 0.1 && of_plain_sums > 10.0, "{most}, {of_plain_sums}");
    }

    /// Sums of blocks have the same bits whether the device adds those of a slab or the host those of each block; a sum that is not
    /// finite is none on either.
    #[test]
    fn the_device_adds_as_exactly_as_the_host() {
        use crate::engines::passes::{Centre, Frame, Passes};
        let (engine, n) = (open(), 6);
        let d = (2 * passes::BLOCKS_FETCHED + 3) * shader::BLOCK + 5;
        let mut values: Vec<f32> = crate::bench::data(n, d, 9).unwrap();
        // Columns of very different sizes; one row whose square overflows in one block.
        values.iter_mut().enumerate().for_each(|(k, v)| *v *= f32::exp2((k % d / shader::BLOCK) as f32 - 40.0));
        values[5 * d + 7] = 1e30;
        let rows = Rows::from_slice(&values, n, d).unwrap();
        let (all, scales): (Vec<usize>, _) = ((0..n).collect(), vec![1.0; n]);
        let frames = [Centre::Row(0), Centre::Row(1)].map(|centre| Frame { centre, scales: &scales });
        let products = |mut passes: GpuPasses<'_>| {
            let sums = pollster::block_on(passes.gram(&all, &frames)).unwrap().finish();
            let products = sums.products.concat().into_iter().map(f64::to_bits).collect::<Vec<_>>();
            (products, sums.largest, passes.traffic().downloaded)
        };
        let resident = pollster::block_on(engine.load(&rows, false)).unwrap();
        let on_device = products(engine.resident(&resident, false).unwrap());
        let small = GpuEngine { budget: (8 * 6 * 4 * n * shader::BLOCK) as u64, ..engine.clone() };
        let on_host = products(small.stream(&rows, false).unwrap());
        assert_eq!((&on_device.0, &on_device.1), (&on_host.0, &on_host.1));
        assert_eq!(on_device.0.iter().filter(|bits| f64::from_bits(**bits).is_nan()).count(), 2);
        // 19 numbers a sum in place of 67.
        assert!(3 * on_device.2 < on_host.2, "{} and {} bytes", on_device.2, on_host.2);
    }

    /// Products are those of the CPU for odd and even numbers of vectors and squares, the most that one group owns and one more, few columns and
    /// many; about a row, about two, and about medians of odd and even numbers of voters.
    #[test]
    fn products_are_those_of_the_cpu() {
        use crate::engines::cpu::{CpuEngine, CpuRows};
        use crate::engines::passes::{Centre, Frame, Passes};
        let (engine, cpu) = (open(), CpuEngine::all_cores());
        let few = [1, 2, 3, 4, 5, 8, 9, 13].map(|n| (n, if n % 2 == 0 { 300 } else { 2 * shader::BLOCK + 70 }));
        let many = [(25, 300), (57, 300), (100, 300), (128, 90), (129, 90), (301, 40)];
        for (n, d) in few.into_iter().chain(many) {
            let mut values: Vec<f32> = crate::bench::data(n, d, n as u64).unwrap();
            // Values among them that no mean would do for.
            values.iter_mut().skip(1).step_by(7).for_each(|v| *v *= 1e3);
            let rows = Rows::from_slice(&values, n, d).unwrap();
            let (all, scales): (Vec<usize>, _) = ((0..n).collect(), vec![1.0; n]);
            let resident = pollster::block_on(engine.load(&rows, false)).unwrap();
            let about = |centre| Frame { centre, scales: &scales };
            let median = |voters| about(Centre::Median { voters });
            let mut views = vec![vec![about(Centre::Row(0))], vec![median(n)], vec![median(n.max(2) - 1)]];
            // Another kernel, of which some sizes are enough.
            if [5, 9, 129].contains(&n) {
                views.push(vec![about(Centre::Row(n - 1)), about(Centre::Row(0))]);
            }
            for frames in views {
                let mut passes = engine.resident(&resident, false).unwrap();
                let got = pollster::block_on(passes.gram(&all, &frames)).unwrap().finish();
                let expected = pollster::block_on(CpuRows::new(&cpu, &rows).gram(&all, &frames)).unwrap().finish();
                assert_eq!(got.largest, expected.largest, "n = {n}");
                for (frame, (got, expected)) in got.products.iter().zip(&expected.products).enumerate() {
                    for (k, (got, want)) in got.iter().zip(expected).enumerate() {
                        let size = (expected[k / n * (n + 1)] * expected[k % n * (n + 1)]).sqrt();
                        let what = format!(
                            "{n} rows, frame {frame} of {:?}, product {k}",
                            frames.iter().map(|f| f.centre).collect::<Vec<_>>()
                        );
                        assert!((got - want).abs() <= 1e-5 * size, "{what}: {got:e}, expected {want:e}");
                    }
                }
            }
        }
    }

    /// Once every size was seen, and as many at a time as ever are, calls make no buffer, alone or together.
    #[test]
    fn a_steady_state_makes_no_buffers() {
        let engine = open();
        let device = engine.device.clone();
        let rows: Vec<Vec<f32>> = (0..40).map(|k| crate::bench::data(5, 100 + 300 * (k % 3), k as u64).unwrap()).collect();
        let rows: Vec<Rows> = rows.iter().map(|values| Rows::from_slice(values, 5, values.len() / 5).unwrap()).collect();
        let inputs: Vec<Input> = rows.iter().map(Input::from).collect();
        let engine = Engine::from(Kind::Gpu(engine)).with_options(Options { sample: 64, ..Options::default() });
        let specs = ["median", "krum", "geometric_median", "nnm+trimmed_mean"].map(|spec| spec.parse::<Spec>().unwrap());
        let calls = || {
            for spec in &specs {
                assert!(engine.aggregate_many_blocking(spec.rule(), &inputs, 1).iter().all(Result::is_ok));
                inputs.iter().for_each(|input| assert!(engine.aggregate_blocking(spec.rule(), *input, 1).is_ok()));
            }
        };
        // How many are in use at a time is up to the driver's threads.
        let steady = (0..10).any(|_| {
            let made = device.buffers();
            (0..3).for_each(|_| calls());
            device.buffers() == made
        });
        assert!(steady);
    }

    /// A matrix four times as large as the budget streams through it; other sizes before and after leave no more behind.
    #[test]
    fn device_memory_stays_within_the_budget() {
        let device = open().device.info.name.clone();
        let budget = 8 << 20;
        let options = GpuOptions { adapter: Some(device), memory_budget: Some(budget), ..GpuOptions::default() };
        let gpu = pollster::block_on(GpuEngine::new(options)).unwrap();
        let device = gpu.device.clone();
        let engine = Engine::from(Kind::Gpu(gpu));
        for (n, d) in [(8, 100_000), (25, 330_000), (60, 20_000), (5, 1_600_000), (3, 469_000)] {
            let values: Vec<f32> = crate::bench::data(n, d, 1).unwrap();
            let rows = Rows::from_slice(&values, n, d).unwrap();
            for spec in ["median", "nnm+trimmed_mean", "krum", "average"] {
                engine.aggregate_blocking(spec.parse::<Spec>().unwrap().rule(), &rows, 1).unwrap();
                let peak = device.buffers().1;
                assert!(peak <= budget, "{spec} of {n} x {d}: {peak} bytes");
            }
        }
        // Many matrices in a call, each of which takes a third of it.
        let values: Vec<f32> = crate::bench::data(8, 28_000, 1).unwrap();
        let rows = Rows::from_slice(&values, 8, 28_000).unwrap();
        let results = engine.aggregate_many_blocking(&crate::rules::TrimmedMean, &[Input::from(&rows); 20], 1);
        assert!(results.iter().all(|result| result.as_ref().unwrap().values == results[0].as_ref().unwrap().values));
        let peak = device.buffers().1;
        assert!(peak <= budget, "{peak} bytes for many matrices");
    }

    /// What is compiled goes into a file that another engine opens.
    #[test]
    fn pipelines_are_kept() {
        let folder = std::env::temp_dir().join(format!("resam-pipelines-{}", std::process::id()));
        let device = open().device.info.name.clone();
        let open = || {
            let options =
                GpuOptions { adapter: Some(device.clone()), pipeline_cache: Some(folder.clone()), ..GpuOptions::default() };
            pollster::block_on(GpuEngine::new(options)).unwrap()
        };
        let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
        let first = open();
        let can = first.device.caches_pipelines();
        assert_eq!(files(), 0);
        let engine = Engine::from(Kind::Gpu(first));
        engine.prepare_blocking(&crate::rules::TrimmedMean, 5, 1).unwrap();
        assert_eq!(files(), usize::from(can));
        let again = Engine::from(Kind::Gpu(open()));
        again.prepare_blocking(&crate::rules::TrimmedMean, 5, 1).unwrap();
        assert_eq!(files(), usize::from(can));
        if can {
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    /// Rows of the full number and virtual ones behind them: what the last worker sends is not taken for a virtual row's.
    #[test]
    fn the_last_of_the_most_rows_spoils_no_virtual_row() {
        let (n, f, d) = (shader::MOST_ROWS, 100, 40);
        let small = Options { sample: 16, ..Options::default() };
        let gpu = Engine::from(Kind::Gpu(open())).with_options(small);
        let cpu = Engine::cpu().with_options(small);
        for (hostile, columns) in [(f32::NAN, 3..4), (f32::NAN, 20..21), (3e38, 0..d), (f32::INFINITY, 39..40)] {
            let mut values: Vec<f32> = crate::bench::data(n, d, 2).unwrap();
            values[(n - 1) * d..][columns].fill(hostile);
            let rows = Rows::from_slice(&values, n, d).unwrap();
            for rule in ["centered_clipping:tau=3", "rfa", "arc+multi_krum"].map(|spec| spec.parse::<Spec>().unwrap().into_rule()) {
                let [got, expected] = [&gpu, &cpu].map(|engine| engine.aggregate_blocking(&*rule, &rows, f).unwrap());
                assert_eq!(got.report.non_finite, expected.report.non_finite);
                for (y, x) in got.values.iter().zip(expected.values) {
                    assert!((y - x).abs() < 1e-5, "{} of {hostile}: {y} and {x}", rule.spec());
                }
            }
        }
    }

    /// One call's failure is in the submission of all: none may take what is in its buffers for a result.
    #[test]
    fn an_error_fails_every_call_that_it_may_have_cost_its_work() {
        let gpu = open();
        let device = gpu.device.clone();
        let engine = Engine::from(Kind::Gpu(gpu));
        let values: Vec<f32> = crate::bench::data(5, 3000, 1).unwrap();
        let rows = Rows::from_slice(&values, 5, 3000).unwrap();
        let rule = crate::rules::TrimmedMean;
        let call = || engine.aggregate(&rule, &rows, 1);
        let before = pollster::block_on(call()).unwrap();
        let no_memory = || drop(device.buffer(device::Use::Storage, 1 << 60));
        let refused = || {
            let buffer = device.buffer(device::Use::Storage, 256);
            let mut encoder = device.encoder();
            encoder.clear_buffer(&buffer.buffer, 0, Some(1 << 20));
            device.submit(encoder);
        };
        for plant in [&no_memory as &dyn Fn(), &refused] {
            let (first, second, ()) = pollster::block_on(join3(call(), call(), async { plant() }));
            for result in [first, second] {
                assert!(matches!(result, Err(Error::Device { .. })), "{result:?}");
            }
            // Once is not for ever.
            assert_eq!(pollster::block_on(call()).unwrap().values, before.values);
        }
    }

    /// A driver that loses the device during a wait makes wgpu panic and answer nobody: no call may wait for ever.
    #[test]
    fn a_device_that_is_lost_during_a_wait_wakes_all_calls() {
        let gpu = open();
        let device = gpu.device.clone();
        let engine = Engine::from(Kind::Gpu(gpu));
        let values: Vec<f32> = crate::bench::data(5, 3000, 1).unwrap();
        let rows = Rows::from_slice(&values, 5, 3000).unwrap();
        let call = || engine.aggregate(&crate::rules::TrimmedMean, &rows, 1);
        let plant = async { device.lose_while_waiting() };
        let (first, second, ()) = pollster::block_on(join3(call(), call(), plant));
        for result in [first, second, pollster::block_on(call())] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("lost"), "{error}");
        }
    }

    #[test]
    fn a_lost_device_is_an_error_and_a_new_engine_works() {
        let values: Vec<f32> = (0..50).map(|i| (i * i % 17) as f32).collect();
        let rows = Rows::from_slice(&values, 5, 10).unwrap();
        let engine = open();
        let loaded = pollster::block_on(engine.load(&rows, false)).unwrap();
        engine.device.lose();
        assert!(matches!(pollster::block_on(loaded.read()), Err(Error::Device { .. })));
        let lost = Engine::from(Kind::Gpu(engine));
        let fresh = Engine::from(Kind::Gpu(open()));
        for rule in all().into_iter().filter(|rule| rule.check(5, 1).is_ok() && rule.name() != "fltrust") {
            // A row of few columns is copied from host memory: nothing to lose.
            let result = lost.aggregate_blocking(&*rule, &rows, 1);
            let copied = result.as_ref().is_ok_and(|got| got.report.bytes_uploaded == 0);
            assert!(matches!(result, Err(Error::Device { .. })) || copied, "{}: {result:?}", rule.name());
            assert!(fresh.aggregate_blocking(&*rule, &rows, 1).is_ok());
        }
    }
}
