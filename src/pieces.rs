//! A row that lies in several slices, such as the layers of a model: read as if it were one.

use crate::dtype::Values;
use std::ops::Range;

/// Consecutive values of a row that lies in several slices.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    /// All of the row, of one type: at least one slice, none of them in pieces itself.
    slices: &'a [Values<'a>],
    /// For each slice the column behind its last one.
    ends: &'a [usize],
    /// The columns that are meant.
    first: usize,
    last: usize,
}

impl<'a> Pieces<'a> {
    /// A whole row of at least one slice.
    pub(crate) fn new(slices: &'a [Values<'a>], ends: &'a [usize]) -> Self {
        Self { slices, ends, first: 0, last: ends.last().copied().unwrap_or(0) }
    }

    pub(crate) fn len(self) -> usize {
        self.last - self.first
    }

    /// Any of the slices.
    pub(crate) fn any(self) -> Values<'a> {
        self.slices[0]
    }

    /// Some of these values: plain ones where they lie in one slice.
    pub(crate) fn slice(self, range: Range<usize>) -> Values<'a> {
        let some = Self { first: self.first + range.start, last: self.first + range.end, ..self };
        match some.holder() {
            _ if range.is_empty() => self.any().slice(0..0),
            holder if some.last <= self.ends[holder] => some.part(holder),
            _ => Values::Pieces(some),
        }
    }

    /// The parts of the slices that hold these values, in order.
    pub(crate) fn parts(self) -> impl Iterator<Item = Values<'a>> {
        let holders = (self.holder()..self.slices.len()).take_while(move |&i| self.start(i) < self.last);
        holders.map(move |i| self.part(i))
    }

    /// The slice that holds the first of these values.
    fn holder(self) -> usize {
        self.ends.partition_point(|&end| end <= self.first)
    }

    /// The first column of a slice.
    fn start(self, slice: usize) -> usize {
        if slice == 0 { 0 } else { self.ends[slice - 1] }
    }

    /// What is meant of a slice.
    fn part(self, slice: usize) -> Values<'a> {
        let start = self.start(slice);
        self.slices[slice].slice(self.first.max(start) - start..self.last.min(self.ends[slice]) - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every range of a row of short slices, empty ones among them, against the row in one slice.
    #[test]
    fn every_range_reads_as_one_slice() {
        let row: Vec<f32> = (0..9).map(|k| k as f32 - 4.5).collect();
        let ends = [0, 3, 3, 4, 8, 8, 9, 9];
        let starts = [0].into_iter().chain(ends);
        let slices: Vec<Values> = starts.zip(ends).map(|(start, end)| Values::from(&row[start..end])).collect();
        let whole = Values::Pieces(Pieces::new(&slices, &ends));
        let mut in_one = 0;
        for first in 0..=row.len() {
            for last in first..=row.len() {
                let (some, want) = (whole.slice(first..last), &row[first..last]);
                in_one += usize::from(matches!(some, Values::F32(_)));
                assert_eq!((some.len(), some.f32(&mut Vec::new())), (want.len(), want));
                assert_eq!(some.gathered(&mut Vec::new()), bytemuck::cast_slice::<f32, u8>(want));
                assert_eq!(some.words(), Values::from(want).words());
                let middle = some.slice(want.len() / 3..want.len());
                assert_eq!(middle.f32(&mut Vec::new()), &want[want.len() / 3..]);
                assert!((0..want.len()).all(|k| some.at(k) == want[k]));
                let all = 0..want.len();
                for places in [all.clone().rev().collect::<Vec<_>>(), all.filter(|k| k % 3 != 1).collect()] {
                    let runs: Vec<&[usize]> = places.chunk_by(|a, b| a + 1 == *b).collect();
                    for values in [some, Values::from(want)] {
                        let mut gathered = vec![f32::NAN; places.len()];
                        values.gather(&runs, &mut gathered);
                        assert!(gathered.iter().eq(places.iter().map(|k| &want[*k])));
                    }
                }
            }
        }
        // Ranges within a slice are borrowed: those of no value, and those of the slices of 3, 1, 4 and 1.
        assert_eq!(in_one, 10 + 6 + 1 + 10 + 1);
    }
}
