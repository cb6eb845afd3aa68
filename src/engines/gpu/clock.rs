//! Time that a call's kernels took on the device, by its own clock: a timestamp at either end of each dispatch.

use super::device::{Device, Use};
use super::pool::locked;
use crate::error::Result;
use std::sync::Mutex;

/// Timestamps of a query set; the most that WebGPU allows.
const STAMPS: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// The timestamps of one call.
#[derive(Debug)]
pub(crate) struct Clock {
    device: wgpu::Device,
    /// Nanoseconds of a tick.
    period: f32,
    /// Query sets, and how many of the last one's timestamps are taken.
    sets: Mutex<(Vec<wgpu::QuerySet>, u32)>,
}

impl Clock {
    pub(crate) fn new(device: wgpu::Device, period: f32) -> Self {
        Self { device, period, sets: Mutex::new((Vec::new(), STAMPS)) }
    }

    /// Two timestamps for the next dispatch: their set, and the index of the first.
    pub(crate) fn pair(&self) -> (wgpu::QuerySet, u32) {
        let (sets, taken) = &mut *locked(&self.sets);
        if *taken == STAMPS {
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: STAMPS };
            sets.push(self.device.create_query_set(&descriptor));
            *taken = 0;
        }
        *taken += 2;
        (sets[sets.len() - 1].clone(), *taken - 2)
    }

    /// The time of all dispatches so far, in seconds, once they are done.
    pub(crate) async fn seconds(&self, device: &Device) -> Result<f64> {
        let (sets, taken) = locked(&self.sets).clone();
        let (mark, mut ticks) = (device.mark(), 0);
        for (at, set) in sets.iter().enumerate() {
            let count = if at + 1 == sets.len() { taken } else { STAMPS };
            let bytes = u64::from(count * wgpu::QUERY_SIZE);
            let stamps = device.buffer(Use::Stamps, bytes).own();
            let mut encoder = device.encoder();
            encoder.resolve_query_set(set, 0..count, &stamps.buffer, 0);
            let fetch = device.fetch(&mut encoder, &stamps, 0, bytes);
            let ticket = device.submit(encoder);
            let lasted = |stamps: &[u64]| stamps.as_chunks().0.iter().map(|[from, to]| to.saturating_sub(*from)).sum::<u64>();
            ticks += device.receive(fetch, ticket, mark, lasted).await?;
        }
        Ok(ticks as f64 * f64::from(self.period) * 1e-9)
    }
}
