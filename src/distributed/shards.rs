//! How columns are shared out.

use crate::engines::cpu::BLOCK;
use std::ops::Range;

/// Ranges of columns, one for each rank: whole blocks of 4096 columns, the last one of what is left, so that the sums of a block are those
/// that one process would make. With fewer blocks than ranks some get nothing.
///
/// ```
/// let shards = resam::distributed::Shards::new(10_000, 2);
/// assert_eq!([shards.range(0), shards.range(1)], [0..4096, 4096..10_000]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    d: usize,
    ranks: usize,
}

impl Shards {
    /// Of d columns for so many ranks.
    pub fn new(d: usize, ranks: usize) -> Self {
        Self { d, ranks }
    }

    /// All columns.
    pub fn d(&self) -> usize {
        self.d
    }

    /// The columns of one rank.
    ///
    /// # Panics
    /// When there is no such rank, like slice indexing.
    pub fn range(&self, rank: usize) -> Range<usize> {
        assert!(rank < self.ranks, "rank {rank} of {}", self.ranks);
        let blocks = self.d.div_ceil(BLOCK);
        // Without the product of two large numbers: the first ranks get one block less.
        let begin = |rank: usize| blocks / self.ranks * rank + (blocks % self.ranks * rank) / self.ranks;
        self.d.min(begin(rank) * BLOCK)..self.d.min(begin(rank + 1) * BLOCK)
    }

    /// The columns of each rank.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        let shards = *self;
        (0..self.ranks).map(move |rank| shards.range(rank))
    }

    /// Something that has d values, cut into that of each rank.
    pub(crate) fn split<'a, V>(&self, mut values: &'a mut [V]) -> Vec<&'a mut [V]> {
        let mut cut = |range: Range<usize>| values.split_off_mut(..range.len()).unwrap_or_default();
        self.ranges().map(&mut cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_one_ranks() {
        for d in [0, 1, 4095, 4096, 4097, 50_000, 1 << 20, usize::MAX / 2] {
            for ranks in [1, 2, 3, 7, 512] {
                let shards = Shards::new(d, ranks);
                let ranges: Vec<_> = shards.ranges().collect();
                assert!(ranges[0].start == 0 && ranges[ranks - 1].end == d);
                assert!(ranges.windows(2).all(|w| w[0].end == w[1].start && (w[0].end % BLOCK == 0 || w[0].end == d)));
                let most = ranges.iter().map(ExactSizeIterator::len).max().unwrap();
                assert!(most <= d.div_ceil(BLOCK).div_ceil(ranks) * BLOCK);
            }
        }
        let mut values: Vec<usize> = (0..9000).collect();
        let parts = Shards::new(9000, 2).split(&mut values);
        assert_eq!((parts[0].len(), parts[1][0]), (4096, 4096));
    }
}
