//! The matrix a caller hands over: n rows of d coordinates, borrowed, never copied on the host.

use crate::dtype::{Dtype, Element, Values};
use crate::error::{Error, Result};
use crate::pieces::Pieces;
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
///
/// A row may lie in several slices, one a layer: [`Rows::from_layers`].
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// The layers of the first row, then those of the next: at least one a row, all of one type. A row in one slice is one layer.
    layers: Vec<Values<'a>>,
    /// For each layer of a row the column behind its last one.
    ends: Vec<usize>,
}

impl<'a> Rows<'a> {
    /// One row-major slice of n × d values.
    ///
    /// # Errors
    /// [`Error::NoWorkers`] for n = 0, [`Error::Shape`] when the slice does not hold n × d values, [`Error::Parameter`] when so many rows
    /// have no room, though they hold nothing.
    pub fn from_slice<T: Element>(data: &'a [T], n: usize, d: usize) -> Result<Self> {
        if n == 0 {
            return Err(Error::NoWorkers);
        }
        if n.checked_mul(d) != Some(data.len()) {
            return Err(Error::Shape { got: data.len(), n, d });
        }
        let mut layers = Vec::new();
        layers.try_reserve_exact(n).map_err(|_| Error::no_room(n, d))?;
        layers.extend((0..n).map(|i| Values::from(&data[i * d..(i + 1) * d])));
        Ok(Self { layers, ends: vec![d] })
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

    /// n lists of slices, one list for each worker: the layers of a model, as federated learning sends them. A row is what its slices are one
    /// behind the other; nothing is copied, and results are those of the rows in one slice each, bit for bit. [`Rows::split`] takes
    /// a result apart again. Layers may be empty.
    ///
    /// ```
    /// use resam::{Engine, Rows, rules::TrimmedMean};
    /// let worker = |x: f32| vec![vec![x, 10.0 * x], vec![], vec![-x]]; // three layers
    /// let workers = [worker(1.0), worker(2.0), worker(1e30)];
    /// let rows = Rows::from_layers(&workers)?;
    /// assert_eq!((rows.n(), rows.d()), (3, 3));
    ///
    /// let mean = Engine::cpu().aggregate_blocking(&TrimmedMean, &rows, 1)?;
    /// assert_eq!(rows.split(&mean.values)?, [&[2.0, 20.0][..], &[], &[-2.0]]);
    /// # Ok::<(), resam::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoWorkers`] without workers, [`Error::NoLayers`] without layers; [`Error::Layers`] and [`Error::Layer`] name the first
    /// worker that has not as many layers as the first one, or the first layer that is not as long.
    pub fn from_layers<T, L, W>(workers: impl IntoIterator<Item = W>) -> Result<Self>
    where
        T: Element,
        L: AsRef<[T]> + ?Sized + 'a,
        W: IntoIterator<Item = &'a L>,
    {
        let workers = workers.into_iter().map(|layers| layers.into_iter().map(|layer| Values::from(layer.as_ref())));
        Self::of_layers(workers)
    }

    /// Rows of layers that are known to be of one type.
    pub(crate) fn of_layers(workers: impl Iterator<Item = impl Iterator<Item = Values<'a>>>) -> Result<Self> {
        let (mut layers, mut ends): (Vec<Values>, Vec<usize>) = (Vec::new(), Vec::new());
        for (worker, of_worker) in workers.enumerate() {
            let before = layers.len();
            layers.extend(of_worker);
            let of_worker = &layers[before..];
            if worker == 0 {
                let end = |end: &mut usize, layer: &Values| {
                    *end += layer.len();
                    Some(*end)
                };
                ends.extend(of_worker.iter().scan(0, end));
            }
            if of_worker.len() != ends.len() {
                return Err(Error::Layers { worker, got: of_worker.len(), expected: ends.len() });
            }
            let unlike = of_worker.iter().zip(&layers).position(|(layer, first)| layer.len() != first.len());
            if let Some(layer) = unlike {
                let [got, expected] = [of_worker, &layers].map(|layers| layers[layer].len());
                return Err(Error::Layer { worker, layer, got, expected });
            }
            if ends.is_empty() {
                return Err(Error::NoLayers);
            }
        }
        if layers.is_empty() { Err(Error::NoWorkers) } else { Ok(Self { layers, ends }) }
    }

    /// Each layer as rows of its own, to be aggregated by itself: [`Engine::aggregate_layers`](crate::Engine::aggregate_layers).
    pub fn layers(&self) -> impl ExactSizeIterator<Item = Rows<'a>> + '_ {
        let layer = |k: usize| {
            let layers: Vec<Values> = self.layers.iter().skip(k).step_by(self.ends.len()).copied().collect();
            let ends = vec![layers[0].len()];
            Rows { layers, ends }
        };
        (0..self.ends.len()).map(layer)
    }

    /// Cuts d values, such as an aggregate, into the layers of these rows: one slice where the rows lie in one.
    ///
    /// # Errors
    /// [`Error::OutputLength`] for another number of values.
    pub fn split<'v, T>(&self, values: &'v [T]) -> Result<Vec<&'v [T]>> {
        if values.len() != self.d() {
            return Err(Error::OutputLength { got: values.len(), expected: self.d() });
        }
        let starts = [0].iter().chain(&self.ends);
        Ok(starts.zip(&self.ends).map(|(&start, &end)| &values[start..end]).collect())
    }

    /// Rows of d coordinates that are known to stand in these [words](Values::words).
    pub(crate) fn of_words(rows: &'a [Vec<u32>], d: usize, dtype: Dtype) -> Self {
        let layers = rows.iter().map(|words| dtype.of_words(words, d)).collect();
        Self { layers, ends: vec![d] }
    }

    pub(crate) fn collect<T: Element>(rows: impl Iterator<Item = &'a [T]>) -> Result<Self> {
        let layers: Vec<Values> = rows.map(Values::from).collect();
        let d = layers.first().ok_or(Error::NoWorkers)?.len();
        match layers.iter().position(|row| row.len() != d) {
            Some(row) => Err(Error::Ragged { row, got: layers[row].len(), expected: d }),
            None => Ok(Self { layers, ends: vec![d] }),
        }
    }

    /// Rows of d coordinates, all of one type, each in one slice or in pieces.
    pub(crate) fn of_values(rows: Vec<Values<'a>>, d: usize) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == d && row.dtype() == rows[0].dtype()));
        Self { layers: rows, ends: vec![d] }
    }

    /// Some columns of these rows.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Self {
        let starts = [0].iter().chain(&self.ends);
        let part =
            |(start, end): (&usize, &usize)| columns.start.clamp(*start, *end) - start..columns.end.clamp(*start, *end) - start;
        let mut parts: Vec<(usize, Range<usize>)> = starts.zip(&self.ends).map(part).enumerate().collect();
        parts.retain(|(layer, part)| *layer == 0 || !part.is_empty());
        let ends = parts.iter().scan(0, |end, (_, part)| {
            *end += part.len();
            Some(*end)
        });
        let ends = ends.collect();
        let of_row = |i: usize| parts.iter().map(move |(layer, part)| self.layers_of(i)[*layer].slice(part.clone()));
        Self { layers: (0..self.n()).flat_map(of_row).collect(), ends }
    }

    /// These rows, and the first one again until there are n.
    #[cfg(feature = "train")]
    pub(crate) fn padded(&self, n: usize) -> Self {
        let rows = self.layers.chunks(self.ends.len());
        let rows = rows.chain(std::iter::repeat(&self.layers[..self.ends.len()])).take(n.max(self.n()));
        Self { layers: rows.flatten().copied().collect(), ends: self.ends.clone() }
    }

    /// Number of rows (workers).
    pub fn n(&self) -> usize {
        self.layers.len() / self.ends.len()
    }

    /// Number of columns (coordinates).
    pub fn d(&self) -> usize {
        self.ends[self.ends.len() - 1]
    }

    /// Type of the values.
    pub fn dtype(&self) -> Dtype {
        self.layers[0].dtype()
    }

    /// Row i; halves are widened, and layers gathered, into a copy.
    ///
    /// # Panics
    /// When i ≥ n, like slice indexing.
    pub fn row(&self, i: usize) -> Cow<'a, [f32]> {
        match self.layers_of(i) {
            [layer] => layer.widened(),
            _ => Cow::Owned(self.values(i).widened().into_owned()),
        }
    }

    /// All rows in order, as [`Rows::row`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cow<'a, [f32]>> + '_ {
        (0..self.n()).map(|i| self.row(i))
    }

    /// Row i, as it is.
    pub(crate) fn values(&self, i: usize) -> Values<'_> {
        match self.layers_of(i) {
            [layer] => *layer,
            layers => Values::Pieces(Pieces::new(layers, &self.ends)),
        }
    }

    /// The bits of all layers of all rows, in order.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.layers.iter().filter_map(|layer| layer.bytes())
    }

    fn layers_of(&self, i: usize) -> &[Values<'a>] {
        &self.layers[i * self.ends.len()..][..self.ends.len()]
    }
}
