//! How near an engine comes to what its device can do: whole rules and single kernels, measured beside plain reads, copies and uploads
//! of the same bytes.
//!
//! A rule that reads the data p times is held against p plain reads. Each repetition measures the plain work and the
//! rule one after the other, so that whatever slows the machine down for a while slows both, and the **fraction of the limit** is the
//! median over repetitions of (time of the plain work) / (time of the rule).

mod check;
#[cfg(feature = "cli")]
pub mod figure;

pub use check::check;

use crate::dtype::{Dtype, Element};
use crate::engine::{Engine, Kind};
use crate::engines::cpu::CpuRows;
#[cfg(feature = "gpu")]
use crate::engines::execute::Options;
#[cfg(feature = "gpu")]
use crate::engines::gpu::{Caller, Sink};
use crate::engines::passes::{Centre, Columns, First, Frame, Mixed, Passes, Plain, Term};
use crate::error::{Error, Result};
use crate::geometry::Mixing;
#[cfg(feature = "gpu")]
use crate::matrix::Store;
use crate::matrix::{Input, Matrix, room};
use crate::momentum::DistributedMomentum;
use crate::plan::{Mix, Stat, Weiszfeld};
use crate::rows::Rows;
use crate::rules::{self, Cohort, Rule};
use crate::spec::Spec;
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Instant;

/// Seconds after which no more repetitions of one measurement are begun.
const ENOUGH: f64 = 6.0;

/// n × d values between −1/2 and 1/2, row by row, the same for the same seed. No row stands out, which is what searches over subsets
/// find hardest.
///
/// # Errors
/// [`Error::Parameter`] when there is no memory for them.
pub fn data<T: Element>(n: usize, d: usize, seed: u64) -> Result<Vec<T>> {
    let mut values = room(n, d, T::rounded(0.0))?;
    values.par_chunks_mut(d.max(1)).enumerate().for_each(|(i, row)| {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(i as u64));
        row.fill_with(|| T::rounded(random.f32() - 0.5));
    });
    Ok(values)
}

/// Every rule of the crate as it is measured by default; one that needs to be told a row takes row 0.
pub fn rules() -> Vec<Arc<dyn Rule>> {
    let spec = |name| if name == "fltrust" { "fltrust:row=0" } else { name };
    rules::names().map(|name| spec(name).parse::<Spec>().expect("a rule's own name").into_rule()).collect()
}

/// Something that can be measured.
#[derive(Debug, Clone)]
pub enum Work {
    /// Every value is read and nothing is computed.
    Read,
    /// Every value is read and written elsewhere.
    Copy,
    /// Rows in host memory are sent to the device; nothing on a CPU.
    Upload,
    /// Kernel: inner products of all pairs of rows. One read.
    Gram,
    /// Kernel: a weighted sum of all rows. One read.
    Mix,
    /// Kernel: one round of Weiszfeld's iteration. One read.
    Weiszfeld,
    /// Kernel: the statistic of each column that this rule takes; for rules that look at one coordinate at a time. One read.
    Coordinate(Arc<dyn Rule>),
    /// Kernel: the same of rows that are mixed first, each with n − f others, as nearest-neighbour mixing does. One read.
    MixedCoordinate(Arc<dyn Rule>),
    /// A step of [`DistributedMomentum`]. On a CPU three reads: gradients are read to find values that are not finite, then gradients and
    /// momentums; what is written in place travels beside what is read. On a device one upload.
    Momentum,
    /// The whole aggregate of a matrix where the engine reads it fastest.
    Rule(Arc<dyn Rule>),
    /// The whole aggregate of rows in host memory.
    Streamed(Arc<dyn Rule>),
    /// Whole aggregates of [`BATCH`] matrices in one call: [`Engine::aggregate_many`].
    Batch(Arc<dyn Rule>),
    /// A step of [`DistributedMomentum`] and the aggregate of the momentums in one call. On a CPU [`Work::Momentum`] and [`Work::Rule`]; on a
    /// device a rule that looks at one coordinate at a time steps the momentums as it reads them.
    Step(Arc<dyn Rule>),
    /// [`Engine::aggregate_to`]: from a buffer on the device into another there.
    OnDevice(Arc<dyn Rule>),
    /// [`DeviceRule::encode`](crate::DeviceRule::encode) from a buffer on the device into another there, submitted alone, and its report, which waits for it.
    Encoded(Arc<dyn Rule>),
    /// [`DistributedMomentum::step_and_aggregate_to`]: gradients from a buffer on the device, the aggregate into another there. Gradients are read
    /// twice, first to find values that are not finite, momentums read and written; the rule's first read of the momentums is that of
    /// the step.
    StepOnDevice(Arc<dyn Rule>),
}

/// Matrices of [`Work::Batch`].
pub const BATCH: usize = 64;

impl Work {
    /// A short name: for a whole aggregate the rule's specification, for a kernel its own.
    pub fn name(&self) -> String {
        match self {
            Work::Read => "plain read".into(),
            Work::Copy => "plain copy".into(),
            Work::Upload => "plain upload".into(),
            Work::Gram => "gram".into(),
            Work::Mix => "mix".into(),
            Work::Weiszfeld => "weiszfeld".into(),
            Work::Coordinate(rule) => format!("coordinate {}", rule.spec()),
            Work::MixedCoordinate(rule) => format!("mixed coordinate {}", rule.spec()),
            Work::Momentum => "momentum".into(),
            Work::Rule(rule) => rule.spec(),
            Work::Streamed(rule) => format!("streamed {}", rule.spec()),
            Work::Batch(rule) => format!("{BATCH} x {}", rule.spec()),
            Work::Step(rule) => format!("momentum, {}", rule.spec()),
            Work::OnDevice(rule) => format!("{} to a buffer", rule.spec()),
            Work::Encoded(rule) => format!("{} in an encoder", rule.spec()),
            Work::StepOnDevice(rule) => format!("momentum, {} to a buffer", rule.spec()),
        }
    }

    /// Every kernel.
    pub fn kernels() -> Vec<Self> {
        let per_coordinate = |rule: &Arc<dyn Rule>| matches!(plan(&**rule, 15, 3).mix, Mix::Rows);
        let coordinate: Vec<Arc<dyn Rule>> = rules().into_iter().filter(per_coordinate).collect();
        let mixed = coordinate.iter().cloned().map(Work::MixedCoordinate);
        let step = coordinate.iter().cloned().map(Work::Step);
        let first = [Work::Gram, Work::Mix, Work::Weiszfeld, Work::Momentum];
        first.into_iter().chain(coordinate.iter().cloned().map(Work::Coordinate)).chain(mixed).chain(step).collect()
    }

    /// Rules whose results show that this work is done right.
    pub fn witnesses(&self) -> Vec<Arc<dyn Rule>> {
        let parsed = |spec: String| spec.parse::<Spec>().expect("a rule of the crate").into_rule();
        match self {
            Work::Read | Work::Copy | Work::Upload | Work::Momentum => Vec::new(),
            Work::Gram => vec![parsed("multi_krum".into())],
            Work::Mix => vec![parsed("average".into())],
            Work::Weiszfeld => vec![parsed("geometric_median:method=direct".into())],
            Work::MixedCoordinate(rule) => vec![parsed(format!("nnm+{}", rule.spec()))],
            Work::Coordinate(rule)
            | Work::Rule(rule)
            | Work::Streamed(rule)
            | Work::Batch(rule)
            | Work::Step(rule)
            | Work::OnDevice(rule)
            | Work::Encoded(rule)
            | Work::StepOnDevice(rule) => vec![rule.clone()],
        }
    }
}

fn plan(rule: &dyn Rule, n: usize, f: usize) -> crate::plan::Plan {
    rule.plan(&Cohort { total: n, members: &(0..n).collect::<Vec<_>>(), f, d: 2 })
}

/// What work is held against: so many plain reads, copies and uploads of the matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Limit {
    /// Times every value is read.
    pub reads: usize,
    /// Times every value is read and written.
    pub copies: usize,
    /// Times every value is sent to the device.
    pub uploads: usize,
}

impl Limit {
    /// The limit of the same work some times over.
    fn times(self, count: usize) -> Self {
        Self { reads: count * self.reads, copies: count * self.copies, uploads: count * self.uploads }
    }
}

impl Limit {
    /// The plain works and how often each is done.
    fn parts(self) -> impl Iterator<Item = (Work, usize)> {
        [(Work::Read, self.reads), (Work::Copy, self.copies), (Work::Upload, self.uploads)]
            .into_iter()
            .filter(|(_, times)| *times > 0)
    }

    /// Bytes moved, for a matrix of so many.
    fn bytes(self, matrix: f64) -> f64 {
        matrix * (self.reads + 2 * self.copies + self.uploads) as f64
    }
}

/// The median of some times and how they spread, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Times {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Times {
    /// Of at least one time.
    fn of(times: &[f64]) -> Self {
        let each = || times.iter().copied();
        Self { median: median(times), min: each().fold(f64::INFINITY, f64::min), max: each().fold(0.0, f64::max) }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = ((sorted.len().max(1) - 1) / 2, sorted.len() / 2);
    0.5 * (sorted[low] + sorted[high])
}

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Measurement {
    /// What was measured: [`Work::name`].
    pub what: String,
    /// Engine and device.
    pub device: String,
    /// Workers.
    pub n: usize,
    /// Byzantine bound.
    pub f: usize,
    /// Coordinates.
    pub d: usize,
    /// Type of the values.
    pub dtype: Dtype,
    /// Aggregates, or passes of a kernel, in one repetition.
    pub calls: usize,
    /// Repetitions made.
    pub repetitions: usize,
    /// Time from the call to its result in host memory.
    pub seconds: Times,
    /// Time that the kernels took by the device's own clock, where it has one.
    pub device_seconds: Option<Times>,
    /// The limit it is held against.
    pub limit: Limit,
    /// Median time of the plain work of the limit.
    pub limit_seconds: f64,
    /// Bytes that the limit says must be moved, by the median time.
    pub bytes_per_second: f64,
    /// Median of (time of the limit) / (time), each pair taken one after the other.
    pub fraction: f64,
    /// The same by the device's own clock.
    pub device_fraction: Option<f64>,
}

/// Time of one run.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    seconds: f64,
    device: f64,
}

/// A matrix of an engine and the room that measurements of it need.
#[derive(Debug)]
pub struct Bench<'a> {
    engine: Engine,
    /// The same, with a clock.
    timed: Option<Engine>,
    rows: &'a Rows<'a>,
    f: usize,
    /// The matrix where the engine reads it fastest, once that was needed; on a CPU it stays where it is.
    held: Option<Matrix>,
    momentum: Option<DistributedMomentum>,
    /// The matrix and a result in buffers, once that was needed.
    #[cfg(feature = "gpu")]
    caller: Option<Caller>,
    out: Vec<f32>,
    room: Vec<u16>,
}

impl<'a> Bench<'a> {
    /// Makes a matrix ready to be measured. Takes d values of memory beside it, and as many as it has on a device and for
    /// [`Work::Copy`] and [`Work::Momentum`].
    ///
    /// # Errors
    /// [`Error::Parameter`] for the reference engine, which is slow on purpose, for several engines in one, and for a matrix without columns.
    pub fn new(engine: &Engine, rows: &'a Rows<'a>, f: usize) -> Result<Self> {
        if rows.d() == 0 {
            return Err(Error::parameter("bench", "d", 0, "at least 1"));
        }
        let timed = match &engine.kind {
            Kind::Reference => return Err(Error::parameter("bench", "device", "reference", "one that is made to be fast")),
            Kind::Several(_) => return Err(Error::parameter("bench", "device", engine.name(), "a single engine")),
            Kind::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => {
                let timed = engine.clone().with_options(Options { device_time: true, ..engine.options() });
                gpu.has_clock().then_some(timed)
            }
        };
        let engine = engine.clone();
        Ok(Self {
            engine,
            timed,
            rows,
            f,
            held: None,
            momentum: None,
            #[cfg(feature = "gpu")]
            caller: None,
            out: vec![0.0; rows.d()],
            room: Vec::new(),
        })
    }

    /// The Byzantine bound of what is measured from now on.
    pub fn set_f(&mut self, f: usize) {
        self.f = f;
    }

    /// Bytes of the matrix.
    fn bytes(&self) -> usize {
        self.rows.n() * self.rows.d() * self.rows.dtype().size()
    }

    /// Does the work once and forgets the result.
    ///
    /// # Errors
    /// What the rule refuses; [`Error::Device`] when the device fails.
    pub fn run(&mut self, work: &Work) -> Result<()> {
        let engine = self.engine.clone();
        self.run_on(&engine, work).map(drop)
    }

    /// Measures work some times, and its limit between them. Runs it once before, so that nothing is compiled or allocated while the
    /// time is taken.
    ///
    /// # Errors
    /// What the rule refuses; [`Error::Device`] when the device fails.
    pub fn measure(&mut self, work: &Work, repetitions: usize) -> Result<Measurement> {
        let engine = self.engine.clone();
        let limit = self.run_on(&engine, work)?.0;
        let parts: Vec<(Work, usize)> = limit.parts().collect();
        parts.iter().try_for_each(|(plain, _)| self.cost(plain).map(drop))?;
        let (mut costs, mut limits) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        while costs.is_empty() || costs.len() < repetitions && begin.elapsed().as_secs_f64() < ENOUGH {
            let mut least = Cost::default();
            for (plain, times) in &parts {
                let cost = self.cost(plain)?;
                least.seconds += *times as f64 * cost.seconds;
                least.device += *times as f64 * cost.device;
            }
            limits.push(least);
            costs.push(self.cost(work)?);
        }
        let wall = |costs: &[Cost]| costs.iter().map(|c| c.seconds).collect::<Vec<f64>>();
        let device = |costs: &[Cost]| costs.iter().map(|c| c.device).collect::<Vec<f64>>();
        let ratio = |limits: Vec<f64>, times: Vec<f64>| median(&limits.iter().zip(times).map(|(l, t)| l / t).collect::<Vec<_>>());
        let seconds = Times::of(&wall(&costs));
        // An upload alone leaves the device's clock at zero.
        let clocked = self.timed.is_some() && costs.iter().all(|c| c.device > 0.0);
        let (n, d) = (self.rows.n(), self.rows.d());
        Ok(Measurement {
            what: work.name(),
            device: self.engine.name(),
            n,
            f: self.f,
            d,
            dtype: self.rows.dtype(),
            calls: if matches!(work, Work::Batch(_)) { BATCH } else { 1 },
            repetitions: costs.len(),
            seconds,
            device_seconds: clocked.then(|| Times::of(&device(&costs))),
            limit,
            limit_seconds: median(&wall(&limits)),
            bytes_per_second: limit.bytes(self.bytes() as f64) / seconds.median,
            fraction: ratio(wall(&limits), wall(&costs)),
            device_fraction: (clocked && limits.iter().all(|l| l.device > 0.0)).then(|| ratio(device(&limits), device(&costs))),
        })
    }

    /// The time of one run; that by the device's clock is taken in a run of its own, because asking for it takes time.
    fn cost(&mut self, work: &Work) -> Result<Cost> {
        let begin = Instant::now();
        self.run(work)?;
        let seconds = begin.elapsed().as_secs_f64();
        let device = match self.timed.clone() {
            Some(timed) => self.run_on(&timed, work)?.1,
            None => None,
        };
        Ok(Cost { seconds, device: device.unwrap_or(0.0) })
    }

    /// Does the work once. Its limit, and its time by the device's clock.
    fn run_on(&mut self, engine: &Engine, work: &Work) -> Result<(Limit, Option<f64>)> {
        let one = Limit { reads: 1, ..Limit::default() };
        let (n, f, on_cpu) = (self.rows.n(), self.f, matches!(engine.kind, Kind::Cpu(_)));
        let elsewhere = match work {
            Work::Upload
            | Work::Momentum
            | Work::Streamed(_)
            | Work::Step(_)
            | Work::OnDevice(_)
            | Work::Encoded(_)
            | Work::StepOnDevice(_) => true,
            _ => on_cpu,
        };
        if self.held.is_none() && !elsewhere {
            self.held = Some(engine.load_blocking(self.rows)?);
        }
        match work {
            Work::Rule(rule) => {
                let input = self.held.as_ref().map_or(Input::Rows(self.rows), Input::Matrix);
                let report = engine.aggregate_into_blocking(&**rule, input, f, &mut self.out)?;
                Ok((Limit { reads: report.passes.max(1), ..Limit::default() }, report.device_seconds))
            }
            Work::Streamed(rule) => {
                let report = engine.aggregate_into_blocking(&**rule, self.rows, f, &mut self.out)?;
                let matrix = self.bytes() as u64;
                let uploads = (report.bytes_uploaded + matrix / 2) / matrix;
                Ok((Limit { uploads: uploads as usize, ..Limit::default() }, report.device_seconds))
            }
            Work::Batch(rule) => {
                let input = self.held.as_ref().map_or(Input::Rows(self.rows), Input::Matrix);
                let mut limit = Limit::default();
                for aggregate in engine.aggregate_many_blocking(&**rule, &[input; BATCH], f) {
                    limit.reads = aggregate?.report.passes.max(1);
                }
                Ok((limit.times(BATCH), None))
            }
            Work::Momentum | Work::Step(_) => {
                let momentum = momentums(&mut self.momentum, engine, n, self.rows.d())?;
                let mut limit = match on_cpu {
                    true => Limit { reads: 3, ..Limit::default() },
                    false => Limit { uploads: 1, ..Limit::default() },
                };
                if let Work::Step(rule) = work {
                    let report = momentum.step_and_aggregate_blocking(&**rule, self.rows, f)?.report;
                    limit.reads += if on_cpu { report.passes } else { 0 };
                    return Ok((limit, report.device_seconds));
                }
                momentum.step_blocking(self.rows)?;
                Ok((limit, None))
            }
            Work::OnDevice(rule) | Work::Encoded(rule) | Work::StepOnDevice(rule) => {
                pollster::block_on(self.on_device(engine, work, &**rule))
            }
            Work::Copy => {
                if on_cpu {
                    self.room.resize(self.bytes() / size_of::<u16>(), 0);
                }
                Ok((Limit { copies: 1, ..Limit::default() }, pollster::block_on(self.pass(engine, work))?))
            }
            Work::Upload => Ok((Limit { uploads: 1, ..Limit::default() }, pollster::block_on(self.pass(engine, work))?)),
            _ => Ok((one, pollster::block_on(self.pass(engine, work))?)),
        }
    }

    /// Work between buffers on the device.
    #[cfg(feature = "gpu")]
    async fn on_device(&mut self, engine: &Engine, work: &Work, rule: &dyn Rule) -> Result<(Limit, Option<f64>)> {
        let Kind::Gpu(gpu) = &engine.kind else { return Err(engine.no_buffers()) };
        let caller = match &mut self.caller {
            Some(caller) => caller,
            none => none.insert(gpu.caller(self.rows).await?),
        };
        let f = self.f;
        match work {
            Work::Encoded(_) => {
                let reads = caller.encode(engine, rule, f).await?;
                Ok((Limit { reads, ..Limit::default() }, None))
            }
            Work::StepOnDevice(_) => {
                let momentum = momentums(&mut self.momentum, engine, caller.rows().n(), caller.rows().d())?;
                let report = momentum.step_and_aggregate_to(rule, caller.rows(), f, caller.out()).await?;
                caller.wait().await?;
                Ok((Limit { reads: 1 + report.passes.max(1), copies: 1, uploads: 0 }, report.device_seconds))
            }
            _ => {
                let report = engine.aggregate_to(rule, caller.rows(), f, caller.out()).await?;
                caller.wait().await?;
                Ok((Limit { reads: report.passes.max(1), ..Limit::default() }, report.device_seconds))
            }
        }
    }

    #[cfg(not(feature = "gpu"))]
    async fn on_device(&mut self, engine: &Engine, _: &Work, _: &dyn Rule) -> Result<(Limit, Option<f64>)> {
        Err(engine.no_buffers())
    }

    /// One pass of an engine over the matrix.
    async fn pass(&mut self, engine: &Engine, work: &Work) -> Result<Option<f64>> {
        let (f, out, room) = (self.f, &mut self.out, &mut self.room);
        match (&engine.kind, &self.held) {
            (Kind::Cpu(cpu), _) => pass(&mut CpuRows::new(cpu, self.rows), work, f, out, room).await,
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), Some(Matrix { store: Store::Gpu(resident) })) if !matches!(work, Work::Upload) => {
                pass(&mut gpu.resident(resident, engine.options().device_time)?, work, f, &mut Sink::Host(out), room).await
            }
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), _) => {
                pass(&mut gpu.stream(self.rows, engine.options().device_time)?, work, f, &mut Sink::Host(out), room).await
            }
            (Kind::Reference | Kind::Several(_), _) => Ok(None),
        }
    }
}

/// The momentums, at first zero, stepped by this engine from now on.
fn momentums<'a>(
    held: &'a mut Option<DistributedMomentum>,
    engine: &Engine,
    n: usize,
    d: usize,
) -> Result<&'a mut DistributedMomentum> {
    let momentum = match held {
        Some(momentum) => momentum,
        none => none.insert(DistributedMomentum::new_blocking(engine, n, d, 0.9)?),
    };
    momentum.engine = engine.clone();
    Ok(momentum)
}

/// One pass over the rows. Its time by the device's clock.
async fn pass<P: Passes>(passes: &mut P, work: &Work, f: usize, out: &mut P::Out, room: &mut [u16]) -> Result<Option<f64>> {
    let n = passes.n();
    let rows: Vec<usize> = (0..n).collect();
    let scales = vec![1.0; n];
    let columns = |rule: &Arc<dyn Rule>| -> Result<Stat> {
        rule.check(n, f)?;
        Ok(plan(&**rule, n, f).stat)
    };
    match work {
        Work::Read => drop(passes.plain(Plain::Read, room).await?),
        Work::Copy => drop(passes.plain(Plain::Copy, room).await?),
        Work::Upload => drop(passes.plain(Plain::Upload, room).await?),
        Work::Gram => drop(passes.gram(&rows, &[Frame { centre: Centre::Row(0), scales: &scales }]).await?),
        Work::Mix => {
            let terms: Vec<Term> = rows.iter().map(|&i| Term::new(i, 1.0 / n as f64)).collect();
            drop(passes.mix(&terms, 0, out).await?);
        }
        Work::Weiszfeld => {
            drop(passes.weiszfeld(&rows, 0, &scales, Weiszfeld { rounds: 1, tolerance: 0.0 }).await?);
        }
        Work::Coordinate(rule) => {
            let what = Columns { rows: &rows, first: First::Rows, stat: columns(rule)?, diagnose: false };
            drop(passes.coordinate(&what, out).await?);
        }
        Work::MixedCoordinate(rule) => {
            let neighbours = |i: usize| (0..n.saturating_sub(f)).map(move |k| (i + k) % n).collect::<Vec<_>>();
            let mixing = Mixing::means(rows.iter().map(|&i| neighbours(i)), n);
            let first = First::Mixed(Mixed { mixing: &mixing, centre: 0, scales: &scales });
            let what = Columns { rows: &rows, first, stat: columns(rule)?, diagnose: false };
            drop(passes.coordinate(&what, out).await?);
        }
        Work::Momentum
        | Work::Rule(_)
        | Work::Streamed(_)
        | Work::Batch(_)
        | Work::Step(_)
        | Work::OnDevice(_)
        | Work::Encoded(_)
        | Work::StepOnDevice(_) => {}
    }
    Ok(passes.device_seconds().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert_eq!(Times::of(&[3.0, 1.0, 2.0]), Times { median: 2.0, min: 1.0, max: 3.0 });
        let limit = Limit { reads: 2, copies: 1, uploads: 0 };
        assert_eq!((limit.bytes(10.0), limit.parts().map(|(_, times)| times).sum::<usize>()), (40.0, 3));
    }

    #[test]
    fn every_work_is_measured_against_what_it_moves() {
        let (n, f, d) = (15, 3, 9000);
        let values: Vec<f32> = data(n, d, 1).unwrap();
        assert!(values == data::<f32>(n, d, 1).unwrap() && values != data::<f32>(n, d, 2).unwrap());
        let rows = Rows::from_slice(&values, n, d).unwrap();
        let mut bench = Bench::new(&Engine::cpu(), &rows, f).unwrap();
        let parsed = |spec: &str| spec.parse::<Spec>().unwrap().into_rule();
        for (work, reads, copies) in [
            (Work::Read, 1, 0),
            (Work::Copy, 0, 1),
            (Work::Momentum, 3, 0),
            (Work::Step(parsed("median")), 4, 0),
            (Work::Batch(parsed("nnm+trimmed_mean")), 2 * BATCH, 0),
            (Work::Rule(parsed("median")), 1, 0),
            (Work::Rule(parsed("multi_krum")), 2, 0),
            (Work::Rule(parsed("nnm+trimmed_mean")), 2, 0),
        ] {
            let measured = bench.measure(&work, 3).unwrap();
            assert_eq!(measured.limit, Limit { reads, copies, uploads: 0 }, "{}", measured.what);
            let Times { median, min, max } = measured.seconds;
            assert!(measured.repetitions == 3 && 0.0 < min && min <= median && median <= max);
            assert!(measured.fraction > 0.0 && measured.bytes_per_second > 0.0 && measured.limit_seconds > 0.0);
            assert_eq!(measured.device_seconds, None);
        }
        assert_eq!(bench.room, bytemuck::cast_slice::<f32, u16>(&values));
        assert!(Work::kernels().iter().all(|work| bench.run(work).is_ok()));
        bench.set_f(8);
        assert!(bench.run(&Work::Rule(parsed("krum"))).is_err() && bench.run(&Work::Coordinate(parsed("median"))).is_err());
        assert!(Bench::new(&Engine::reference(), &rows, f).is_err());
    }
}
