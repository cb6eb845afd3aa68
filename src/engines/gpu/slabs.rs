//! A matrix as slabs of columns: n rows × some columns, row-major, each in a buffer of its own. No slab is larger than what a
//! kernel can bind, so neither the device's limits nor its memory bound the size of a matrix.

use super::buffers::Foreign;
use super::device::{Device, Use};
use super::layout::{Chunk, Layout, UPLOADED};
use super::pool::Buffer;
use crate::dtype::Dtype;
use crate::engines::passes::Traffic;
use crate::error::Result;
use crate::rows::Rows;
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;

/// Bytes that are copied at a time: what lies in several slices is gathered first.
const PIECE: usize = 1 << 22;

/// A buffer with some rows of some columns, copied from the host.
pub(super) fn upload(device: &Device, rows: &Rows, chunk: &Chunk, wanted: &[usize]) -> Buffer {
    let size = rows.dtype().size();
    let stride = chunk.stride * size;
    let slab = device.buffer(Use::Storage, (rows.n() * stride) as u64);
    let mut room = Vec::new();
    for &i in wanted {
        for at in (0..chunk.columns).step_by(PIECE / size) {
            let columns = chunk.first + at..chunk.first + chunk.columns.min(at + PIECE / size);
            let bytes = rows.values(i).slice(columns).gathered(&mut room);
            device.write(&slab, (i * stride + at * size) as u64, bytes);
        }
    }
    slab
}

/// Where passes find their slabs.
pub(crate) enum Source<'a> {
    /// In host memory; slabs are uploaded when they are wanted, and kept when the whole matrix fits the budget.
    Host { rows: &'a Rows<'a>, layout: Layout, kept: Option<Vec<Option<Arc<Buffer>>>> },
    /// On the device.
    Resident(&'a Resident),
    /// In a buffer of the caller's on the device; slabs are copied there when they are wanted, if it is too large to be bound.
    Foreign(Foreign),
}

impl<'a> Source<'a> {
    pub(crate) fn host(rows: &'a Rows<'a>, layout: Layout, keep: bool) -> Self {
        Source::Host { rows, layout, kept: keep.then(|| vec![None; layout.chunks().len()]) }
    }

    pub(crate) fn layout(&self) -> Layout {
        match self {
            Source::Host { layout, .. } => *layout,
            Source::Resident(resident) => resident.layout,
            Source::Foreign(foreign) => foreign.layout,
        }
    }

    /// Type of the values.
    pub(crate) fn dtype(&self) -> Dtype {
        match self {
            Source::Host { rows, .. } => rows.dtype(),
            Source::Resident(resident) => resident.dtype,
            Source::Foreign(foreign) => foreign.dtype(),
        }
    }

    /// Does a slab stay on the device from one pass to the next?
    pub(crate) fn stays(&self) -> bool {
        match self {
            Source::Host { kept, .. } => kept.is_some(),
            Source::Resident(_) => true,
            Source::Foreign(foreign) => foreign.whole.is_some(),
        }
    }

    /// Are all slabs on the device now?
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Source::Host { kept, .. } => kept.as_ref().is_some_and(|kept| kept.iter().all(Option::is_some)),
            _ => self.stays(),
        }
    }

    /// The slab with at least the wanted rows of the chunk.
    pub(crate) fn slab(&mut self, device: &Device, chunk: &Chunk, wanted: &[usize], traffic: &mut Traffic) -> Arc<Buffer> {
        match self {
            Source::Resident(resident) => resident.slabs[chunk.index].clone(),
            Source::Foreign(foreign) => match &foreign.whole {
                Some(whole) => whole.clone(),
                None => Arc::new(foreign.copied(device, chunk, wanted)),
            },
            Source::Host { rows, kept: None, .. } => {
                traffic.uploaded += (rows.dtype().size() * wanted.len() * chunk.columns) as u64;
                Arc::new(upload(device, rows, chunk, wanted))
            }
            Source::Host { rows, kept: Some(kept), .. } => kept[chunk.index]
                .get_or_insert_with(|| {
                    traffic.uploaded += (rows.dtype().size() * rows.n() * chunk.columns) as u64;
                    Arc::new(upload(device, rows, chunk, &(0..rows.n()).collect::<Vec<_>>()))
                })
                .clone(),
        }
    }
}

/// A matrix on the device.
#[derive(Debug)]
pub(crate) struct Resident {
    device: Arc<Device>,
    layout: Layout,
    dtype: Dtype,
    slabs: Vec<Arc<Buffer>>,
}

impl Resident {
    /// Copies rows to the device, in slabs of some bytes.
    pub(crate) async fn load(device: &Arc<Device>, rows: &Rows<'_>, bytes: u64) -> Result<Self> {
        let (mark, dtype) = (device.mark(), rows.dtype());
        let layout = Layout::new(device, rows.n(), rows.d(), dtype, bytes)?;
        let everyone: Vec<usize> = (0..rows.n()).collect();
        let mut slabs = Vec::new();
        for chunk in layout.chunks() {
            let slab = upload(device, rows, &chunk, &everyone).own();
            device.settle(&slab, mark).await?;
            slabs.push(Arc::new(slab));
        }
        Ok(Self { device: device.clone(), layout, dtype, slabs })
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The buffer of a chunk of [`Resident::layout`].
    pub(crate) fn slab(&self, chunk: &Chunk) -> &Buffer {
        &self.slabs[chunk.index]
    }

    pub(crate) fn n(&self) -> usize {
        self.layout.n
    }

    pub(crate) fn d(&self) -> usize {
        self.layout.d
    }

    /// Bytes from one row of a slab to the next.
    fn stride(&self, chunk: &Chunk) -> u64 {
        (chunk.stride * self.dtype.size()) as u64
    }

    pub(crate) fn read(&self) -> BoxFuture<'_, Result<Vec<f32>>> {
        async move {
            let (mark, n, d) = (self.device.mark(), self.n(), self.d());
            let mut values = vec![0.0; n * d];
            for chunk in self.layout.chunks() {
                let mut encoder = self.device.encoder();
                let fetch = self.device.fetch(&mut encoder, &self.slabs[chunk.index], 0, n as u64 * self.stride(&chunk));
                let ticket = self.device.submit(encoder);
                let copy = |slab: &[u8]| {
                    let slab = self.dtype.values(slab);
                    for i in 0..n {
                        let row = slab.slice(i * chunk.stride..i * chunk.stride + chunk.columns);
                        row.copy_to(&mut values[i * d + chunk.first..][..chunk.columns]);
                    }
                };
                self.device.receive(fetch, ticket, mark, copy).await?;
            }
            Ok(values)
        }
        .boxed()
    }

    /// Copies one row of a slab; the number of bytes that came from the device.
    pub(crate) async fn copy_row(&self, chunk: &Chunk, row: usize, out: &mut [f32]) -> Result<u64> {
        let mark = self.device.mark();
        let mut encoder = self.device.encoder();
        let bytes = self.stride(chunk);
        let fetch = self.device.fetch(&mut encoder, &self.slabs[chunk.index], row as u64 * bytes, bytes);
        let ticket = self.device.submit(encoder);
        let copy = |bytes: &[u8]| self.dtype.values(bytes).slice(0..out.len()).copy_to(out);
        self.device.receive(fetch, ticket, mark, copy).await?;
        Ok(bytes)
    }

    /// Sets a row to zero.
    pub(crate) fn zero(&mut self, row: usize) -> Result<()> {
        let mark = self.device.mark();
        let mut encoder = self.device.encoder();
        for chunk in self.layout.chunks() {
            let bytes = self.stride(&chunk);
            encoder.clear_buffer(&self.slabs[chunk.index].buffer, row as u64 * bytes, Some(bytes));
        }
        self.device.submit(encoder);
        self.device.flush();
        self.device.check(mark)
    }

    /// New rows from old ones by index; `None` is a row of zeros. Copied on the device, into slabs as of momentums.
    pub(crate) fn rearrange(&mut self, rows: &[Option<usize>]) -> Result<()> {
        let mark = self.device.mark();
        let layout = Layout::new(&self.device, rows.len(), self.d(), self.dtype, UPLOADED)?;
        let mut encoder = self.device.encoder();
        let mut slabs = Vec::new();
        for new in layout.chunks() {
            let stride = self.stride(&new);
            let slab = self.device.buffer(Use::Storage, rows.len() as u64 * stride).own();
            for (to, from) in rows.iter().enumerate() {
                let to = to as u64 * stride;
                let Some(from) = from else {
                    encoder.clear_buffer(&slab.buffer, to, Some(stride));
                    continue;
                };
                for old in self.layout.chunks() {
                    let first = old.first.max(new.first);
                    let end = (old.first + old.stride).min(new.first + new.stride);
                    if first < end {
                        let bytes = |values: usize| (values * self.dtype.size()) as u64;
                        let source = *from as u64 * self.stride(&old) + bytes(first - old.first);
                        let (target, bytes) = (to + bytes(first - new.first), bytes(end - first));
                        encoder.copy_buffer_to_buffer(&self.slabs[old.index].buffer, source, &slab.buffer, target, bytes);
                    }
                }
            }
            slabs.push(Arc::new(slab));
        }
        self.device.submit(encoder);
        self.device.flush();
        self.device.check(mark)?;
        (self.layout, self.slabs) = (layout, slabs);
        Ok(())
    }
}
