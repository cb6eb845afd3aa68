//! Views of `ndarray` as rows, and results as its arrays.

use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::report::Aggregate;
use crate::rows::Rows;
use ndarray::{Array1, ArrayView2, Axis};

impl<'a> Rows<'a> {
    /// The rows of a view of an `ndarray` of n × d, not copied. Rows may lie anywhere (`slice`d, reversed, repeated), each in one piece.
    ///
    /// ```
    /// use ndarray::{arr1, arr2, s};
    /// use resam::{Engine, Rows, rules::TrimmedMean};
    /// let momentums = arr2(&[[1.0, 10.0], [2.0, 20.0], [3.0, f32::NAN]]);
    /// let mean = Engine::cpu().aggregate_blocking(&TrimmedMean, &Rows::from_array(momentums.view())?, 1)?;
    /// assert_eq!(mean.into_array(), arr1(&[2.0, 20.0]));
    ///
    /// // Columns of a wider array are rows in one piece each; a transposed array is not.
    /// assert_eq!(*Rows::from_array(momentums.slice(s![.., 1..]))?.row(1), [20.0]);
    /// assert!(Rows::from_array(momentums.t()).is_err());
    /// # Ok::<(), resam::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoWorkers`] for n = 0; [`Error::Strides`] when the values of a row do not lie side by side, as in a transposed array:
    /// `as_standard_layout` makes a copy in which they do.
    pub fn from_array<T: Element>(view: ArrayView2<'a, T>) -> Result<Self> {
        let row = |i| view.index_axis_move(Axis(0), i).to_slice();
        let rows: Option<Vec<&'a [T]>> = (0..view.nrows()).map(row).collect();
        let rows = rows.ok_or_else(|| Error::Strides { strides: view.strides().to_vec() })?;
        Self::collect(rows.into_iter())
    }
}

impl Aggregate {
    /// The values as an array of one dimension, not copied.
    pub fn into_array(self) -> Array1<f32> {
        self.values.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bf16, f16};
    use ndarray::{Array2, s};

    fn array<T: Element>(value: fn(f32) -> T) -> Array2<T> {
        Array2::from_shape_fn((4, 6), |(i, k)| value((10 * i + k) as f32))
    }

    /// Each row of the view as `indexing` sees it, at the address where it lies.
    fn borrows<T: Element + Into<f32>>(view: ArrayView2<T>) {
        let rows = Rows::from_array(view).unwrap();
        assert_eq!((rows.n(), rows.d()), view.dim());
        for i in 0..rows.n() {
            assert!(rows.row(i).iter().copied().eq(view.row(i).iter().map(|v| (*v).into())));
            let address = rows.values(i).bytes().unwrap().as_ptr();
            assert!(rows.d() == 0 || address == view.row(i).as_ptr().cast());
        }
    }

    #[test]
    fn rows_are_borrowed() {
        for view in [s![.., ..], s![1..3, 2..5], s![..;2, ..], s![..;-1, 1..], s![.., 3..4], s![2..3, ..], s![.., 0..0]] {
            borrows(array(|x| x).slice(view));
            borrows(array(f16::from_f32).slice(view));
            borrows(array(bf16::from_f32).slice(view));
        }
        borrows(array(|x| x).row(2).broadcast((3, 6)).unwrap());
    }

    #[test]
    fn other_strides_are_refused() {
        let array = array(|x| x);
        let error = |view: ArrayView2<f32>| Rows::from_array(view).map(|rows| rows.n()).unwrap_err();
        assert_eq!(error(array.t()), Error::Strides { strides: vec![1, 6] });
        assert_eq!(error(array.slice(s![.., ..;2])), Error::Strides { strides: vec![6, 2] });
        assert_eq!(error(array.slice(s![.., ..;-1])), Error::Strides { strides: vec![6, -1] });
        assert_eq!(error(array.slice(s![0..0, ..])), Error::NoWorkers);
        assert!(Rows::from_array(array.t().as_standard_layout().view()).is_ok());
    }
}
