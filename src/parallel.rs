//! Work on the products of n rows, shared out to all threads where there are many rows.

use rayon::prelude::*;

/// Rows that one thread takes: to share fewer takes longer.
pub(crate) const ALONE: usize = 64;

/// Something of each of n rows.
pub(crate) fn of_rows<T: Send>(n: usize, of: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    (0..n).into_par_iter().with_min_len(ALONE).map(of).collect()
}

/// Something of each group of `side` rows, by its first one: more work than that of single rows.
pub(crate) fn of_groups<T: Send>(n: usize, side: usize, of: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    (0..n).into_par_iter().step_by(side).with_min_len(ALONE / 2 / side).map(of).collect()
}

/// Fills rows of a table, each of `width` values.
pub(crate) fn fill_rows(table: &mut [f64], width: usize, fill: impl Fn(usize, &mut [f64]) + Sync + Send) {
    let rows = table.par_chunks_mut(width.max(1)).with_min_len(ALONE).enumerate();
    rows.for_each(|(i, row)| fill(i, row));
}
