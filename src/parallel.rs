//! Work on the products of n rows, shared out to all threads of the pool it runs in where there are many rows. Outside of any pool the
//! caller's thread does it: to wait for the global one there could be for ever.

use rayon::prelude::*;

/// Rows that one thread takes: to share fewer takes longer.
pub(crate) const ALONE: usize = 64;

/// The least share of a thread: this, or all outside of a pool.
pub(crate) fn least(share: usize) -> usize {
    if rayon::current_thread_index().is_some() { share } else { usize::MAX }
}

/// Something of each of n rows.
pub(crate) fn of_rows<T: Send>(n: usize, of: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    (0..n).into_par_iter().with_min_len(least(ALONE)).map(of).collect()
}

/// Something of each group of `side` rows, by its first one: more work than that of single rows.
pub(crate) fn of_groups<T: Send>(n: usize, side: usize, of: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    (0..n).into_par_iter().step_by(side).with_min_len(least(ALONE / 2 / side)).map(of).collect()
}

/// Fills rows of a table, each of `width` values.
pub(crate) fn fill_rows(table: &mut [f64], width: usize, fill: impl Fn(usize, &mut [f64]) + Sync + Send) {
    let rows = table.par_chunks_mut(width.max(1)).with_min_len(least(ALONE)).enumerate();
    rows.for_each(|(i, row)| fill(i, row));
}
