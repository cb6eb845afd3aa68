//! What a Gram pass brings back: inner products of all pairs of rows, added exactly from the f32 sums of blocks of columns.

use super::exact_sum::{ADDED, ExactSum};
use crate::parallel::least;
use rayon::prelude::*;

/// Sums that one thread takes: to share fewer takes longer.
const ALONE: usize = 1 << 12;

/// What a Gram pass found of m rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sums {
    /// For each frame m × m inner products of the scaled, centred rows; NaN where a row is not finite or its squares overflow.
    pub(crate) products: Vec<Vec<f64>>,
    /// For each row the largest magnitude as bits.
    pub(crate) largest: Vec<u32>,
}

/// Exact running sums over blocks of columns, for the upper triangle of an m × m matrix in each frame.
pub(crate) struct Running {
    m: usize,
    frames: usize,
    sums: Vec<ExactSum>,
    largest: Vec<u32>,
}

impl Running {
    pub(crate) fn new(m: usize, frames: usize) -> Self {
        let sums = (0..frames * m * (m + 1) / 2).into_par_iter().with_min_len(least(ALONE)).map(|_| ExactSum::default()).collect();
        Self { m, frames, sums, largest: vec![0; m] }
    }

    /// Adds the f32 sums of one block: frame by frame the upper triangle, row by row.
    pub(crate) fn add(&mut self, block: impl Iterator<Item = f32>) {
        self.sums.iter_mut().zip(block).for_each(|(s, t)| s.add(t));
    }

    /// Adds the f32 sums (as bits) of blocks, one behind the other, on several threads.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))] // a CPU adds block by block
    pub(crate) fn add_blocks(&mut self, blocks: &[u32]) {
        /// Sums of a cache line of a block.
        const LINE: usize = 16;
        let each = self.sums.len();
        self.sums.par_chunks_mut(LINE).enumerate().for_each(|(at, sums)| {
            for block in blocks.chunks(each) {
                let terms = &block[at * LINE..][..sums.len()];
                sums.iter_mut().zip(terms).for_each(|(sum, term)| sum.add(f32::from_bits(*term)));
            }
        });
    }

    /// Adds the sums of blocks that a GPU added, digit by digit.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) fn add_digits(&mut self, added: &[u32]) {
        self.sums.iter_mut().zip(added.as_chunks::<ADDED>().0).for_each(|(sum, added)| sum.add_digits(added));
    }

    /// Notes the largest magnitudes of the rows.
    pub(crate) fn raise(&mut self, largest: &[u32]) {
        self.largest.iter_mut().zip(largest).for_each(|(a, b)| *a = (*a).max(*b));
    }

    /// The sums, and the largest magnitudes: those of other columns are added to the one and raise the other.
    pub(crate) fn parts(&mut self) -> (&mut [ExactSum], &mut [u32]) {
        (&mut self.sums, &mut self.largest)
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| a.merge(b));
        self.raise(&other.largest);
        self
    }

    pub(crate) fn finish(self) -> Sums {
        let m = self.m;
        let values: Vec<f64> = self.sums.par_iter().with_min_len(least(ALONE)).map(ExactSum::value).collect();
        let mut values = values.into_iter();
        let mut square = || {
            let mut products = vec![0.0; m * m];
            for i in 0..m {
                for j in i..m {
                    let v = values.next().unwrap_or(0.0);
                    products[i * m + j] = v;
                    products[j * m + i] = v;
                }
            }
            products
        };
        Sums { products: (0..self.frames).map(|_| square()).collect(), largest: self.largest }
    }
}
