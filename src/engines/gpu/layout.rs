//! How a matrix is cut into slabs of columns, from the limits of a device and a budget.

use super::device::Device;
use super::shader::BLOCK;
use crate::error::{Error, Result};

/// Bytes of a slab where limits allow it: enough to fill a GPU, small enough to overlap with the upload of the next.
const SLAB: u64 = 64 << 20;

/// Largest binding that wgpu accepts, whatever an adapter says.
const BINDING: u64 = (1 << 31) - 4;

/// How a matrix is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) n: usize,
    pub(crate) d: usize,
    /// Columns of a slab but the last; a multiple of [`BLOCK`], so that blocks do not depend on it.
    width: usize,
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
}

impl Chunk {
    /// Values from one row of the slab to the next.
    pub(crate) fn stride(&self) -> usize {
        self.columns.next_multiple_of(4)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }
}

impl Layout {
    fn of_bytes(device: &Device, n: usize, d: usize, bytes: u64) -> Option<Self> {
        let limits = &device.limits;
        let most = (limits.max_storage_buffer_binding_size).min(limits.max_buffer_size).min(BINDING);
        let columns = bytes.min(most) / (4 * n.max(1) as u64);
        let width = (columns / BLOCK as u64 * BLOCK as u64) as usize;
        (width > 0).then_some(Self { n, d, width })
    }

    /// Slabs for a matrix that is to stay on the device.
    pub(crate) fn new(device: &Device, n: usize, d: usize) -> Result<Self> {
        let least = 4 * (n * BLOCK) as u64;
        Self::of_bytes(device, n, d, SLAB.max(least)).ok_or_else(|| {
            Error::parameter("gpu", "n", n, format_args!("small enough that {BLOCK} columns fit a binding of {}", device.info.name))
        })
    }

    /// Slabs for a matrix that streams through a budget: two in flight, each with its staging copy, results and read-back.
    pub(crate) fn within(device: &Device, n: usize, d: usize, budget: u64) -> Result<Self> {
        let least = 6 * 4 * (n * BLOCK) as u64;
        Self::of_bytes(device, n, d, SLAB.min(budget / 6))
            .ok_or_else(|| Error::parameter("gpu", "memory_budget", budget, format_args!("at least {least} bytes for {n} rows")))
    }

    pub(crate) fn slab_bytes(&self) -> u64 {
        4 * self.n as u64 * self.width.min(self.d.next_multiple_of(4)) as u64
    }

    pub(crate) fn chunks(self) -> impl ExactSizeIterator<Item = Chunk> {
        (0..self.d.div_ceil(self.width)).map(move |index| {
            let first = index * self.width;
            Chunk { index, first, columns: self.width.min(self.d - first) }
        })
    }
}
