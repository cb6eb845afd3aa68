//! Rows are asked for while those before them are computed with: a processor reads few streams ahead by itself, and each only to the
//! end of its page.

use crate::dtype::Values;
use std::ops::Range;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Bytes of rows that are likely in a cache already: asking for them only takes time.
const CACHED: usize = 1 << 22;

/// The rows that should be asked for: these, or none where they are short.
pub(super) fn worth_asking<'r, 'a>(rows: &'r [Values<'a>]) -> &'r [Values<'a>] {
    let bytes: usize = rows.iter().map(|row| row.size()).sum();
    if bytes > CACHED { rows } else { &[] }
}

/// Lines that are asked for together: to look for the next one takes longer than to ask.
const TOGETHER: usize = 4;

/// The lines of some columns of all rows, row after row, that are still to be asked for.
pub(super) struct Ahead<'a> {
    rows: &'a [Values<'a>],
    /// The first column.
    first: usize,
    /// Values in a line.
    step: usize,
    /// Lines of a row.
    lines: usize,
    row: usize,
    line: usize,
    /// Lines that are due.
    due: usize,
}

impl<'a> Ahead<'a> {
    /// Of nothing.
    pub(super) fn none() -> Self {
        Self::new(&[], 0..0)
    }

    /// Of some columns, which need not be there: asking is no access.
    pub(super) fn new(rows: &'a [Values<'a>], columns: Range<usize>) -> Self {
        let step = rows.first().map_or(1, |row| LINE / row.dtype().size());
        Self { rows, first: columns.start, step, lines: columns.len().div_ceil(step), row: 0, line: 0, due: 0 }
    }

    /// Asks for some more lines, or leaves them for the next time.
    #[inline(always)]
    pub(super) fn fetch(&mut self, lines: usize) {
        self.due += lines;
        while self.due >= TOGETHER {
            let Some(row) = self.rows.get(self.row) else { return };
            let some = self.due.min(self.lines - self.line);
            row.ask((self.line..self.line + some).map(|line| self.first + line * self.step));
            self.due -= some;
            self.line += some;
            if self.line == self.lines {
                (self.row, self.line) = (self.row + 1, 0);
            }
        }
    }

    /// Lines to ask for at each of so many times, so that `width` columns of all rows have been asked for in the end.
    pub(super) fn share(&self, width: usize, times: usize) -> usize {
        (self.rows.len() * width.div_ceil(self.step)).div_ceil(times.max(1))
    }
}
