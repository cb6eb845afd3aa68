//! RESAM's step for the gradients of a module.

use super::engine::{Seen, TensorEngine, tensor};
use crate::error::{Error, Result};
use crate::momentum::{DistributedMomentum, Snapshot};
use crate::report::{Aggregate, Report};
use crate::rules::Rule;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

/// A [`DistributedMomentum`] over the parameters of a burn module: each worker's gradients in, one step of all momentums and their aggregate out,
/// as gradients that every optimizer of burn takes. It is server-side momentum: give it to an optimizer without momentum of its own.
///
/// On the device that the engine shares, gradients of a step are stacked by burn to one n × d tensor there, and stay there: one more write
/// and read of them than [`DistributedMomentum::step_and_aggregate_to`] makes.
///
/// A worker that sent nothing, or a gradient that is not finite, is absent: its momentum stays as it is, and it counts against f. A parameter
/// that has no gradient has one of zeros.
#[derive(Debug)]
pub struct ModuleMomentum {
    engine: TensorEngine,
    momentum: DistributedMomentum,
    /// What each worker sent for the next step: its gradients, parameter after parameter.
    sent: Vec<Option<Vec<Tensor<1>>>>,
    device: Device,
}

impl ModuleMomentum {
    /// Zero momentums of n workers, with coefficient 0 ≤ β < 1, for the float parameters of `module`: d is their number of values.
    ///
    /// # Errors
    /// As [`DistributedMomentum::new`]; [`Error::Tensors`] for a module without parameters or with parameters on several devices.
    pub async fn new<M: Module>(engine: &TensorEngine, module: &M, n: usize, beta: f32) -> Result<Self> {
        let (d, device) = parameters(module)?;
        let momentum = DistributedMomentum::new(&engine.engine, n, d, beta).await?;
        Ok(Self { engine: engine.clone(), momentum, sent: vec![], device })
    }

    /// Goes on from a snapshot of [`ModuleMomentum::momentum`].
    ///
    /// # Errors
    /// As [`DistributedMomentum::resume`]; [`Error::Momentum`] when it is not of a module of this size.
    pub async fn resume<M: Module>(engine: &TensorEngine, module: &M, snapshot: &Snapshot) -> Result<Self> {
        let (d, device) = parameters(module)?;
        if snapshot.d != d {
            return Err(Error::Momentum(format!("a snapshot of d = {} for a module of {d} parameters", snapshot.d)));
        }
        let momentum = DistributedMomentum::resume(&engine.engine, snapshot).await?;
        Ok(Self { engine: engine.clone(), momentum, sent: vec![], device })
    }

    /// The momentums.
    pub fn momentum(&self) -> &DistributedMomentum {
        &self.momentum
    }

    /// Forgets a worker's momentum ([`DistributedMomentum::reset`]), and what it sent for the next step.
    ///
    /// # Errors
    /// [`Error::Momentum`] when there is no such worker.
    pub fn reset(&mut self, worker: usize) -> Result<()> {
        self.momentum.reset(worker)?;
        self.sent.get_mut(worker).into_iter().for_each(|sent| *sent = None);
        Ok(())
    }

    /// Adds a worker with zero momentum after the others; returns its index.
    ///
    /// # Errors
    /// As [`DistributedMomentum::add_worker`].
    pub fn add_worker(&mut self) -> Result<usize> {
        self.momentum.add_worker()
    }

    /// Removes a worker with what it sent; the indices of those after it fall by one.
    ///
    /// # Errors
    /// As [`DistributedMomentum::remove_worker`].
    pub fn remove_worker(&mut self, worker: usize) -> Result<()> {
        self.momentum.remove_worker(worker)?;
        if worker < self.sent.len() {
            self.sent.remove(worker);
        }
        Ok(())
    }

    /// Keeps a worker's gradients for the next step, in place of what it sent before. Nothing is copied.
    ///
    /// # Errors
    /// [`Error::Momentum`] when there is no such worker; [`Error::Worker`] when a gradient has not the shape of its parameter.
    pub fn receive<M: Module>(&mut self, worker: usize, module: &M, gradients: &GradientsParams) -> Result<()> {
        if worker >= self.momentum.n() {
            return Err(Error::Momentum(format!("worker {worker} of {} does not exist", self.momentum.n())));
        }
        let mut flat = Flat { gradients, pieces: Vec::new(), wrong: None };
        module.visit(&mut flat);
        if let Some(reason) = flat.wrong {
            return Err(Error::Worker { worker, reason });
        }
        let got: usize = flat.pieces.iter().map(|piece| piece.dims()[0]).sum();
        if got != self.momentum.d() {
            return Err(Error::Worker { worker, reason: format!("a module of {got} parameters instead of {}", self.momentum.d()) });
        }
        if self.sent.len() <= worker {
            self.sent.resize(worker + 1, None);
        }
        self.sent[worker] = Some(flat.pieces);
        Ok(())
    }

    /// One step of the momentums by what was received since the last one, and the rule on the momentums: gradients for `module`. What was
    /// received is used up, after an error as well.
    ///
    /// # Errors
    /// As [`DistributedMomentum::step_and_aggregate`].
    pub async fn step<M: Module>(&mut self, rule: &dyn Rule, module: &M, f: usize) -> Result<(GradientsParams, Report)> {
        let rows = self.stacked();
        let (values, report) = match self.engine.see(&rows).await? {
            Seen::Device(placed, _held) => {
                let room = self.engine.room(&self.device, self.momentum.d())?;
                let report = self.momentum.step_and_aggregate_to(rule, &placed, f, &room.vector()).await?;
                (room.filled(), report)
            }
            Seen::Host(data) => {
                let Aggregate { values, report } = self.momentum.step_and_aggregate(rule, &data.rows()?, f).await?;
                (tensor(values, &self.device), report)
            }
        };
        let mut parts = Parts { values, at: 0, gradients: GradientsParams::new() };
        module.visit(&mut parts);
        Ok((parts.gradients, report))
    }

    /// The gradients of all workers, one row each; NaN for those that sent none.
    fn stacked(&mut self) -> Tensor<2> {
        let (n, d) = (self.momentum.n(), self.momentum.d());
        let mut sent = std::mem::take(&mut self.sent);
        sent.resize(n, None);
        let none = || vec![Tensor::full([d], f32::NAN, (&self.device, DType::F32))];
        let pieces: Vec<Tensor<1>> = sent.into_iter().flat_map(|sent| sent.unwrap_or_else(none)).collect();
        Tensor::cat(pieces, 0).reshape([n, d])
    }
}

/// Blocking twins of the asynchronous calls.
impl ModuleMomentum {
    /// [`ModuleMomentum::new`], waiting for it.
    ///
    /// # Errors
    /// As [`ModuleMomentum::new`].
    pub fn new_blocking<M: Module>(engine: &TensorEngine, module: &M, n: usize, beta: f32) -> Result<Self> {
        pollster::block_on(Self::new(engine, module, n, beta))
    }

    /// [`ModuleMomentum::resume`], waiting for it.
    ///
    /// # Errors
    /// As [`ModuleMomentum::resume`].
    pub fn resume_blocking<M: Module>(engine: &TensorEngine, module: &M, snapshot: &Snapshot) -> Result<Self> {
        pollster::block_on(Self::resume(engine, module, snapshot))
    }

    /// [`ModuleMomentum::step`], waiting for it.
    ///
    /// # Errors
    /// As [`ModuleMomentum::step`].
    pub fn step_blocking<M: Module>(&mut self, rule: &dyn Rule, module: &M, f: usize) -> Result<(GradientsParams, Report)> {
        pollster::block_on(self.step(rule, module, f))
    }
}

/// Number of values of a module's float parameters, and the device they are on.
fn parameters<M: Module>(module: &M) -> Result<(usize, Device)> {
    struct Count(usize, Vec<Device>);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            self.0 += value.shape().num_elements();
            let device = value.device().inner();
            if !self.1.contains(&device) {
                self.1.push(device);
            }
        }
    }
    let mut count = Count(0, Vec::new());
    module.visit(&mut count);
    match (count.0, &count.1[..]) {
        (0, _) => Err(Error::Tensors("the module has no float parameters".into())),
        (d, [device]) => Ok((d, device.clone())),
        (_, devices) => Err(Error::Tensors(format!("the module's parameters are on {} devices", devices.len()))),
    }
}

/// Gradients, parameter after parameter.
struct Flat<'a> {
    gradients: &'a GradientsParams,
    pieces: Vec<Tensor<1>>,
    wrong: Option<String>,
}

impl ModuleVisitor for Flat<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parameter = param.val();
        let (shape, device) = (parameter.dims(), parameter.device().inner());
        let gradient = match self.gradients.get::<D>(param.id) {
            Some(gradient) if gradient.dims() == shape => gradient.inner(),
            Some(gradient) => {
                let got = gradient.dims();
                self.wrong.get_or_insert(format!("a gradient of {got:?} for parameter {} of {shape:?}", param.id));
                return;
            }
            None => Tensor::zeros(shape, (&device, DType::F32)),
        };
        self.pieces.push(gradient.to_device(&device).cast(DType::F32).reshape([shape.iter().product::<usize>()]));
    }
}

/// Hands a flat vector out to parameters.
struct Parts {
    values: Tensor<1>,
    at: usize,
    gradients: GradientsParams,
}

impl ModuleVisitor for Parts {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let parameter = param.val();
        let (shape, dtype) = (parameter.dims(), parameter.dtype());
        let end = self.at + shape.iter().product::<usize>();
        let part = self.values.clone().narrow(0, self.at, end - self.at).reshape(shape).cast(dtype);
        self.gradients.register(param.id, part);
        self.at = end;
    }
}
