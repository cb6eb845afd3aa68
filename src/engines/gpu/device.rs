//! A device with its compiled pipelines, spare buffers, and what went wrong on it.

use super::adapters::AdapterInfo;
use super::cache::PipelineCache;
use super::clock::Clock;
use super::pool::{Buffer, Pool, locked};
use super::shader::{Kernel, Room, THREADS};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, Shared, select};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

/// What a buffer is for; buffers of one use are interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Storage,
    Uniform,
    /// Written by one kernel, the parameters of another.
    Parameters,
    Readback,
    /// Timestamps, from a query set.
    Stamps,
}

impl Use {
    fn usages(self) -> wgpu::BufferUsages {
        match self {
            Use::Storage => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            Use::Uniform => wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            Use::Parameters => Use::Storage.usages() | Use::Uniform.usages(),
            Use::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            Use::Stamps => wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) info: AdapterInfo,
    pub(crate) limits: wgpu::Limits,
    /// Memory of a group that the kernels use.
    pub(crate) room: Room,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Mutex<HashMap<(Kernel, Dtype), wgpu::ComputePipeline>>,
    cache: Option<PipelineCache>,
    pool: Arc<Mutex<Pool>>,
    /// Errors that wgpu reported outside a call's own results.
    failures: Arc<Mutex<Failures>>,
    /// Set for good when the device is gone.
    lost: Arc<Mutex<Option<String>>>,
    /// Does the caller use the device as well? Then its handlers of errors are left alone.
    shared: bool,
    /// Wakes the thread that drives callbacks, so that no caller's thread has to.
    driver: Option<mpsc::Sender<Wake>>,
    /// Comes when the thread ends, with the device lost or dropped.
    ended: Shared<oneshot::Receiver<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// What a test makes of the text of kernels.
    #[cfg(test)]
    change: Mutex<super::races::Change>,
}

/// How many errors there were, and the last one.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    last: String,
}

impl Failures {
    fn add(&mut self, error: impl ToString) {
        self.count += 1;
        self.last = error.to_string();
    }
}

/// The errors that there were when a call began: any later one may have cost it its work, whoever else it cost theirs. One submission holds
/// the work of all calls, and is refused as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

/// The submission that recorded work goes into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

/// What the driving thread is to do.
#[derive(Debug)]
enum Wake {
    /// Wait for a submission, or for all so far.
    Poll(Option<wgpu::SubmissionIndex>),
    /// What wgpu does when a driver loses the device during a wait.
    #[cfg(test)]
    Panic,
}

impl Drop for Device {
    /// The thread ends before the device does: a process must not exit while a driver is at work.
    fn drop(&mut self) {
        drop(self.driver.take());
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

impl Device {
    /// A device of the adapter whose calls take no more than `budget` bytes, spare buffers included; compiled pipelines are looked for in the
    /// folder, if one is named.
    pub(crate) async fn open(adapter: wgpu::Adapter, info: AdapterInfo, budget: u64, pipelines: Option<&Path>) -> Result<Self> {
        let refused = |reason: String| Error::Device { device: info.name.clone(), reason };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("resam"),
            required_limits: adapter.limits(),
            required_features: adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|e| refused(e.to_string()))?;
        let cache = pipelines.and_then(|folder| PipelineCache::open(&device, &adapter.get_info(), folder));
        let opened = Self::of(device, queue, info, budget, cache)?;
        let failures = opened.failures.clone();
        opened.device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| locked(&failures).add(error)));
        let gone = opened.lost.clone();
        opened.device.set_device_lost_callback(move |_, reason| {
            locked(&gone).get_or_insert_with(|| format!("the device was lost: {reason}"));
        });
        Ok(opened)
    }

    /// A device that the caller uses as well.
    pub(crate) fn share(device: wgpu::Device, queue: wgpu::Queue, info: AdapterInfo, budget: u64) -> Result<Self> {
        let mut shared = Self::of(device, queue, info, budget, None)?;
        shared.shared = true;
        Ok(shared)
    }

    fn of(device: wgpu::Device, queue: wgpu::Queue, info: AdapterInfo, budget: u64, cache: Option<PipelineCache>) -> Result<Self> {
        let limits = device.limits();
        let refused = |reason: String| Error::Device { device: info.name.clone(), reason };
        let groups = (limits.max_compute_invocations_per_workgroup, limits.max_compute_workgroup_storage_size);
        let room = Room::within(groups.1).filter(|_| groups.0 as usize >= THREADS);
        let room = room.ok_or_else(|| {
            refused(format!("its groups have {groups:?} invocations and bytes, the kernels need {:?}", (THREADS, 16 << 10)))
        })?;
        let (driver, work) = mpsc::channel();
        let driven = device.clone();
        let (end, ended) = oneshot::channel();
        let lost = Arc::<Mutex<Option<String>>>::default();
        let gone = lost.clone();
        let thread = std::thread::Builder::new().name("resam-gpu".into()).spawn(move || {
            // Dropped with the thread, however it ends.
            let _end: oneshot::Sender<()> = end;
            let drive = |wake| match wake {
                Wake::Poll(submission_index) => {
                    let one = driven.poll(wgpu::PollType::Wait { submission_index, timeout: None });
                    // One that was refused cannot be waited for.
                    drop(one.or_else(|_| driven.poll(wgpu::PollType::wait_indefinitely())));
                }
                #[cfg(test)]
                Wake::Panic => panic!("planted"),
            };
            while let Ok(wake) = work.recv() {
                // wgpu panics when a driver loses the device during the wait, and answers nobody then.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drive(wake))) {
                    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                    let said = said.and_then(|said| said.lines().last()).unwrap_or_default();
                    locked(&gone)
                        .get_or_insert_with(|| format!("the device was lost during a wait, or a callback panicked: {said}"));
                    return;
                }
            }
        });
        let thread = Some(thread.map_err(|e| refused(format!("cannot start a thread: {e}")))?);
        Ok(Self {
            info,
            limits,
            room,
            device,
            queue,
            pipelines: Mutex::default(),
            cache,
            pool: Pool::new(budget),
            failures: Arc::default(),
            lost,
            shared: false,
            driver: Some(driver),
            ended: ended.shared(),
            thread,
            #[cfg(test)]
            change: Mutex::default(),
        })
    }

    /// The device and its queue.
    pub(crate) fn wgpu(&self) -> (&wgpu::Device, &wgpu::Queue) {
        (&self.device, &self.queue)
    }

    /// What wgpu says of some work on this device; `work` does not wait.
    fn said<T>(&self, work: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
        let filters = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let result = work();
        let errors = scopes.into_iter().rev().map(|scope| scope.pop().now_or_never().flatten());
        // All scopes are left, and the error of the innermost is the first.
        (result, errors.collect::<Vec<_>>().into_iter().flatten().next())
    }

    /// Does some work whose errors must not reach the handlers of a caller that shares the device.
    fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.shared {
            return work();
        }
        let (result, error) = self.said(work);
        if let Some(error) = error {
            locked(&self.failures).add(error);
        }
        result
    }

    /// Is this a living buffer of this device? Others are told apart by wgpu alone.
    pub(crate) fn takes(&self, buffer: &wgpu::Buffer) -> Result<()> {
        let uses = || {
            if buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
                let ty = wgpu::BufferBindingType::Storage { read_only: true };
                let entry = wgpu::BindGroupLayoutEntry {
                    binding: 0,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                    count: None,
                };
                let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &[entry] };
                let layout = self.device.create_bind_group_layout(&descriptor);
                let size = std::num::NonZeroU64::new(4);
                let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
                let entries = [wgpu::BindGroupEntry { binding: 0, resource }];
                let _ =
                    self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
            } else {
                let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                encoder.clear_buffer(buffer, 0, Some(0));
                encoder.finish();
            }
        };
        match self.said(uses) {
            ((), Some(error)) => Err(Error::Buffer(error.to_string())),
            ((), None) => Ok(()),
        }
    }

    /// Does what wgpu may refuse on behalf of one caller, whose error it is.
    pub(crate) fn trying<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        match self.said(work) {
            (_, Some(error)) => Err(self.error(error.to_string())),
            (result, None) => Ok(result),
        }
    }

    /// A part of a buffer of the caller's.
    pub(crate) fn foreign(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Buffer {
        Buffer::foreign(buffer.clone(), offset, bytes, self.pool.clone())
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.info.name.clone(), reason: reason.into() }
    }

    /// Loses the device, as a driver may at any time.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.device.destroy();
    }

    /// Loses the device as some drivers do: the thread that waits for it panics.
    #[cfg(test)]
    pub(crate) fn lose_while_waiting(&self) {
        let _ = self.driver.as_ref().expect("there until it is dropped").send(Wake::Panic);
    }

    /// To be taken before a call makes its first buffer.
    pub(crate) fn mark(&self) -> Mark {
        Mark(locked(&self.failures).count)
    }

    /// The error of the device, if it had one since.
    pub(crate) fn check(&self, since: Mark) -> Result<()> {
        let failed = || {
            let failures = locked(&self.failures);
            (failures.count > since.0).then(|| failures.last.clone())
        };
        let reason = locked(&self.lost).clone().or_else(failed);
        reason.map_or(Ok(()), |reason| {
            locked(&self.pool).fail();
            Err(self.error(reason))
        })
    }

    /// A buffer of at least `bytes`, a spare one if there is one of no more than twice the size. Its contents are arbitrary.
    pub(crate) fn buffer(&self, role: Use, bytes: u64) -> Buffer {
        let bytes = bytes.max(256).next_multiple_of(256);
        let spare = locked(&self.pool).take(role.usages(), bytes);
        let buffer = spare.unwrap_or_else(|| {
            locked(&self.pool).count(bytes);
            let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage: role.usages(), mapped_at_creation: false };
            self.quietly(|| self.device.create_buffer(&descriptor))
        });
        Buffer::new(buffer, bytes, self.pool.clone())
    }

    /// A buffer of so many words, for longer than a call.
    pub(crate) fn storage(&self, words: usize) -> Buffer {
        self.buffer(Use::Storage, 4 * words as u64).own()
    }

    /// A buffer with these contents, some whole words. A kernel that asks for its length gets theirs, and sees nothing behind them.
    pub(crate) fn filled<T: bytemuck::Pod>(&self, role: Use, values: &[T]) -> Buffer {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let mut buffer = self.buffer(role, bytes.len() as u64);
        self.quietly(|| self.queue.write_buffer(&buffer.buffer, 0, bytes));
        // Nothing cannot be bound.
        if !bytes.is_empty() {
            buffer.bytes = bytes.len() as u64;
        }
        buffer
    }

    /// Copies bytes into a buffer, in pieces that drivers stage fast; zeros fill the last word.
    pub(crate) fn write(&self, buffer: &Buffer, at: u64, bytes: &[u8]) {
        const PIECE: usize = 1 << 22;
        let (words, rest) = bytes.as_chunks::<4>();
        for (i, piece) in words.as_flattened().chunks(PIECE).enumerate() {
            self.quietly(|| {
                self.queue.write_buffer(&buffer.buffer, at + (i * PIECE) as u64, piece);
                if piece.len() == PIECE {
                    self.queue.submit([]);
                }
            });
        }
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            let at = at + words.as_flattened().len() as u64;
            self.quietly(|| self.queue.write_buffer(&buffer.buffer, at, &word));
        }
    }

    pub(crate) fn encoder(&self) -> Encoder {
        self.timed_encoder(None)
    }

    /// An encoder whose dispatches are timed if there is a clock.
    pub(crate) fn timed_encoder(&self, clock: Option<Arc<Clock>>) -> Encoder {
        let commands = self.quietly(|| self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()));
        Encoder { commands, clock }
    }

    /// A clock for one call, where the device has timestamps.
    pub(crate) fn clock(&self) -> Option<Arc<Clock>> {
        let has = self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        has.then(|| Arc::new(Clock::new(self.device.clone(), self.queue.get_timestamp_period())))
    }

    /// Records work for the next submission: that of the next [`Device::flush`], or of any call that waits for a result.
    pub(crate) fn submit(&self, encoder: Encoder) -> Ticket {
        let commands = self.quietly(|| encoder.commands.finish());
        Ticket(locked(&self.pool).record(commands))
    }

    /// Submits what is recorded, of all calls, at once.
    pub(crate) fn flush(&self) {
        self.quietly(|| locked(&self.pool).flush(&self.queue));
    }

    /// Buffers made so far, and the most bytes that calls and spare ones took at a time.
    #[cfg(test)]
    pub(crate) fn buffers(&self) -> (usize, u64) {
        locked(&self.pool).statistics()
    }

    /// A kernel over values of this type with its buffers, ready to be dispatched. `bindings` are (number in the shader, buffer).
    pub(crate) fn bind(&self, kernel: Kernel, dtype: Dtype, bindings: &[(u32, &Buffer)]) -> Bound {
        self.quietly(|| self.bound(kernel, dtype, bindings))
    }

    fn bound(&self, kernel: Kernel, dtype: Dtype, bindings: &[(u32, &Buffer)]) -> Bound {
        let pipeline = self.pipeline(kernel, dtype);
        let entries: Vec<_> = bindings.iter().map(|(n, b)| wgpu::BindGroupEntry { binding: *n, resource: b.resource() }).collect();
        let layout = pipeline.get_bind_group_layout(0);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name()),
            layout: &layout,
            entries: &entries,
        });
        Bound { name: kernel.name(), pipeline, group }
    }

    /// The compiled kernel; compiled on first use.
    fn pipeline(&self, kernel: Kernel, dtype: Dtype) -> wgpu::ComputePipeline {
        let mut pipelines = locked(&self.pipelines);
        let compile = || {
            let source = kernel.source(dtype);
            #[cfg(test)]
            let source = locked(&self.change).of(kernel.name(), &source);
            let source = wgpu::ShaderSource::Wgsl(source.into());
            let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(kernel.name()), source });
            let compilation_options =
                wgpu::PipelineCompilationOptions { constants: &kernel.constants(self.room), ..Default::default() };
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.name()),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options,
                cache: self.cache.as_ref().map(PipelineCache::cache),
            })
        };
        pipelines.entry((kernel, dtype)).or_insert_with(compile).clone()
    }

    /// Compiles kernels from changed text from now on.
    #[cfg(test)]
    pub(crate) fn compile_changed(&self, change: super::races::Change) {
        let mut pipelines = locked(&self.pipelines);
        let mut before = locked(&self.change);
        pipelines.retain(|(kernel, _), _| !change.changes(kernel.name()) && !before.changes(kernel.name()));
        *before = change;
    }

    /// The kernels that were compiled.
    #[cfg(test)]
    pub(crate) fn compiled(&self) -> Vec<Kernel> {
        locked(&self.pipelines).keys().map(|(kernel, _)| *kernel).collect()
    }

    /// Does it have a cache of pipelines?
    #[cfg(test)]
    pub(crate) fn caches_pipelines(&self) -> bool {
        self.cache.is_some()
    }

    /// Keeps the compiled pipelines for later processes, if they were to be.
    pub(crate) fn save_pipelines(&self) -> Result<()> {
        self.cache.as_ref().map_or(Ok(()), PipelineCache::save)
    }

    /// Starts to fetch the first `bytes` of a buffer: the copy goes into the encoder, the bytes come when it was submitted.
    pub(crate) fn fetch(&self, encoder: &mut Encoder, from: &Buffer, at: u64, bytes: u64) -> Fetch {
        let buffer = self.buffer(Use::Readback, bytes);
        encoder.copy_buffer_to_buffer(&from.buffer, at, &buffer.buffer, 0, bytes);
        Fetch { buffer, bytes }
    }

    /// Starts to fetch the beginnings of some buffers, so many bytes of each, one behind the other.
    pub(crate) fn fetch_all(&self, encoder: &mut Encoder, parts: &[(&Buffer, u64)]) -> Fetch {
        let total = parts.iter().map(|(_, bytes)| bytes).sum();
        let buffer = self.buffer(Use::Readback, total);
        let mut at = 0;
        for (from, bytes) in parts {
            encoder.copy_buffer_to_buffer(&from.buffer, 0, &buffer.buffer, at, *bytes);
            at += bytes;
        }
        Fetch { buffer, bytes: total }
    }

    /// Hands the fetched values to `take` once their submission is done, unless the device had an error since the mark.
    pub(crate) async fn receive<T: bytemuck::Pod, R>(
        &self,
        fetch: Fetch,
        of: Ticket,
        since: Mark,
        take: impl FnOnce(&[T]) -> R,
    ) -> Result<R> {
        let Fetch { mut buffer, bytes } = fetch;
        // One that is dropped while it is being mapped is not fit for another call.
        buffer.set_returns(false);
        // Calls that wait together are polled in turn: each records its work before the first submits it all.
        yield_once().await;
        self.flush();
        let (send, receive) = oneshot::channel();
        let answer = move |result| drop(send.send(result));
        self.quietly(|| buffer.buffer.map_async(wgpu::MapMode::Read, 0..bytes, answer));
        if let Some(driver) = &self.driver {
            // Without the thread there is no device any more, and nobody waits.
            let _ = driver.send(Wake::Poll(locked(&self.pool).submission(of.0)));
        }
        let mapped = match select(receive, self.ended.clone()).await {
            Either::Left((mapped, _)) => mapped,
            Either::Right(_) => Err(oneshot::Canceled),
        };
        self.check(since)?;
        mapped.map_err(|_| self.error("the device stopped answering"))?.map_err(|e| self.error(e.to_string()))?;
        let result = {
            let view = buffer.buffer.get_mapped_range(0..bytes).map_err(|e| self.error(e.to_string()))?;
            take(bytemuck::cast_slice(&view))
        };
        buffer.buffer.unmap();
        buffer.set_returns(true);
        Ok(result)
    }

    /// Waits until the work on a buffer is done.
    pub(crate) async fn settle(&self, buffer: &Buffer, since: Mark) -> Result<()> {
        let mut encoder = self.encoder();
        let fetch = self.fetch(&mut encoder, buffer, 0, 4);
        let ticket = self.submit(encoder);
        self.receive(fetch, ticket, since, |_: &[u32]| ()).await
    }
}

/// Lets others be polled first, once.
async fn yield_once() {
    let mut yielded = false;
    let turn = |context: &mut std::task::Context<'_>| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    };
    std::future::poll_fn(turn).await;
}

/// Work recorded for one submission.
pub(crate) struct Encoder {
    commands: wgpu::CommandEncoder,
    clock: Option<Arc<Clock>>,
}

impl Deref for Encoder {
    type Target = wgpu::CommandEncoder;

    fn deref(&self) -> &Self::Target {
        &self.commands
    }
}

impl DerefMut for Encoder {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.commands
    }
}

/// A kernel with its buffers.
pub(crate) struct Bound {
    name: &'static str,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl Bound {
    /// Adds one dispatch to the encoder.
    pub(crate) fn dispatch(&self, encoder: &mut Encoder, groups: [u32; 3]) {
        let pair = encoder.clock.as_ref().map(|clock| clock.pair());
        let timestamps = pair.as_ref().map(|(set, first)| wgpu::ComputePassTimestampWrites {
            query_set: set,
            beginning_of_pass_write_index: Some(*first),
            end_of_pass_write_index: Some(first + 1),
        });
        self.encode(encoder, groups, timestamps);
    }

    /// The same for an encoder of the caller's.
    pub(crate) fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        groups: [u32; 3],
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(self.name), timestamp_writes });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }
}

/// A copy under way to the host.
pub(crate) struct Fetch {
    buffer: Buffer,
    bytes: u64,
}

impl Fetch {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
