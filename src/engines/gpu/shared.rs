//! An engine on a device that the caller uses as well: from its buffers into its buffers, and within its encoders.

use super::GpuEngine;
use super::buffers::DeviceVector;
use super::device_rule::DeviceRule;
use crate::dtype::Dtype;
use crate::engine::{Engine, Kind};
use crate::engines::execute::{Alone, Asked};
use crate::error::{Error, Result};
use crate::matrix::Input;
use crate::report::Report;
use crate::rules::Rule;
use futures::future::{BoxFuture, FutureExt};

/// On the caller's device.
impl Engine {
    /// The GPU engine on a device that the caller uses as well, with whatever limits and features it was made with; a call takes up to
    /// `memory_budget` bytes for data in host memory ([`GpuOptions::memory_budget`](crate::GpuOptions::memory_budget)). The device's handlers of errors stay the
    /// caller's, and are not called for what goes wrong here: that is returned. Callbacks of the device may run on a thread of the engine.
    ///
    /// # Errors
    /// [`Error::Device`] when the device's groups have less than 256 invocations or 16 KiB of memory, or no thread can be started.
    pub fn on_device(device: wgpu::Device, queue: wgpu::Queue, memory_budget: Option<u64>) -> Result<Self> {
        Ok(Self::from(Kind::Gpu(GpuEngine::on(device, queue, memory_budget)?)))
    }

    /// The device and queue of a GPU engine, for buffers and kernels of the caller's own.
    pub fn wgpu(&self) -> Option<(&wgpu::Device, &wgpu::Queue)> {
        match &self.kind {
            Kind::Gpu(gpu) => Some(gpu.wgpu()),
            _ => None,
        }
    }

    /// [`Engine::aggregate`] into a buffer of the caller's on the engine's device: the result does not pass through the host. Work that was
    /// submitted to the queue before sees the buffers before this call, work submitted after it was awaited sees the result. After an error
    /// found in the data the result is NaN.
    ///
    /// # Errors
    /// As [`Engine::aggregate`]; [`Error::Buffer`] when a buffer is too small, lacks a usage, is of another device, or when the result would
    /// overwrite the rows; [`Error::Device`] on an engine that is no GPU's.
    pub async fn aggregate_to<'a>(
        &self,
        rule: &dyn Rule,
        input: impl Into<Input<'a>>,
        f: usize,
        out: &DeviceVector,
    ) -> Result<Report> {
        self.run_to(rule, input.into(), f, &[], out).await
    }

    /// [`Engine::aggregate_to`] without the `absent` rows, which count against f.
    pub(crate) fn run_to<'a>(
        &'a self,
        rule: &'a dyn Rule,
        input: Input<'a>,
        f: usize,
        absent: &'a [usize],
        out: &'a DeviceVector,
    ) -> BoxFuture<'a, Result<Report>> {
        async move {
            let Kind::Gpu(gpu) = &self.kind else { return Err(self.no_buffers()) };
            let rows = match input {
                Input::Device(rows) => Some(rows),
                _ => None,
            };
            let out = gpu.sink(out, input.d(), rows)?;
            self.run_on(gpu, Alone, input, Asked { rule, f, absent }, out).await
        }
        .boxed()
    }

    /// [`Engine::aggregate_to`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::aggregate_to`].
    pub fn aggregate_to_blocking<'a>(
        &self,
        rule: &dyn Rule,
        input: impl Into<Input<'a>>,
        f: usize,
        out: &DeviceVector,
    ) -> Result<Report> {
        pollster::block_on(self.aggregate_to(rule, input, f, out))
    }

    /// A rule made ready for encoders of the caller's on this engine's device, for matrices of n rows of d values of this type: see
    /// [`DeviceRule`]. Compiles what it needs on first use, so encode once before it matters.
    ///
    /// # Errors
    /// What the rule's check refuses; [`Error::Given`] for a rule that needs the host; [`Error::Device`] when the device has no room, or on an
    /// engine that is no GPU's.
    pub fn device_rule(&self, rule: &dyn Rule, n: usize, d: usize, f: usize, dtype: Dtype) -> Result<DeviceRule> {
        match &self.kind {
            Kind::Gpu(gpu) => gpu.device_rule(rule, n, d, f, dtype),
            _ => Err(Error::Device { device: self.name(), reason: "it has no encoders".into() }),
        }
    }
}
