//! A caller of the engine on its own device, as measurements play it: rows and room for a result in buffers.

use super::GpuEngine;
use super::buffers::{DeviceRows, DeviceVector};
use super::device::Device;
use super::device_rule::DeviceRule;
use super::layout::Chunk;
use super::pool::Buffer;
use super::slabs::upload;
use crate::engine::Engine;
use crate::error::Result;
use crate::rows::Rows;
use crate::rules::Rule;
use std::sync::Arc;

/// Rows and room for a result in buffers on the device, and the rule that was last asked for as commands.
#[derive(Debug)]
pub(crate) struct Caller {
    device: Arc<Device>,
    rows: DeviceRows,
    out: DeviceVector,
    /// The buffers of both.
    buffers: [Buffer; 2],
    ready: Option<Ready>,
}

/// A rule by its specification and f, with its reads of the data.
#[derive(Debug)]
struct Ready {
    spec: String,
    f: usize,
    reads: usize,
    commands: DeviceRule,
}

impl GpuEngine {
    /// Copies rows into a buffer as a caller has one.
    pub(crate) async fn caller(&self, rows: &Rows<'_>) -> Result<Caller> {
        let (n, d, device) = (rows.n(), rows.d(), self.device.clone());
        let chunk = Chunk { index: 0, first: 0, columns: d, stride: d.next_multiple_of(8), base: 0 };
        let all: Vec<usize> = (0..n).collect();
        let buffers = device.trying(|| [upload(&device, rows, &chunk, &all).own(), device.storage(d)])?;
        let [matrix, result] = &buffers;
        let caller = Caller {
            rows: DeviceRows::new(&matrix.buffer, n, d).stride(chunk.stride).dtype(rows.dtype()),
            out: DeviceVector::new(&result.buffer),
            device,
            buffers,
            ready: None,
        };
        caller.wait().await?;
        Ok(caller)
    }
}

impl Caller {
    /// Its rows.
    pub(crate) fn rows(&self) -> &DeviceRows {
        &self.rows
    }

    /// Its room for a result.
    pub(crate) fn out(&self) -> &DeviceVector {
        &self.out
    }

    /// Returns when the device has done what was submitted.
    pub(crate) async fn wait(&self) -> Result<()> {
        let mark = self.device.mark();
        let mut encoder = self.device.encoder();
        let fetch = self.device.fetch(&mut encoder, &self.buffers[1], 0, 4);
        let ticket = self.device.submit(encoder);
        self.device.receive(fetch, ticket, mark, |_: &[u32]| ()).await
    }

    /// The rule as commands in an encoder, submitted and awaited; how often it reads the data, which is as often as the engine does.
    pub(crate) async fn encode(&mut self, engine: &Engine, rule: &dyn Rule, f: usize) -> Result<usize> {
        let spec = rule.spec();
        let ready = match &mut self.ready {
            Some(ready) if (&ready.spec, ready.f) == (&spec, f) => ready,
            other => {
                let commands = engine.device_rule(rule, self.rows.n(), self.rows.d(), f, self.rows.dtype)?;
                let reads = engine.aggregate_to(rule, &self.rows, f, &self.out).await?.passes.max(1);
                other.insert(Ready { spec, f, reads, commands })
            }
        };
        let (device, queue) = self.device.wgpu();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        ready.commands.encode(&mut encoder, &self.rows, &self.out)?;
        queue.submit([encoder.finish()]);
        ready.commands.report().await?;
        Ok(ready.reads)
    }
}
