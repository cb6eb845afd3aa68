//! Buffers between two uses, and work that is recorded but not yet submitted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Latest submissions whose ends can be waited for by themselves.
const SUBMISSIONS: usize = 256;

/// Most spare buffers kept for the next calls.
const SPARES: usize = 512;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves these values whole: they are replaced or pushed to, never half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    /// What goes into the next submission, in order.
    recorded: Vec<wgpu::CommandBuffer>,
    /// Number of submissions so far, and the latest ones by number.
    submitted: u64,
    latest: VecDeque<(u64, wgpu::SubmissionIndex)>,
    /// Buffers that recorded work may still use: filled anew before it is submitted, they would hand it the wrong values.
    used: Vec<wgpu::Buffer>,
    /// Buffers for the next call, the longest unused first.
    spares: Vec<wgpu::Buffer>,
    /// The device had an error: a buffer may be one that never got its memory, and is not kept.
    broken: bool,
    /// Bytes beyond which no spare buffer is kept beside a new one.
    limit: u64,
    /// Bytes of the buffers that calls use or that are spare.
    bytes: u64,
    /// The most that was.
    peak: u64,
    /// Buffers made so far.
    made: usize,
}

impl Pool {
    pub(super) fn new(limit: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { limit, ..Self::default() }))
    }

    /// A spare buffer of this usage and of `bytes` to twice as many, the smallest that fits: a larger one is left for who needs it.
    pub(super) fn take(&mut self, usages: wgpu::BufferUsages, bytes: u64) -> Option<wgpu::Buffer> {
        let fits = |b: &wgpu::Buffer| b.usage() == usages && (bytes..=2 * bytes).contains(&b.size());
        let fitting = (0..self.spares.len()).filter(|&at| fits(&self.spares[at]));
        let best = fitting.min_by_key(|&at| self.spares[at].size())?;
        Some(self.spares.remove(best))
    }

    /// Counts a new buffer. Spare ones make room for it.
    pub(super) fn count(&mut self, bytes: u64) {
        self.made += 1;
        self.bytes += bytes;
        while self.bytes > self.limit && !self.spares.is_empty() {
            self.drop_oldest();
        }
        self.peak = self.peak.max(self.bytes);
    }

    fn drop_oldest(&mut self) {
        self.bytes -= self.spares.remove(0).size();
    }

    /// Takes a buffer back.
    fn give(&mut self, buffer: wgpu::Buffer) {
        match self.recorded.is_empty() {
            _ if self.broken => self.forget(buffer.size()),
            false => self.used.push(buffer),
            true => {
                self.spares.push(buffer);
                if self.spares.len() > SPARES {
                    self.drop_oldest();
                }
            }
        }
    }

    /// A buffer that is not to come back.
    fn forget(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Keeps no buffer from now on. What is recorded is of calls that have not failed.
    pub(super) fn fail(&mut self) {
        self.broken = true;
        while !self.spares.is_empty() {
            self.drop_oldest();
        }
    }

    /// Adds work to the next submission; its number.
    pub(super) fn record(&mut self, commands: wgpu::CommandBuffer) -> u64 {
        self.recorded.push(commands);
        self.submitted
    }

    /// What wgpu calls a submission of the latest ones.
    pub(super) fn submission(&self, number: u64) -> Option<wgpu::SubmissionIndex> {
        self.latest.iter().find(|(latest, _)| *latest == number).map(|(_, index)| index.clone())
    }

    /// Submits what is recorded, all at once.
    pub(super) fn flush(&mut self, queue: &wgpu::Queue) {
        if !self.recorded.is_empty() {
            let index = queue.submit(std::mem::take(&mut self.recorded));
            if self.latest.len() == SUBMISSIONS {
                self.latest.pop_front();
            }
            self.latest.push_back((self.submitted, index));
            self.submitted += 1;
            std::mem::take(&mut self.used).into_iter().for_each(|buffer| self.give(buffer));
        }
    }

    /// Buffers made so far, and the most bytes that there were of them at a time.
    #[cfg(test)]
    pub(super) fn statistics(&self) -> (usize, u64) {
        (self.made, self.peak)
    }
}

/// A buffer that goes back to the device's spares when dropped. Work already recorded on it stays ordered before its next use.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(super) buffer: wgpu::Buffer,
    /// Where it begins in there; 0 but in buffers of the caller's.
    offset: u64,
    /// Bytes that kernels see: a spare buffer may be larger than a binding can be.
    pub(super) bytes: u64,
    pool: Arc<Mutex<Pool>>,
    returns: bool,
}

impl Buffer {
    pub(super) fn new(buffer: wgpu::Buffer, bytes: u64, pool: Arc<Mutex<Pool>>) -> Self {
        Self { buffer, offset: 0, bytes, pool, returns: true }
    }

    /// A part of a buffer of the caller's, which never becomes a spare one.
    pub(super) fn foreign(buffer: wgpu::Buffer, offset: u64, bytes: u64, pool: Arc<Mutex<Pool>>) -> Self {
        Self { buffer, offset, bytes, pool, returns: false }
    }

    pub(super) fn resource(&self) -> wgpu::BindingResource<'_> {
        let size = std::num::NonZeroU64::new(self.bytes);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: self.offset, size })
    }

    /// Shall it go back to the spares when dropped?
    pub(super) fn set_returns(&mut self, returns: bool) {
        if self.returns != returns {
            let mut pool = locked(&self.pool);
            pool.bytes = if returns { pool.bytes + self.buffer.size() } else { pool.bytes.saturating_sub(self.buffer.size()) };
        }
        self.returns = returns;
    }

    /// Keeps the buffer from the spares: for what lives longer than a call.
    pub(crate) fn own(mut self) -> Self {
        self.set_returns(false);
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.returns {
            locked(&self.pool).give(self.buffer.clone());
        }
    }
}
