//! n × d values kept where an engine reads them fastest.

use crate::dtype::Dtype;
#[cfg(feature = "gpu")]
use crate::engines::gpu::DeviceRows;
use crate::error::{Error, Result};
use crate::rows::Rows;

/// Room in host memory for n × d values, all of this one.
///
/// # Errors
/// [`Error::Parameter`] when there is none.
pub(crate) fn room<T: Copy>(n: usize, d: usize, value: T) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(n.saturating_mul(d)).map_err(|_| Error::no_room(n, d))?;
    values.resize(n * d, value);
    Ok(values)
}

/// n rows of d coordinates held by an engine: on the GPU for the GPU engine, in host memory for the others. An aggregate of
/// it uploads nothing. Halves stay halves. Made by [`Engine::load`](crate::Engine::load).
#[derive(Debug)]
pub struct Matrix {
    pub(crate) store: Store,
}

#[derive(Debug)]
pub(crate) enum Store {
    /// Rows in words of 32 bits, halves two to a word.
    Host { rows: Vec<Vec<u32>>, d: usize, dtype: Dtype },
    #[cfg(feature = "gpu")]
    Gpu(crate::engines::gpu::Resident),
    /// The columns of each of several engines.
    Shards(Vec<Matrix>),
}

impl Matrix {
    pub(crate) fn host(rows: &Rows) -> Self {
        let words = (0..rows.n()).map(|i| rows.values(i).words()).collect();
        Self { store: Store::Host { rows: words, d: rows.d(), dtype: rows.dtype() } }
    }

    /// Number of rows (workers).
    pub fn n(&self) -> usize {
        match &self.store {
            Store::Host { rows, .. } => rows.len(),
            #[cfg(feature = "gpu")]
            Store::Gpu(resident) => resident.n(),
            Store::Shards(parts) => parts[0].n(),
        }
    }

    /// Number of columns (coordinates).
    pub fn d(&self) -> usize {
        match &self.store {
            Store::Host { d, .. } => *d,
            #[cfg(feature = "gpu")]
            Store::Gpu(resident) => resident.d(),
            Store::Shards(parts) => parts.iter().map(Matrix::d).sum(),
        }
    }

    /// Sets a row to zero.
    pub(crate) fn zero(&mut self, row: usize) -> Result<()> {
        match &mut self.store {
            Store::Host { rows, .. } => rows[row].fill(0),
            #[cfg(feature = "gpu")]
            Store::Gpu(resident) => resident.zero(row)?,
            Store::Shards(parts) => parts.iter_mut().try_for_each(|part| part.zero(row))?,
        }
        Ok(())
    }

    /// New rows from old ones by index, each of which is used once at most; `None` is a row of zeros.
    pub(crate) fn rearrange(&mut self, order: &[Option<usize>]) -> Result<()> {
        match &mut self.store {
            Store::Host { rows, .. } => {
                let words = rows[0].len();
                *rows = order.iter().map(|from| from.map_or_else(|| vec![0; words], |i| std::mem::take(&mut rows[i]))).collect();
            }
            #[cfg(feature = "gpu")]
            Store::Gpu(resident) => resident.rearrange(order)?,
            Store::Shards(parts) => parts.iter_mut().try_for_each(|part| part.rearrange(order))?,
        }
        Ok(())
    }

    /// Refuses more rows than an engine takes.
    #[cfg_attr(not(feature = "gpu"), expect(clippy::only_used_in_recursion, reason = "host memory takes any number"))]
    pub(crate) fn takes(&self, n: usize) -> Result<()> {
        match &self.store {
            Store::Host { .. } => Ok(()),
            #[cfg(feature = "gpu")]
            Store::Gpu(_) => crate::engines::gpu::takes(n),
            Store::Shards(parts) => parts.iter().try_for_each(|part| part.takes(n)),
        }
    }

    /// Do all parts have as many rows?
    pub(crate) fn is_even(&self) -> bool {
        match &self.store {
            Store::Shards(parts) => parts.iter().all(|part| part.n() == self.n()),
            _ => true,
        }
    }

    /// A copy of the values as f32, row after row.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is lost.
    pub async fn read(&self) -> Result<Vec<f32>> {
        match &self.store {
            Store::Host { rows, d, dtype } => Ok(Rows::of_words(rows, *d, *dtype).iter().collect::<Vec<_>>().concat()),
            #[cfg(feature = "gpu")]
            Store::Gpu(resident) => resident.read().await,
            Store::Shards(parts) => {
                let parts = parts.iter().map(|part| Ok((part.d(), part.read_blocking()?))).collect::<Result<Vec<_>>>()?;
                let row = |i: usize| parts.iter().flat_map(move |(d, values)| &values[i * d..(i + 1) * d]);
                Ok((0..self.n()).flat_map(row).copied().collect())
            }
        }
    }

    /// [`Matrix::read`], waiting for it.
    ///
    /// # Errors
    /// As [`Matrix::read`].
    pub fn read_blocking(&self) -> Result<Vec<f32>> {
        pollster::block_on(self.read())
    }
}

/// What an engine can aggregate: rows borrowed from the caller, or a [`Matrix`] it holds already.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Rows in host memory.
    Rows(&'a Rows<'a>),
    /// Rows the engine holds.
    Matrix(&'a Matrix),
    /// Rows in a buffer of the caller's on the engine's device.
    #[cfg(feature = "gpu")]
    Device(&'a DeviceRows),
}

#[cfg(feature = "gpu")]
impl<'a> From<&'a DeviceRows> for Input<'a> {
    fn from(rows: &'a DeviceRows) -> Self {
        Input::Device(rows)
    }
}

impl<'a> From<&'a Rows<'a>> for Input<'a> {
    fn from(rows: &'a Rows<'a>) -> Self {
        Input::Rows(rows)
    }
}

impl<'a> From<&'a Matrix> for Input<'a> {
    fn from(matrix: &'a Matrix) -> Self {
        Input::Matrix(matrix)
    }
}

impl Input<'_> {
    pub(crate) fn n(&self) -> usize {
        match self {
            Input::Rows(rows) => rows.n(),
            Input::Matrix(matrix) => matrix.n(),
            #[cfg(feature = "gpu")]
            Input::Device(rows) => rows.n(),
        }
    }

    pub(crate) fn d(&self) -> usize {
        match self {
            Input::Rows(rows) => rows.d(),
            Input::Matrix(matrix) => matrix.d(),
            #[cfg(feature = "gpu")]
            Input::Device(rows) => rows.d(),
        }
    }
}
