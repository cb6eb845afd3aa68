//! The engine a caller holds: one type over GPU, CPU and reference.

use crate::distributed::Several;
use crate::engines::cpu::{CpuEngine, CpuOptions, CpuRows};
use crate::engines::execute::{Alone, Asked, Options, Wrap, blank, execute};
#[cfg(feature = "gpu")]
use crate::engines::gpu::{GpuEngine, GpuOptions, Sink, adapters};
use crate::engines::reference;
use crate::error::{Error, Result};
use crate::matrix::{Input, Matrix, Store, room};
use crate::momentum::{Gradients, Place};
use crate::plan::{Mix, Plan};
use crate::report::{Aggregate, Report};
use crate::rows::Rows;
use crate::rules::{Cohort, Rule};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};
use rayon::prelude::*;
use std::collections::VecDeque;

/// Matrices of [`Engine::aggregate_many`] whose work is submitted to a GPU together.
pub const TOGETHER: usize = 32;

/// Executes rules on one device. Cheap to clone; clones share pipelines and buffers.
///
/// ```
/// use resam::{Engine, Rows, rules::TrimmedMean};
/// let momentums = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 1e30, f32::NAN]; // 4 workers, 2 coordinates, one hostile
/// let rows = Rows::from_slice(&momentums, 4, 2)?;
/// let mean = Engine::cpu().aggregate_blocking(&TrimmedMean, &rows, 1)?;
/// assert_eq!(mean.values, [2.5, 25.0]);
/// # Ok::<(), resam::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) kind: Kind,
    options: Options,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Cpu(CpuEngine),
    Reference,
    Several(Several),
    #[cfg(feature = "gpu")]
    Gpu(GpuEngine),
}

impl From<Kind> for Engine {
    fn from(kind: Kind) -> Self {
        Self { kind, options: Options::default() }
    }
}

impl Engine {
    /// The CPU engine on all cores.
    pub fn cpu() -> Self {
        Self::from(Kind::Cpu(CpuEngine::all_cores()))
    }

    /// The CPU engine with settings of your own.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no threads or more than 1024, [`Error::Device`] when threads cannot be started.
    pub fn cpu_with(options: CpuOptions) -> Result<Self> {
        Ok(Self::from(Kind::Cpu(CpuEngine::new(options)?)))
    }

    /// The reference engine: literal definitions in f64, slow, for verification.
    pub fn reference() -> Self {
        Self::from(Kind::Reference)
    }

    /// Several engines as one, each with a share of the columns: for a machine with several GPUs. Results are those of one such engine,
    /// bit for bit, but for [`GeometricMedian`](crate::rules::GeometricMedian) with `method=direct` on GPUs, whose rounds differ in their
    /// last bits; where engines are of different kinds, each column is that of its engine.
    ///
    /// Each engine works on a thread of its own, and a call waits for all of them when its future is polled; on a thread of rayon's, CPU
    /// engines need [pools of their own](CpuOptions::threads). Loaded matrices and momentums are shared out as well.
    ///
    /// ```
    /// use resam::{CpuOptions, Engine, Rows, rules::Krum};
    /// let one = Engine::cpu_with(CpuOptions { threads: Some(1) })?;
    /// let two = Engine::several(vec![one.clone(), Engine::cpu_with(CpuOptions { threads: Some(1) })?])?;
    /// let values: Vec<f32> = (0..5 * 10_000).map(|k| (k as f32).sin()).collect();
    /// let rows = Rows::from_slice(&values, 5, 10_000)?;
    /// let [a, b] = [one, two].map(|engine| engine.aggregate_blocking(&Krum::default(), &rows, 1));
    /// assert_eq!(a?.values, b?.values);
    /// # Ok::<(), resam::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] for no engine, the reference engine, or several engines within one.
    pub fn several(engines: Vec<Self>) -> Result<Self> {
        Ok(Self::from(Kind::Several(Several::new(engines)?)))
    }

    /// The GPU engine. Without a name it takes the best real GPU and never a software adapter.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when no adapter serves, [`Error::Device`] when the driver refuses.
    #[cfg(feature = "gpu")]
    pub async fn gpu(options: GpuOptions) -> Result<Self> {
        Ok(Self::from(Kind::Gpu(GpuEngine::new(options).await?)))
    }

    /// [`Engine::gpu`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::gpu`].
    #[cfg(feature = "gpu")]
    pub fn gpu_blocking(options: GpuOptions) -> Result<Self> {
        pollster::block_on(Self::gpu(options))
    }

    /// An engine by name: `auto` (the best real GPU, else the CPU), `cpu`, `reference`, `gpu` (a real GPU or an error), `gpus` (all real
    /// GPUs [as one](Engine::several)), or a part of an adapter's name or driver without regard to case; `lavapipe` is an alias of
    /// llvmpipe, and `NAME#1` the second adapter of that name.
    ///
    /// # Errors
    /// [`Error::NoDevice`] with what there is, [`Error::Device`] when the driver refuses.
    pub async fn open(name: &str) -> Result<Self> {
        #[cfg(feature = "gpu")]
        return Self::open_with(name, None).await;
        #[cfg(not(feature = "gpu"))]
        match name.to_lowercase().as_str() {
            "cpu" | "auto" => Ok(Self::cpu()),
            "reference" => Ok(Self::reference()),
            _ => Err(Error::NoDevice { wanted: name.into(), available: "cpu, reference (built without the feature gpu)".into() }),
        }
    }

    /// [`Engine::open`], with a bound in bytes on the device memory that a call takes if the engine is a GPU's
    /// ([`GpuOptions::memory_budget`]).
    ///
    /// # Errors
    /// As [`Engine::open`].
    #[cfg(feature = "gpu")]
    pub async fn open_with(name: &str, memory_budget: Option<u64>) -> Result<Self> {
        let gpu = |adapter| Self::gpu(GpuOptions { adapter, memory_budget, ..GpuOptions::default() });
        match name.to_lowercase().as_str() {
            "cpu" => Ok(Self::cpu()),
            "reference" => Ok(Self::reference()),
            "auto" if !adapters().await.iter().any(|a| a.real) => Ok(Self::cpu()),
            "auto" | "gpu" => gpu(None).await,
            "gpus" => {
                let real = adapters().await.iter().filter(|a| a.real).count();
                // Of none the error names what was asked for.
                let names = if real == 0 { vec![name.into()] } else { (0..real).map(|k| format!("gpu#{k}")).collect() };
                let all = futures::stream::iter(names).then(|name| gpu(Some(name))).collect::<Vec<_>>().await;
                Self::several(all.into_iter().collect::<Result<_>>()?)
            }
            _ => gpu(Some(name.into())).await,
        }
    }

    /// [`Engine::open`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_blocking(name: &str) -> Result<Self> {
        pollster::block_on(Self::open(name))
    }

    /// The same engine with other settings.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The settings that hold for every engine.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Engine and device, e.g. `cpu (2 threads)`.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Cpu(cpu) => cpu.name(),
            Kind::Reference => "reference".into(),
            Kind::Several(several) => several.name(),
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => gpu.name(),
        }
    }

    /// What another engine than a GPU's says of buffers.
    pub(crate) fn no_buffers(&self) -> Error {
        Error::Device { device: self.name(), reason: "it has no buffers on a device".into() }
    }

    /// Copies rows to where this engine reads them fastest. One read, one upload.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has no room or is lost.
    pub async fn load(&self, rows: &Rows<'_>) -> Result<Matrix> {
        self.load_as(rows, false).await
    }

    /// [`Engine::load`] of momentums, or of other rows.
    pub(crate) fn load_as<'a>(&'a self, rows: &'a Rows<'_>, momentums: bool) -> BoxFuture<'a, Result<Matrix>> {
        async move {
            match &self.kind {
                Kind::Cpu(_) | Kind::Reference => Ok(Matrix::host(rows)),
                Kind::Several(several) => several.load(rows, momentums),
                #[cfg(feature = "gpu")]
                Kind::Gpu(gpu) => Ok(Matrix { store: Store::Gpu(gpu.load(rows, momentums).await?) }),
            }
        }
        .boxed()
    }

    /// [`Engine::load`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_blocking(&self, rows: &Rows<'_>) -> Result<Matrix> {
        pollster::block_on(self.load(rows))
    }

    /// Combines n rows into one by `rule`, at most `f` of them Byzantine. The number of reads of the data is the rule's: see its
    /// documentation, and [`Report::passes`] for what was done. On the CPU and reference engines the work is done when the
    /// future is polled.
    ///
    /// # Errors
    /// What the rule's check refuses; [`Error::NonFinite`] when more than f rows hold NaN or infinite values;
    /// [`Error::Device`] when the device fails.
    pub async fn aggregate<'a>(&self, rule: &dyn Rule, input: impl Into<Input<'a>>, f: usize) -> Result<Aggregate> {
        let input = input.into();
        let mut values = vec![0.0; input.d()];
        let report = self.run(rule, input, f, &[], &mut values).await?;
        Ok(Aggregate { values, report })
    }

    /// [`Engine::aggregate`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::aggregate`].
    pub fn aggregate_blocking<'a>(&self, rule: &dyn Rule, input: impl Into<Input<'a>>, f: usize) -> Result<Aggregate> {
        pollster::block_on(self.aggregate(rule, input, f))
    }

    /// [`Engine::aggregate`] into a slice of the caller's. After an error found in the data the slice holds NaN; after one
    /// found before (a wrong shape, an impossible f) it is untouched.
    ///
    /// # Errors
    /// As [`Engine::aggregate`], and [`Error::OutputLength`].
    pub async fn aggregate_into<'a>(
        &self,
        rule: &dyn Rule,
        input: impl Into<Input<'a>>,
        f: usize,
        out: &mut [f32],
    ) -> Result<Report> {
        self.run(rule, input.into(), f, &[], out).await
    }

    /// [`Engine::aggregate_into`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::aggregate_into`].
    pub fn aggregate_into_blocking<'a>(
        &self,
        rule: &dyn Rule,
        input: impl Into<Input<'a>>,
        f: usize,
        out: &mut [f32],
    ) -> Result<Report> {
        pollster::block_on(self.aggregate_into(rule, input, f, out))
    }

    /// One aggregate; `absent` rows take no part and count against f. Boxed, as what else does the work of public calls: else a crate
    /// that awaits one of those would compile all of it again.
    pub(crate) fn run<'a>(
        &'a self,
        rule: &'a dyn Rule,
        input: Input<'a>,
        f: usize,
        absent: &'a [usize],
        out: &'a mut [f32],
    ) -> BoxFuture<'a, Result<Report>> {
        async move {
            let asked = Asked { rule, f, absent };
            match (&self.kind, input) {
                (Kind::Several(several), input) => several.run(self, input, asked, out),
                (Kind::Reference, Input::Rows(rows)) => self.refer(rows, asked, out),
                (Kind::Reference, Input::Matrix(Matrix { store: Store::Host { rows, d, dtype } })) => {
                    self.refer(&Rows::of_words(rows, *d, *dtype), asked, out)
                }
                _ => self.run_wrapped(Alone, input, asked, out).await,
            }
        }
        .boxed()
    }

    /// One aggregate by passes that are wrapped first, on one device.
    pub(crate) async fn run_wrapped<W: Wrap>(
        &self,
        wrap: W,
        input: Input<'_>,
        asked: Asked<'_>,
        out: &mut [f32],
    ) -> Result<Report> {
        let (options, name) = (&self.options, self.name());
        match (&self.kind, input) {
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), input) => self.run_on(gpu, wrap, input, asked, Sink::Host(out)).await,
            (Kind::Cpu(cpu), Input::Rows(rows)) => {
                execute(&mut wrap.wrap(CpuRows::new(cpu, rows)), asked, options, name, out).await
            }
            (Kind::Cpu(cpu), Input::Matrix(Matrix { store: Store::Host { rows, d, dtype } })) => {
                let rows = Rows::of_words(rows, *d, *dtype);
                execute(&mut wrap.wrap(CpuRows::new(cpu, &rows)), asked, options, name, out).await
            }
            (Kind::Reference | Kind::Several(_), _) => {
                Err(Error::Device { device: name, reason: "a shard is for one CPU or GPU engine".into() })
            }
            #[cfg(feature = "gpu")]
            (_, Input::Device(_)) => Err(self.elsewhere()),
            (_, Input::Matrix(_)) => Err(self.elsewhere()),
        }
    }

    /// One aggregate on a GPU.
    #[cfg(feature = "gpu")]
    pub(crate) async fn run_on<'a, W: Wrap>(
        &self,
        gpu: &GpuEngine,
        wrap: W,
        input: Input<'a>,
        asked: Asked<'_>,
        mut out: Sink<'a>,
    ) -> Result<Report> {
        let timed = self.options.device_time;
        let passes = match input {
            Input::Rows(rows) => gpu.stream(rows, timed)?,
            Input::Matrix(Matrix { store: Store::Gpu(resident) }) if gpu.holds(resident) => gpu.resident(resident, timed)?,
            Input::Device(rows) => gpu.foreign(rows, timed)?,
            Input::Matrix(_) => return Err(self.elsewhere()),
        };
        execute(&mut wrap.wrap(passes), asked, &self.options, self.name(), &mut out).await
    }

    /// Steps momentums, M ← βM + (1−β)G, and aggregates them in one pass, where the rule orders columns of them and the engine can; `None`,
    /// and nothing done, where not. `absent` rows are not stepped, take no part and count against f.
    #[cfg_attr(not(feature = "gpu"), expect(unused_variables, reason = "the other engines step first"))]
    pub(crate) fn step_and_run<'a>(
        &'a self,
        rule: &'a dyn Rule,
        momentums: &'a mut Matrix,
        (gradients, beta): (Gradients<'a>, f32),
        f: usize,
        absent: &'a [usize],
        out: &'a mut Place<'_>,
    ) -> BoxFuture<'a, Result<Option<Report>>> {
        async move {
            let (total, d) = (gradients.n(), gradients.d());
            let present: Vec<usize> = (0..total).filter(|i| !absent.contains(i)).collect();
            let cohort = Cohort { total, members: &present, f: f.saturating_sub(absent.len()), d };
            if present.is_empty() || d == 0 {
                return Ok(None);
            }
            let Plan { mix: Mix::Rows, stat } = rule.plan(&cohort) else { return Ok(None) };
            match (&self.kind, &mut momentums.store) {
                #[cfg(feature = "gpu")]
                (Kind::Gpu(gpu), Store::Gpu(resident)) if gpu.holds(resident) && GpuEngine::can_step(stat, present.len()) => {
                    let mut out = match (out, gradients) {
                        (Place::Host(out), _) => Sink::Host(out),
                        (Place::Device(out), Gradients::Device(rows)) => gpu.sink(out, d, Some(rows))?,
                        (Place::Device(out), Gradients::Rows(_)) => gpu.sink(out, d, None)?,
                    };
                    let mut passes = gpu.stepping(resident, gradients, beta, self.options.device_time)?;
                    execute(&mut passes, Asked { rule, f, absent }, &self.options, self.name(), &mut out).await.map(Some)
                }
                _ => Ok(None),
            }
        }
        .boxed()
    }

    /// Combines each of many matrices (the layers of a model, the trials of a sweep) by one rule. Their work is submitted to a GPU
    /// together, [`TOGETHER`] at a time or as many as its memory budget has room for, and shared out to the threads of a CPU: many small
    /// matrices take little more than one large one.
    ///
    /// Layers aggregated one by one are not what the rule makes of whole vectors: rules on distances then choose workers anew for each
    /// layer.
    ///
    /// # Errors
    /// For each matrix as [`Engine::aggregate`]; the others are not affected, but by errors of the device, which cost all work under way.
    pub async fn aggregate_many(&self, rule: &dyn Rule, inputs: &[Input<'_>], f: usize) -> Vec<Result<Aggregate>> {
        if let Kind::Cpu(cpu) = &self.kind {
            return cpu.on_threads(|| inputs.par_iter().map(|input| self.aggregate_blocking(rule, *input, f)).collect());
        }
        let mut left = inputs.iter().peekable();
        let (mut done, mut shares) = (Vec::new(), VecDeque::new());
        let mut under_way = FuturesOrdered::new();
        loop {
            while let Some(input) = left.peek().copied().filter(|_| shares.len() < TOGETHER) {
                let share = self.share(*input);
                if !shares.is_empty() && shares.iter().sum::<f64>() + share > 1.0 {
                    break;
                }
                left.next();
                shares.push_back(share);
                under_way.push_back(self.aggregate(rule, *input, f));
            }
            match under_way.next().await {
                Some(one) => done.push(one),
                None => return done,
            }
            shares.pop_front();
        }
    }

    /// What a call takes of the memory budget for data in host memory, 1 being all.
    fn share(&self, input: Input<'_>) -> f64 {
        match (&self.kind, input) {
            #[cfg(feature = "gpu")]
            (Kind::Gpu(gpu), Input::Rows(rows)) => gpu.share(rows),
            // Several engines do one call at a time.
            _ => 0.0,
        }
    }

    /// [`Engine::aggregate_many`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::aggregate_many`].
    pub fn aggregate_many_blocking(&self, rule: &dyn Rule, inputs: &[Input<'_>], f: usize) -> Vec<Result<Aggregate>> {
        pollster::block_on(self.aggregate_many(rule, inputs, f))
    }

    /// Combines each layer of the rows ([`Rows::from_layers`]) by itself, as [`Engine::aggregate_many`] does.
    ///
    /// This is another operator than [`Engine::aggregate`] of the whole rows, for rules on distances: they choose workers anew for each layer.
    /// The (f, λ)-resilience holds for each layer, within the spread of that layer, and not for the vector of all layers with the same
    /// λ; f workers may be Byzantine in all, not f others in each layer. Rules that look at one coordinate at a time give the same both ways.
    ///
    /// # Errors
    /// For each layer as [`Engine::aggregate`]; a row with NaN or infinite values is left out of the layers that hold them only.
    pub async fn aggregate_layers(&self, rule: &dyn Rule, rows: &Rows<'_>, f: usize) -> Vec<Result<Aggregate>> {
        let layers: Vec<Rows> = rows.layers().collect();
        let inputs: Vec<Input> = layers.iter().map(Input::from).collect();
        self.aggregate_many(rule, &inputs, f).await
    }

    /// [`Engine::aggregate_layers`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::aggregate_layers`].
    pub fn aggregate_layers_blocking(&self, rule: &dyn Rule, rows: &Rows<'_>, f: usize) -> Vec<Result<Aggregate>> {
        pollster::block_on(self.aggregate_layers(rule, rows, f))
    }

    /// Compiles what `rule` needs for n workers with rows of f32, so that the first call does not wait for it; with
    /// [`GpuOptions::pipeline_cache`] it is kept for later processes as well. Aggregates a small made-up matrix, because drivers put off
    /// compiling until a kernel runs.
    ///
    /// # Errors
    /// As [`Engine::aggregate`]; [`Error::Device`] when the cache cannot be written.
    pub async fn prepare(&self, rule: &dyn Rule, n: usize, f: usize) -> Result<()> {
        if let Kind::Several(several) = &self.kind {
            return several.engines(&self.options).iter().try_for_each(|engine| engine.prepare_blocking(rule, n, f));
        }
        rule.check(n, f)?;
        #[cfg(feature = "gpu")]
        if let Kind::Gpu(_) = &self.kind {
            crate::engines::gpu::takes(n)?;
        }
        // More columns than are sampled: fewer are not measured by the device.
        let d = self.options.sample.saturating_add(64);
        let mut random = fastrand::Rng::with_seed(0);
        let mut values = room(n, d, 0.0)?;
        values.fill_with(|| random.f32() - 0.5);
        let matrix = self.load(&Rows::from_slice(&values, n, d)?).await?;
        self.aggregate(rule, &matrix, f).await?;
        match &self.kind {
            #[cfg(feature = "gpu")]
            Kind::Gpu(gpu) => {
                gpu.prepare().await?;
                gpu.save_pipelines()
            }
            _ => Ok(()),
        }
    }

    /// [`Engine::prepare`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::prepare`].
    pub fn prepare_blocking(&self, rule: &dyn Rule, n: usize, f: usize) -> Result<()> {
        pollster::block_on(self.prepare(rule, n, f))
    }

    pub(crate) fn elsewhere(&self) -> Error {
        Error::Device { device: self.name(), reason: "the rows are held by another engine or device".into() }
    }

    fn refer(&self, rows: &Rows, Asked { rule, f, absent }: Asked<'_>, out: &mut [f32]) -> Result<Report> {
        if out.len() != rows.d() {
            return Err(Error::OutputLength { got: out.len(), expected: rows.d() });
        }
        let (values, non_finite) = reference::aggregate(rule, rows, f, absent).inspect_err(|e| {
            if matches!(e, Error::NonFinite { .. }) {
                out.fill(f32::NAN);
            }
        })?;
        out.iter_mut().zip(values).for_each(|(y, v)| *y = v as f32);
        let mut report = blank(rule, self.name(), rows.n(), rows.d(), f);
        report.non_finite = non_finite;
        report.absent = absent.to_vec();
        Ok(report)
    }

    /// The aggregate by its literal definition in f64, unrounded: what the engines are verified against.
    ///
    /// # Errors
    /// As [`Engine::aggregate`].
    pub fn reference_f64(rule: &dyn Rule, rows: &Rows<'_>, f: usize) -> Result<Vec<f64>> {
        reference::aggregate(rule, rows, f, &[]).map(|(values, _)| values)
    }
}
