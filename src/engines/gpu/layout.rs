//! How a matrix is cut into slabs of columns, from the limits of a device and a budget.

use super::device::Device;
use super::shader::BLOCK;
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// Bytes of a slab where limits allow it, of a matrix that is uploaded slab by slab: enough to fill a GPU, small enough to overlap with the
/// upload of the next.
pub(super) const UPLOADED: u64 = 64 << 20;

/// The same of a matrix that is on the device: kernels over smaller ones would take no longer than what lies between them. A GPU that reads
/// 5 TB/s is done with this many in 50 microseconds.
pub(super) const RESIDENT: u64 = 256 << 20;

/// Largest binding that wgpu accepts, whatever an adapter says.
pub(super) const BINDING: u64 = (1 << 31) - 4;

/// How a matrix is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) n: usize,
    pub(crate) d: usize,
    /// Columns of a slab but the last; a multiple of [`BLOCK`], so that blocks do not depend on it.
    width: usize,
    /// Where the rows stand in a buffer that was not made for them.
    place: Option<Place>,
}

/// Where the rows stand in a buffer that was not made for them, in values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    stride: usize,
    base: usize,
}

/// Some consecutive columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Position among the slabs.
    pub(crate) index: usize,
    /// First column.
    pub(crate) first: usize,
    /// Number of columns.
    pub(crate) columns: usize,
    /// Values from one row of the slab to the next. In buffers of our own whole vectors of four words, of halves as well.
    pub(crate) stride: usize,
    /// Values before the first one.
    pub(crate) base: usize,
}

/// Bytes of the sums of a block that inner products of n rows take: two frames of those of all pairs, two virtual rows among them.
fn sums_bytes(n: usize) -> u64 {
    (2 * 4 * (n + 2) * (n + 3) / 2) as u64
}

/// Bytes of a block of n rows, or what of a budget and of a binding it takes if that is more: a result is as much as a few rows of halves, and
/// sums of blocks have as much room as a result.
fn block_bytes(n: usize, dtype: Dtype) -> u64 {
    ((dtype.size() * n).max(8) as u64 * BLOCK as u64).max(2 * sums_bytes(n))
}

/// Can a device bind the sums of as many blocks as these columns of n rows have?
pub(super) fn sums_fit(n: usize, columns: usize, most: u64) -> bool {
    sums_bytes(n).saturating_mul(columns.div_ceil(BLOCK) as u64) <= most
}

fn stride(columns: usize) -> usize {
    columns.next_multiple_of(8)
}

impl Chunk {
    pub(crate) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Values from one row to the next in a buffer of our own.
    pub(crate) fn own_stride(&self) -> usize {
        stride(self.columns)
    }
}

impl Layout {
    fn of_bytes(device: &Device, n: usize, d: usize, dtype: Dtype, bytes: u64) -> Option<Self> {
        let limits = &device.limits;
        let most = (limits.max_storage_buffer_binding_size).min(limits.max_buffer_size).min(BINDING);
        let width = (bytes.min(most) / block_bytes(n, dtype)) as usize * BLOCK;
        (width > 0).then_some(Self { n, d, width, place: None })
    }

    /// Slabs of some bytes, [`UPLOADED`] or [`RESIDENT`], for a matrix that is to stay on the device.
    pub(crate) fn new(device: &Device, n: usize, d: usize, dtype: Dtype, bytes: u64) -> Result<Self> {
        Self::of_bytes(device, n, d, dtype, bytes.max(block_bytes(n, dtype))).ok_or_else(|| {
            Error::parameter("gpu", "n", n, format_args!("small enough that {BLOCK} columns fit a binding of {}", device.info.name))
        })
    }

    /// Slabs for a matrix that streams through a budget: two in flight, each with its staging copy, results and read-back.
    pub(crate) fn within(device: &Device, n: usize, d: usize, dtype: Dtype, budget: u64) -> Result<Self> {
        let least = 6 * block_bytes(n, dtype);
        Self::of_bytes(device, n, d, dtype, UPLOADED.min(budget / 6))
            .ok_or_else(|| Error::parameter("gpu", "memory_budget", budget, format_args!("at least {least} bytes for {n} rows")))
    }

    /// Rows that stand where they are in a buffer, as one slab until they are [cut](Layout::cut_as).
    pub(crate) fn placed(n: usize, d: usize, stride: usize, base: usize) -> Self {
        Self { n, d, width: d.max(1), place: Some(Place { stride, base }) }
    }

    /// The same rows, cut where another matrix of as many columns is.
    pub(crate) fn cut_as(self, other: Self) -> Self {
        Self { width: other.width, ..self }
    }

    pub(crate) fn slab_bytes(&self, dtype: Dtype) -> u64 {
        (dtype.size() * self.n * self.width.min(stride(self.d))) as u64
    }

    pub(crate) fn chunks(self) -> impl ExactSizeIterator<Item = Chunk> {
        (0..self.d.div_ceil(self.width)).map(move |index| {
            let first = index * self.width;
            let columns = self.width.min(self.d - first);
            let (stride, base) = match self.place {
                Some(Place { stride, base }) => (stride, base + first),
                None => (stride(columns), 0),
            };
            Chunk { index, first, columns, stride, base }
        })
    }
}
