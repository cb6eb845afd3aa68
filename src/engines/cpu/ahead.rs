//! Rows are asked for while those before them are computed with: a processor reads few streams ahead by itself, and each only to the
//! end of its page.

use prefetch_index::prefetch_index;
use std::ops::Range;

/// Values in a cache line.
pub(super) const LINE: usize = 16;

/// The lines of some columns of all rows, row after row, that are still to be asked for.
pub(super) struct Ahead<'a> {
    rows: std::slice::Iter<'a, &'a [f32]>,
    row: &'a [f32],
    columns: Range<usize>,
    at: usize,
}

impl<'a> Ahead<'a> {
    /// Of some columns, which need not be there: asking is no access.
    pub(super) fn new(rows: &'a [&'a [f32]], columns: Range<usize>) -> Self {
        Self { rows: rows.iter(), row: &[], at: columns.end, columns }
    }

    /// Asks for some more lines.
    #[inline(always)]
    pub(super) fn fetch(&mut self, lines: usize) {
        for _ in 0..lines {
            if self.at >= self.columns.end {
                let Some(row) = self.rows.next() else { return };
                (self.row, self.at) = (row, self.columns.start);
            }
            prefetch_index(self.row, self.at);
            self.at += LINE;
        }
    }

    /// Lines to ask for at each of so many times, so that `width` columns of all rows have been asked for in the end.
    pub(super) fn share(&self, width: usize, times: usize) -> usize {
        (self.rows.len() * width.div_ceil(LINE)).div_ceil(times.max(1))
    }
}
