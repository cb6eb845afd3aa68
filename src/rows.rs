//! The matrix a caller hands over: n rows of d coordinates, borrowed, never copied on the host.

use crate::error::{Error, Result};

/// n rows (workers) of d coordinates each, borrowed from the caller.
///
/// ```
/// let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let rows = resam::Rows::from_slice(&data, 3, 2).unwrap();
/// assert_eq!((rows.n(), rows.d()), (3, 2));
/// assert_eq!(rows.row(1), &[3.0, 4.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    rows: Vec<&'a [f32]>,
    d: usize,
}

impl<'a> Rows<'a> {
    /// One row-major slice of n × d values.
    ///
    /// # Errors
    /// [`Error::NoWorkers`] for n = 0, [`Error::Shape`] when the slice does not hold n × d values.
    pub fn from_slice(data: &'a [f32], n: usize, d: usize) -> Result<Self> {
        if n == 0 {
            return Err(Error::NoWorkers);
        }
        if n.checked_mul(d) != Some(data.len()) {
            return Err(Error::Shape { got: data.len(), n, d });
        }
        Ok(Self { rows: (0..n).map(|i| &data[i * d..(i + 1) * d]).collect(), d })
    }

    /// n separate slices, one for each worker.
    ///
    /// # Errors
    /// [`Error::NoWorkers`] without rows, [`Error::Ragged`] when they differ in length.
    pub fn from_rows<R: AsRef<[f32]> + ?Sized>(rows: &'a [&'a R]) -> Result<Self> {
        Self::collect(rows.iter().map(|r| (*r).as_ref()))
    }

    /// n separate vectors, one for each worker.
    ///
    /// # Errors
    /// As [`Rows::from_rows`].
    pub fn from_vecs(rows: &'a [Vec<f32>]) -> Result<Self> {
        Self::collect(rows.iter().map(Vec::as_slice))
    }

    /// Rows that are known to have d coordinates each.
    pub(crate) fn of_vecs(rows: &'a [Vec<f32>], d: usize) -> Self {
        Self { rows: rows.iter().map(Vec::as_slice).collect(), d }
    }

    fn collect(rows: impl Iterator<Item = &'a [f32]>) -> Result<Self> {
        let rows: Vec<&[f32]> = rows.collect();
        let d = rows.first().ok_or(Error::NoWorkers)?.len();
        match rows.iter().position(|r| r.len() != d) {
            Some(row) => Err(Error::Ragged { row, got: rows[row].len(), expected: d }),
            None => Ok(Self { rows, d }),
        }
    }

    /// Number of rows (workers).
    pub fn n(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns (coordinates).
    pub fn d(&self) -> usize {
        self.d
    }

    /// Row i.
    ///
    /// # Panics
    /// When i ≥ n, like slice indexing.
    pub fn row(&self, i: usize) -> &'a [f32] {
        self.rows[i]
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + '_ {
        self.rows.iter().copied()
    }
}
