//! n × d values kept where an engine reads them fastest.

use crate::dtype::Dtype;
use crate::error::Result;
use crate::rows::Rows;

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
        }
    }

    /// Number of columns (coordinates).
    pub fn d(&self) -> usize {
        match &self.store {
            Store::Host { d, .. } => *d,
            #[cfg(feature = "gpu")]
            Store::Gpu(resident) => resident.d(),
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
    pub(crate) fn d(&self) -> usize {
        match self {
            Input::Rows(rows) => rows.d(),
            Input::Matrix(matrix) => matrix.d(),
        }
    }
}
