//! The matrix a caller hands over: n rows of d coordinates, borrowed, never copied on the host.

use crate::dtype::{Dtype, Element, Values};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::ops::Range;

/// n rows (workers) of d coordinates each, borrowed from the caller: of f32, [`f16`](crate::f16) or [`bf16`](crate::bf16). Halves are read,
/// uploaded and kept on a device as they are, in half the bytes, and widened to f32 where they are loaded: results are those of the same
/// values in f32, bit for bit.
///
/// ```
/// let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let rows = resam::Rows::from_slice(&data, 3, 2).unwrap();
/// assert_eq!((rows.n(), rows.d()), (3, 2));
/// assert_eq!(*rows.row(1), [3.0, 4.0]);
///
/// let halves = data.map(resam::f16::from_f32);
/// let rows = resam::Rows::from_slice(&halves, 3, 2).unwrap();
/// assert_eq!(rows.dtype(), resam::Dtype::F16);
/// assert_eq!(*rows.row(1), [3.0, 4.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// At least one, all of one type.
    rows: Vec<Values<'a>>,
    d: usize,
}

impl<'a> Rows<'a> {
    /// One row-major slice of n × d values.
    ///
    /// # Errors
    /// [`Error::NoWorkers`] for n = 0, [`Error::Shape`] when the slice does not hold n × d values.
    pub fn from_slice<T: Element>(data: &'a [T], n: usize, d: usize) -> Result<Self> {
        if n == 0 {
            return Err(Error::NoWorkers);
        }
        if n.checked_mul(d) != Some(data.len()) {
            return Err(Error::Shape { got: data.len(), n, d });
        }
        Ok(Self { rows: (0..n).map(|i| Values::from(&data[i * d..(i + 1) * d])).collect(), d })
    }

    /// n separate slices, one for each worker.
    ///
    /// # Errors
    /// [`Error::NoWorkers`] without rows, [`Error::Ragged`] when they differ in length.
    pub fn from_rows<T: Element, R: AsRef<[T]> + ?Sized>(rows: &'a [&'a R]) -> Result<Self> {
        Self::collect(rows.iter().map(|r| (*r).as_ref()))
    }

    /// n separate vectors, one for each worker.
    ///
    /// # Errors
    /// As [`Rows::from_rows`].
    pub fn from_vecs<T: Element>(rows: &'a [Vec<T>]) -> Result<Self> {
        Self::collect(rows.iter().map(Vec::as_slice))
    }

    /// Rows of d coordinates that are known to stand in these [words](Values::words).
    pub(crate) fn of_words(rows: &'a [Vec<u32>], d: usize, dtype: Dtype) -> Self {
        Self { rows: rows.iter().map(|words| dtype.of_words(words, d)).collect(), d }
    }

    fn collect<T: Element>(rows: impl Iterator<Item = &'a [T]>) -> Result<Self> {
        let rows: Vec<Values> = rows.map(Values::from).collect();
        let d = rows.first().ok_or(Error::NoWorkers)?.len();
        match rows.iter().position(|r| r.len() != d) {
            Some(row) => Err(Error::Ragged { row, got: rows[row].len(), expected: d }),
            None => Ok(Self { rows, d }),
        }
    }

    /// Rows of d coordinates, all of one type.
    pub(crate) fn of_values(rows: Vec<Values<'a>>, d: usize) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == d && row.dtype() == rows[0].dtype()));
        Self { rows, d }
    }

    /// Some columns of these rows.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Self {
        Self { rows: self.rows.iter().map(|row| row.slice(columns.clone())).collect(), d: columns.len() }
    }

    /// These rows, and the first one again until there are n.
    #[cfg(feature = "train")]
    pub(crate) fn padded(&self, n: usize) -> Self {
        let rows = self.rows.iter().chain(std::iter::repeat(&self.rows[0])).take(n.max(self.n()));
        Self { rows: rows.copied().collect(), d: self.d }
    }

    /// Number of rows (workers).
    pub fn n(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns (coordinates).
    pub fn d(&self) -> usize {
        self.d
    }

    /// Type of the values.
    pub fn dtype(&self) -> Dtype {
        self.rows[0].dtype()
    }

    /// Row i; halves are widened into a copy.
    ///
    /// # Panics
    /// When i ≥ n, like slice indexing.
    pub fn row(&self, i: usize) -> Cow<'a, [f32]> {
        self.rows[i].widened()
    }

    /// All rows in order, as [`Rows::row`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cow<'a, [f32]>> + '_ {
        self.rows.iter().map(|row| row.widened())
    }

    /// All rows in order, as they are.
    pub(crate) fn values(&self) -> &[Values<'a>] {
        &self.rows
    }
}
