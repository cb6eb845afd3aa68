//! Rows and results that stand in buffers of the caller's, on a device that it shares with an engine.

use super::device::{Device, Use};
use super::layout::{BINDING, Chunk, Layout, UPLOADED, sums_fit};
use super::params::{Params, groups};
use super::pool::Buffer;
use super::shader::{BLOCK, Kernel};
use crate::dtype::Dtype;
use crate::engines::passes::Output;
use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// n rows of d values in a [`wgpu::Buffer`] of the caller's: row i begins at byte offset + i · stride · size of a value.
///
/// The buffer needs the usage `STORAGE`. One that is larger than the device can bind at once is read in slabs of columns, copied on the
/// device, and needs `COPY_SRC` as well. Nothing passes through the host.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRows {
    buffer: wgpu::Buffer,
    offset: u64,
    stride: usize,
    n: usize,
    d: usize,
    pub(super) dtype: Dtype,
}

impl DeviceRows {
    /// n × d values of f32 from the beginning of the buffer, row after row.
    pub fn new(buffer: &wgpu::Buffer, n: usize, d: usize) -> Self {
        Self { buffer: buffer.clone(), offset: 0, stride: d, n, d, dtype: Dtype::F32 }
    }

    /// Of another type.
    #[must_use]
    pub fn dtype(self, dtype: Dtype) -> Self {
        Self { dtype, ..self }
    }

    /// From so many bytes on: a multiple of a value's size, and nothing more.
    #[must_use]
    pub fn offset(self, bytes: u64) -> Self {
        Self { offset: bytes, ..self }
    }

    /// So many values from the beginning of a row to that of the next, at least d.
    #[must_use]
    pub fn stride(self, values: usize) -> Self {
        Self { stride: values, ..self }
    }

    /// Number of rows (workers).
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of columns (coordinates).
    pub fn d(&self) -> usize {
        self.d
    }

    /// Bytes of the buffer from the first value to the last.
    fn range(&self) -> Result<Range<u64>> {
        if self.n == 0 {
            return Err(Error::NoWorkers);
        }
        let Self { stride, n, d, .. } = *self;
        if stride < d {
            return Err(Error::Buffer(format!("a stride of {stride} values is less than d = {d}")));
        }
        let size = self.dtype.size();
        if !self.offset.is_multiple_of(size as u64) {
            return Err(Error::Buffer(format!("an offset of {} bytes is no multiple of {size}, the size of a value", self.offset)));
        }
        let bytes = stride.checked_mul(n - 1).and_then(|values| values.checked_add(d)).and_then(|values| values.checked_mul(size));
        // Words are read: the last one must be whole.
        let end = bytes.and_then(|bytes| self.offset.checked_add(bytes as u64)).and_then(|end| end.checked_next_multiple_of(4));
        let end = end.filter(|end| *end <= self.buffer.size()).ok_or_else(|| {
            let layout =
                format!("n = {n} rows of d = {d} at a stride of {stride} values of {size} bytes from byte {}", self.offset);
            Error::Buffer(format!("{layout} do not fit {} bytes, in whole words of 4", self.buffer.size()))
        })?;
        Ok(self.offset..end)
    }

    /// How the rows are read on a device.
    pub(super) fn read_on(&self, device: &Device) -> Result<Foreign> {
        let range = self.range()?;
        device.takes(&self.buffer)?;
        let align = u64::from(device.limits.min_storage_buffer_offset_alignment);
        let begin = range.start / align * align;
        let base = (range.start - begin) as usize / self.dtype.size();
        let most = device.limits.max_storage_buffer_binding_size.min(BINDING);
        let values = (base as u64).saturating_add((self.stride as u64).saturating_mul(self.n as u64));
        let sums = sums_fit(self.n, self.d, most);
        let fits = range.end - begin <= most && 4 * self.d as u64 <= most && values <= u64::from(u32::MAX) && sums;
        let (layout, whole) = if fits {
            need(&self.buffer, wgpu::BufferUsages::STORAGE, "rows")?;
            let bound = device.foreign(&self.buffer, begin, range.end - begin);
            (Layout::placed(self.n, self.d, self.stride, base), Some(Arc::new(bound)))
        } else {
            need(&self.buffer, wgpu::BufferUsages::COPY_SRC, "rows of more bytes than the device can bind at once")?;
            let bytes = self.stride * self.dtype.size();
            if !self.offset.is_multiple_of(4) || !bytes.is_multiple_of(4) && self.n > 1 {
                return Err(Error::Buffer(
                    "rows of more bytes than the device can bind at once must begin at multiples of 4".into(),
                ));
            }
            (Layout::new(device, self.n, self.d, self.dtype, UPLOADED)?, None)
        };
        Ok(Foreign { rows: self.clone(), layout, whole })
    }
}

/// Rows in a buffer of the caller's, as an engine reads them.
pub(crate) struct Foreign {
    rows: DeviceRows,
    pub(super) layout: Layout,
    /// All of them, where that can be bound.
    pub(super) whole: Option<Arc<Buffer>>,
}

impl Foreign {
    /// Cut where another matrix of our own is.
    pub(super) fn cut_as(self, other: Layout) -> Self {
        let layout = if self.whole.is_some() { self.layout.cut_as(other) } else { other };
        Self { layout, ..self }
    }

    pub(super) fn dtype(&self) -> Dtype {
        self.rows.dtype
    }

    /// A slab of our own with some rows of a chunk, copied on the device.
    pub(super) fn copied(&self, device: &Device, chunk: &Chunk, wanted: &[usize]) -> Buffer {
        let size = self.rows.dtype.size();
        let slab = device.buffer(Use::Storage, (self.rows.n * chunk.stride * size) as u64);
        let mut encoder = device.encoder();
        for &i in wanted {
            let from = self.rows.offset + ((i * self.rows.stride + chunk.first) * size) as u64;
            let bytes = ((chunk.columns * size) as u64).next_multiple_of(4);
            encoder.copy_buffer_to_buffer(&self.rows.buffer, from, &slab.buffer, (i * chunk.stride * size) as u64, bytes);
        }
        device.submit(encoder);
        slab
    }
}

/// d values of f32 in a [`wgpu::Buffer`] of the caller's, for a result. The buffer needs the usage `STORAGE` or `COPY_DST`; with
/// `STORAGE`, an offset that the device can bind and a buffer other than that of the rows, kernels write there without a copy.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceVector {
    buffer: wgpu::Buffer,
    offset: u64,
}

impl DeviceVector {
    /// From the beginning of the buffer.
    pub fn new(buffer: &wgpu::Buffer) -> Self {
        Self { buffer: buffer.clone(), offset: 0 }
    }

    /// From so many bytes on, a multiple of 4.
    #[must_use]
    pub fn offset(self, bytes: u64) -> Self {
        Self { offset: bytes, ..self }
    }

    /// The byte behind d values.
    fn end(&self, d: usize) -> Result<u64> {
        let Self { buffer, offset } = self;
        let end = (d as u64).checked_mul(4).and_then(|bytes| offset.checked_add(bytes));
        end.filter(|end| *end <= buffer.size() && offset.is_multiple_of(4)).ok_or_else(|| {
            Error::Buffer(format!(
                "a result of d = {d} values from byte {offset} does not fit {} bytes, in words of 4",
                buffer.size()
            ))
        })
    }

    /// Where d values are copied from.
    pub(super) fn read_on(&self, device: &Device, d: usize) -> Result<(&wgpu::Buffer, u64)> {
        self.end(d)?;
        device.takes(&self.buffer)?;
        need(&self.buffer, wgpu::BufferUsages::COPY_SRC, "values that are copied")?;
        Ok((&self.buffer, self.offset))
    }

    /// A target for d values that are made of these rows, if they stand in a buffer.
    pub(super) fn write_on(&self, device: &Arc<Device>, d: usize, rows: Option<&DeviceRows>) -> Result<Target> {
        let Self { buffer, offset } = self;
        let end = self.end(d)?;
        let same = rows.filter(|rows| rows.buffer == *buffer);
        if let Some(rows) = same {
            let read = rows.range()?;
            if *offset < read.end && read.start < end {
                return Err(Error::Buffer(format!("the result in bytes {offset}..{end} would overwrite rows in {read:?}")));
            }
        }
        device.takes(buffer)?;
        let bound = buffer.usage().contains(wgpu::BufferUsages::STORAGE)
            && offset.is_multiple_of(device.limits.min_storage_buffer_offset_alignment.into());
        let direct = bound && same.is_none();
        if !direct {
            need(buffer, wgpu::BufferUsages::COPY_DST, "a result that is copied there")?;
        }
        Ok(Target { device: device.clone(), buffer: buffer.clone(), offset: *offset, d, direct })
    }
}

fn need(buffer: &wgpu::Buffer, usage: wgpu::BufferUsages, what: &str) -> Result<()> {
    match buffer.usage().contains(usage) {
        true => Ok(()),
        false => Err(Error::Buffer(format!("{what} need a buffer with the usage {usage:?}, this one has {:?}", buffer.usage()))),
    }
}

/// Where a result goes that stays on the device.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    device: Arc<Device>,
    buffer: wgpu::Buffer,
    offset: u64,
    d: usize,
    /// Can kernels write there?
    direct: bool,
}

impl Target {
    /// What a kernel writes the values of some columns to.
    pub(super) fn part(&self, first: usize, columns: usize) -> Buffer {
        match self.direct {
            true => self.device.foreign(&self.buffer, self.offset + 4 * first as u64, 4 * columns as u64),
            false => self.device.buffer(Use::Storage, 4 * columns as u64),
        }
    }

    /// Brings there what a kernel wrote.
    pub(super) fn keep(&self, encoder: &mut wgpu::CommandEncoder, y: &Buffer, first: usize, columns: usize) {
        if !self.direct {
            encoder.copy_buffer_to_buffer(&y.buffer, 0, &self.buffer, self.offset + 4 * first as u64, 4 * columns as u64);
        }
    }
}

/// Where the result of a call on the GPU goes.
pub(crate) enum Sink<'a> {
    Host(&'a mut [f32]),
    Device(Target),
}

impl Output for Sink<'_> {
    fn len(&self) -> usize {
        match self {
            Sink::Host(out) => out.len(),
            Sink::Device(target) => target.d,
        }
    }

    fn spoil(&mut self) {
        match self {
            Sink::Host(out) => out.fill(f32::NAN),
            Sink::Device(target) => {
                let device = &target.device;
                let status = device.filled(Use::Storage, &[1u32]);
                for first in (0..target.d).step_by(BLOCK * BLOCK) {
                    let columns = (target.d - first).min(BLOCK * BLOCK);
                    let y = target.part(first, columns);
                    let chunk = Chunk { index: 0, first, columns, stride: columns, base: 0 };
                    let params = device.filled(Use::Uniform, &[Params::new(&chunk, 0)]);
                    let mut encoder = device.encoder();
                    let count = columns.div_ceil(Kernel::Spoil.columns(device.room));
                    device
                        .bind(Kernel::Spoil, Dtype::F32, &[(2, &params), (3, &y), (4, &status)])
                        .dispatch(&mut encoder, groups(count));
                    target.keep(&mut encoder, &y, first, columns);
                    device.submit(encoder);
                }
                device.flush();
            }
        }
    }
}
