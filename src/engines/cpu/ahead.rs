//! Rows are asked for while those before them are computed with: a processor reads few streams ahead by itself, and each only to the
//! end of its page.

use crate::dtype::Values;
use std::ops::Range;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of rows that are likely in a cache already: asking for them only takes time.
const CACHED: usize = 1 << 22;

/// The rows that should be asked for: these, or none where they are short.
pub(super) fn worth_asking<'r, 'a>(rows: &'r [Values<'a>]) -> &'r [Values<'a>] {
    let bytes: usize = rows.iter().map(|row| row.size()).sum();
    if bytes > CACHED { rows } else { &[] }
}

/// The lines of some columns of all rows, row after row, that are still to be asked for.
pub(super) struct Ahead<'a> {
    rows: &'a [Values<'a>],
    columns: Range<usize>,
    /// Values in a line.
    step: usize,
    row: usize,
    at: usize,
}

impl<'a> Ahead<'a> {
    /// Of some columns, which need not be there: asking is no access.
    pub(super) fn new(rows: &'a [Values<'a>], columns: Range<usize>) -> Self {
        let step = rows.first().map_or(1, |row| LINE / row.dtype().size());
        Self { rows, step, row: 0, at: columns.start, columns }
    }

    /// Asks for some more lines.
    #[inline(always)]
    pub(super) fn fetch(&mut self, mut lines: usize) {
        while lines > 0 {
            let Some(row) = self.rows.get(self.row) else { return };
            let some = lines.min((self.columns.end - self.at).div_ceil(self.step));
            row.ask((0..some).map(|line| self.at + line * self.step));
            lines -= some;
            self.at += some * self.step;
            if self.at >= self.columns.end {
                (self.row, self.at) = (self.row + 1, self.columns.start);
            }
        }
    }

    /// Lines to ask for at each of so many times, so that `width` columns of all rows have been asked for in the end.
    pub(super) fn share(&self, width: usize, times: usize) -> usize {
        (self.rows.len() * width.div_ceil(self.step)).div_ceil(times.max(1))
    }
}
