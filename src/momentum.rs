//! Distributed momentum: one momentum a worker, kept where the engine reads it fastest.

use crate::engine::{Engine, Kind};
use crate::engines::cpu::momentum::{finite, step};
#[cfg(feature = "gpu")]
use crate::engines::gpu::{DeviceRows, DeviceVector};
#[cfg(feature = "gpu")]
use crate::engines::passes::Output;
use crate::engines::reference;
use crate::error::{Error, Result};
use crate::matrix::{Matrix, Store, room};
use crate::report::{Aggregate, Report};
use crate::rows::Rows;
use crate::rules::{Cohort, NonFinite, Rule};
use futures::future::{BoxFuture, FutureExt};

/// The momentums of n workers: M ← βM + (1−β)G, starting from zero; in f32, whatever the type of the gradients. RESAM's first operator; the second is a resilient rule
/// applied to M, never to G.
///
/// A gradient row with NaN or infinite values leaves that worker's momentum unchanged; the worker is absent in that step.
///
/// Where a step on a device is cut short, because its future is dropped or the device fails, some momentums are stepped and some are not:
/// every later step is an error, and a [`Snapshot`] taken before is what to go on from.
///
/// ```
/// use resam::{DistributedMomentum, Engine, Rows, rules::Median};
/// let mut momentum = DistributedMomentum::new_blocking(&Engine::cpu(), 3, 2, 0.5)?;
/// let gradients = [2.0, 4.0, 4.0, 8.0, f32::NAN, 0.0]; // worker 2 sends garbage
/// let step = momentum.step_and_aggregate_blocking(&Median::default(), &Rows::from_slice(&gradients, 3, 2)?, 1)?;
/// assert_eq!(step.values, [1.5, 3.0]); // of the momentums [1, 2] and [2, 4]
/// assert_eq!(step.report.absent, [2]);
/// # Ok::<(), resam::Error>(())
/// ```
#[derive(Debug)]
pub struct DistributedMomentum {
    /// The one that the momentums are held by, or a clone of it with other options.
    pub(crate) engine: Engine,
    matrix: Matrix,
    beta: f32,
    steps: u64,
    /// A step on a device was begun and not finished.
    torn: bool,
}

/// Where the gradients of a step are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gradients<'a> {
    Rows(&'a Rows<'a>),
    #[cfg(feature = "gpu")]
    Device(&'a DeviceRows),
}

impl Gradients<'_> {
    pub(crate) fn n(&self) -> usize {
        match self {
            Gradients::Rows(rows) => rows.n(),
            #[cfg(feature = "gpu")]
            Gradients::Device(rows) => rows.n(),
        }
    }

    pub(crate) fn d(&self) -> usize {
        match self {
            Gradients::Rows(rows) => rows.d(),
            #[cfg(feature = "gpu")]
            Gradients::Device(rows) => rows.d(),
        }
    }
}

/// Where the aggregate of a step goes.
pub(crate) enum Place<'a> {
    Host(&'a mut [f32]),
    #[cfg(feature = "gpu")]
    Device(&'a DeviceVector),
}

/// Everything a [`DistributedMomentum`] needs to go on bit for bit where it stopped.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// Workers.
    pub n: usize,
    /// Coordinates.
    pub d: usize,
    /// Momentum coefficient.
    pub beta: f32,
    /// Steps made.
    pub steps: u64,
    /// n × d momentums, row after row.
    pub momentums: Vec<f32>,
}

impl DistributedMomentum {
    /// Zero momentums for n workers and d coordinates, with coefficient 0 ≤ β < 1 (0.99 in the experiments of the RESAM
    /// group, 0 for none).
    ///
    /// # Errors
    /// [`Error::NoWorkers`], [`Error::Parameter`] for β, [`Error::Device`] when the device has no room, [`Error::Parameter`] when the host
    /// has none.
    pub async fn new(engine: &Engine, n: usize, d: usize, beta: f32) -> Result<Self> {
        Self::resume(engine, &Snapshot { n, d, beta, steps: 0, momentums: room(n, d, 0.0)? }).await
    }

    /// Goes on from a snapshot, on this or another engine.
    ///
    /// # Errors
    /// As [`DistributedMomentum::new`]; [`Error::Shape`] when the snapshot does not hold n × d values and
    /// [`Error::Momentum`] when one is not finite.
    pub async fn resume(engine: &Engine, snapshot: &Snapshot) -> Result<Self> {
        let Snapshot { n, d, beta, steps, momentums } = snapshot;
        if !(0.0..1.0).contains(beta) {
            return Err(Error::parameter("momentum", "beta", beta, "at least 0 and below 1"));
        }
        let rows = Rows::from_slice(momentums, *n, *d)?;
        if let Some(i) = (0..*n).find(|&i| !finite(rows.values(i))) {
            return Err(Error::Momentum(format!("row {i} of the snapshot holds NaN or infinite values")));
        }
        Ok(Self { engine: engine.clone(), matrix: engine.load_as(&rows, true).await?, beta: *beta, steps: *steps, torn: false })
    }

    /// Workers.
    pub fn n(&self) -> usize {
        self.matrix.n()
    }

    /// Coordinates.
    pub fn d(&self) -> usize {
        self.matrix.d()
    }

    /// Momentum coefficient β.
    pub fn beta(&self) -> f32 {
        self.beta
    }

    /// Steps made since the start.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The momentums, to aggregate or read.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// One step, M ← βM + (1−β)G for the workers whose gradient is finite; returns the others, ascending. One read of G to
    /// classify it, one of G and M to update, one write of M.
    ///
    /// # Errors
    /// [`Error::Momentum`] when the gradients have another shape or a step was cut short, [`Error::Device`] when the device fails.
    pub async fn step(&mut self, gradients: &Rows<'_>) -> Result<Vec<usize>> {
        let gradients = Gradients::Rows(gradients);
        let absent = self.absent(gradients).await?;
        self.update(gradients, &absent).await?;
        Ok(absent)
    }

    /// One step, then the rule on the momentums of the workers that are not absent. When more than f are absent, or all, nothing
    /// changes and the error names them. Rules that look at one coordinate at a time step and order the momentums in one pass.
    ///
    /// # Errors
    /// As [`DistributedMomentum::step`] and [`Engine::aggregate`]. After [`Error::TooHard`], which an exact search finds in the momentums, the
    /// step is made: [`DistributedMomentum::matrix`] is there for another rule.
    pub async fn step_and_aggregate(&mut self, rule: &dyn Rule, gradients: &Rows<'_>, f: usize) -> Result<Aggregate> {
        let mut values = vec![0.0; self.d()];
        let report = self.step_into(rule, Gradients::Rows(gradients), f, Place::Host(&mut values)).await?;
        Ok(Aggregate { values, report })
    }

    /// [`DistributedMomentum::step_and_aggregate`] of gradients in a buffer of the caller's on the engine's device, into another buffer there:
    /// neither passes through the host, but for a number a worker. Gradients are read where they stand. Work that was submitted to the queue
    /// before is seen, and work that is submitted after this was awaited sees the result. Where too many workers are absent, the
    /// result is NaN and the momentums are as before.
    ///
    /// # Errors
    /// As [`DistributedMomentum::step_and_aggregate`] and [`Engine::aggregate_to`].
    #[cfg(feature = "gpu")]
    pub async fn step_and_aggregate_to(
        &mut self,
        rule: &dyn Rule,
        gradients: &DeviceRows,
        f: usize,
        out: &DeviceVector,
    ) -> Result<Report> {
        let Kind::Gpu(gpu) = &self.engine.kind else { return Err(self.engine.no_buffers()) };
        let mut sink = gpu.sink(out, self.d(), Some(gradients))?;
        let report = self.step_into(rule, Gradients::Device(gradients), f, Place::Device(out)).await;
        if let Err(Error::NonFinite { .. }) = report {
            sink.spoil();
        }
        report
    }

    async fn step_into(&mut self, rule: &dyn Rule, gradients: Gradients<'_>, f: usize, mut out: Place<'_>) -> Result<Report> {
        rule.check(self.n(), f)?;
        let absent = self.absent(gradients).await?;
        self.tolerates(rule, &absent, f, self.d())?;
        let step = (gradients, self.beta);
        self.torn = true;
        let stepped = self.engine.step_and_run(rule, &mut self.matrix, step, f, &absent, &mut out).await;
        // All other errors of such rules are found before it is begun.
        self.torn = matches!(stepped, Err(Error::Device { .. }));
        if let Some(report) = stepped? {
            self.steps = self.steps.saturating_add(1);
            return Ok(report);
        }
        self.update(gradients, &absent).await?;
        match out {
            Place::Host(out) => self.engine.run(rule, (&self.matrix).into(), f, &absent, out).await,
            #[cfg(feature = "gpu")]
            Place::Device(out) => self.engine.run_to(rule, (&self.matrix).into(), f, &absent, out).await,
        }
    }

    /// Forgets one worker's momentum.
    ///
    /// # Errors
    /// [`Error::Momentum`] when there is no such worker.
    pub fn reset(&mut self, worker: usize) -> Result<()> {
        self.known(worker)?;
        self.matrix.zero(worker)
    }

    /// Adds a worker with zero momentum after the others; returns its index.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the engine takes no more, [`Error::Device`] when the device has no room, [`Error::Momentum`] when a step was
    /// cut short.
    pub fn add_worker(&mut self) -> Result<usize> {
        let worker = self.n();
        self.rearrange((0..worker).map(Some).chain([None]))?;
        Ok(worker)
    }

    /// Removes a worker; the indices of those after it fall by one.
    ///
    /// # Errors
    /// [`Error::Momentum`] when there is no such worker or it is the last one.
    pub fn remove_worker(&mut self, worker: usize) -> Result<()> {
        self.known(worker)?;
        if self.n() == 1 {
            return Err(Error::Momentum("the last worker cannot be removed".into()));
        }
        self.rearrange((0..self.n()).filter(|&i| i != worker).map(Some))
    }

    fn rearrange(&mut self, rows: impl Iterator<Item = Option<usize>>) -> Result<()> {
        self.whole()?;
        let rows: Vec<Option<usize>> = rows.collect();
        self.matrix.takes(rows.len())?;
        let done = self.matrix.rearrange(&rows);
        // The first of several devices may have done it.
        self.torn = !self.matrix.is_even();
        done
    }

    /// A copy of the state; [`DistributedMomentum::resume`] goes on from it bit for bit.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost, [`Error::Momentum`] when a step was cut short.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        self.whole()?;
        Ok(Snapshot { n: self.n(), d: self.d(), beta: self.beta, steps: self.steps, momentums: self.matrix.read().await? })
    }

    /// Does the rule take the workers that are not absent, of momentums of d columns in all?
    pub(crate) fn tolerates(&self, rule: &dyn Rule, absent: &[usize], f: usize, d: usize) -> Result<()> {
        let total = self.n();
        let present: Vec<usize> = (0..total).filter(|i| !absent.contains(i)).collect();
        if absent.len() > f && rule.non_finite() != NonFinite::Propagate || present.is_empty() {
            return Err(Error::NonFinite { rule: rule.name().into(), rows: absent.to_vec(), f });
        }
        rule.admit(&Cohort { total, members: &(0..total).collect::<Vec<_>>(), f, d })?;
        rule.admit(&Cohort { total, members: &present, f: f.saturating_sub(absent.len()), d })
    }

    fn known(&self, worker: usize) -> Result<()> {
        if worker < self.n() {
            return Ok(());
        }
        Err(Error::Momentum(format!("worker {worker} of {} does not exist", self.n())))
    }

    /// Are all momentums of the same step?
    fn whole(&self) -> Result<()> {
        if self.torn {
            return Err(Error::Momentum("a step was cut short and not all are of the same step; go on from a snapshot".into()));
        }
        Ok(())
    }

    /// Workers whose gradient is not finite.
    pub(crate) fn absent<'a>(&'a self, gradients: Gradients<'a>) -> BoxFuture<'a, Result<Vec<usize>>> {
        async move {
            self.whole()?;
            let (n, d) = (self.n(), self.d());
            if (gradients.n(), gradients.d()) != (n, d) {
                let got = format!("{} x {}", gradients.n(), gradients.d());
                return Err(Error::Momentum(format!("gradients of {got} for a state of n x d = {n} x {d}")));
            }
            match (gradients, &self.engine.kind, &self.matrix.store) {
                (Gradients::Rows(rows), ..) => Ok((0..n).filter(|&i| !finite(rows.values(i))).collect()),
                #[cfg(feature = "gpu")]
                (Gradients::Device(rows), Kind::Gpu(gpu), _) => gpu.foreign(rows, false)?.not_finite().await,
                #[cfg(feature = "gpu")]
                (Gradients::Device(_), ..) => Err(self.engine.no_buffers()),
            }
        }
        .boxed()
    }

    pub(crate) fn update<'a>(&'a mut self, gradients: Gradients<'a>, absent: &'a [usize]) -> BoxFuture<'a, Result<()>> {
        async move {
            let present: Vec<usize> = (0..self.n()).filter(|i| !absent.contains(i)).collect();
            self.torn = true;
            let mut begun = false;
            let stepped = match (&self.engine.kind, &mut self.matrix.store, gradients) {
                (Kind::Several(several), Store::Shards(parts), Gradients::Rows(rows)) => {
                    let mut stepped = Ok(());
                    for ((engine, rows), part) in several.share(rows).iter().zip(parts) {
                        stepped = update(engine, part, Gradients::Rows(rows), &present, self.beta).await;
                        if stepped.is_err() {
                            break;
                        }
                        begun = true;
                    }
                    stepped
                }
                _ => update(&self.engine, &mut self.matrix, gradients, &present, self.beta).await,
            };
            // All other errors of one device are found before it is begun.
            self.torn = stepped.is_err() && (begun || matches!(stepped, Err(Error::Device { .. })));
            stepped?;
            self.steps = self.steps.saturating_add(1);
            Ok(())
        }
        .boxed()
    }
}

/// M ← βM + (1−β)G for the `present` rows, on one device.
async fn update(engine: &Engine, momentums: &mut Matrix, gradients: Gradients<'_>, present: &[usize], beta: f32) -> Result<()> {
    match (&engine.kind, &mut momentums.store, gradients) {
        (Kind::Cpu(cpu), Store::Host { rows, .. }, Gradients::Rows(gradients)) => {
            for &i in present {
                let momentum = bytemuck::cast_slice_mut(&mut rows[i]);
                cpu.on_threads(|| step(momentum, gradients.values(i), beta));
            }
        }
        (Kind::Reference, Store::Host { rows, .. }, Gradients::Rows(gradients)) => {
            for &i in present {
                reference::step(bytemuck::cast_slice_mut(&mut rows[i]), &gradients.row(i), beta);
            }
        }
        #[cfg(feature = "gpu")]
        (Kind::Gpu(gpu), Store::Gpu(resident), gradients) if !present.is_empty() => {
            gpu.stepping(resident, gradients, beta, false)?.step(present).await?;
        }
        #[cfg(feature = "gpu")]
        (Kind::Gpu(_), Store::Gpu(_), _) => {}
        _ => return Err(engine.elsewhere()),
    }
    Ok(())
}

/// Blocking twins of the asynchronous calls.
impl DistributedMomentum {
    /// [`DistributedMomentum::new`], waiting for it.
    ///
    /// # Errors
    /// As [`DistributedMomentum::new`].
    pub fn new_blocking(engine: &Engine, n: usize, d: usize, beta: f32) -> Result<Self> {
        pollster::block_on(Self::new(engine, n, d, beta))
    }

    /// [`DistributedMomentum::resume`], waiting for it.
    ///
    /// # Errors
    /// As [`DistributedMomentum::resume`].
    pub fn resume_blocking(engine: &Engine, snapshot: &Snapshot) -> Result<Self> {
        pollster::block_on(Self::resume(engine, snapshot))
    }

    /// [`DistributedMomentum::step`], waiting for it.
    ///
    /// # Errors
    /// As [`DistributedMomentum::step`].
    pub fn step_blocking(&mut self, gradients: &Rows<'_>) -> Result<Vec<usize>> {
        pollster::block_on(self.step(gradients))
    }

    /// [`DistributedMomentum::step_and_aggregate`], waiting for it.
    ///
    /// # Errors
    /// As [`DistributedMomentum::step_and_aggregate`].
    pub fn step_and_aggregate_blocking(&mut self, rule: &dyn Rule, gradients: &Rows<'_>, f: usize) -> Result<Aggregate> {
        pollster::block_on(self.step_and_aggregate(rule, gradients, f))
    }

    /// [`DistributedMomentum::step_and_aggregate_to`], waiting for it.
    ///
    /// # Errors
    /// As [`DistributedMomentum::step_and_aggregate_to`].
    #[cfg(feature = "gpu")]
    pub fn step_and_aggregate_to_blocking(
        &mut self,
        rule: &dyn Rule,
        gradients: &DeviceRows,
        f: usize,
        out: &DeviceVector,
    ) -> Result<Report> {
        pollster::block_on(self.step_and_aggregate_to(rule, gradients, f, out))
    }

    /// [`DistributedMomentum::snapshot`], waiting for it.
    ///
    /// # Errors
    /// As [`DistributedMomentum::snapshot`].
    pub fn snapshot_blocking(&self) -> Result<Snapshot> {
        pollster::block_on(self.snapshot())
    }
}
