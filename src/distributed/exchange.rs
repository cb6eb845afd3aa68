//! From rows of workers to shards of columns.

use super::link::Link;
use super::shards::Shards;
use crate::dtype::{Dtype, Values};
use crate::error::Result;
use crate::rows::Rows;

/// What a rank holds: whole rows of some workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Workers of each rank.
    pub(crate) workers: Vec<usize>,
    pub(crate) d: usize,
    pub(crate) dtype: Dtype,
}

impl Held {
    /// Rows of all ranks, those of rank 0 first.
    pub(crate) fn n(&self) -> usize {
        self.workers.iter().sum()
    }
}

/// This rank's columns of the other ranks' rows, in words: rank by rank, none of its own. Each rank sends what others need of its rows
/// once, from where they lie, and keeps what it gets.
pub(crate) fn columns_of_others(
    link: &mut Link<'_>,
    shards: Shards,
    held: &Held,
    mine: &[Values<'_>],
) -> Result<Vec<Vec<Vec<u32>>>> {
    let (rank, columns) = (link.rank(), shards.range(link.rank()));
    let bytes = columns.len() * held.dtype.size();
    let room = |(from, workers): (usize, &usize)| {
        let rows = if from == rank { 0 } else { *workers };
        vec![vec![0u32; bytes.div_ceil(size_of::<u32>())]; rows]
    };
    let mut all: Vec<Vec<Vec<u32>>> = held.workers.iter().enumerate().map(room).collect();
    for turn in 0..held.workers.iter().copied().max().unwrap_or(0) {
        // What lies in several slices is gathered.
        let mut rooms = vec![Vec::new(); held.workers.len()];
        let part = |((to, columns), room)| match mine.get(turn).filter(|_| to != rank) {
            Some(row) => row.slice(columns).gathered(room),
            None => &[][..],
        };
        let outgoing: Vec<&[u8]> = shards.ranges().enumerate().zip(&mut rooms).map(part).collect();
        fn place(rows: &mut [Vec<u32>], turn: usize, bytes: usize) -> &mut [u8] {
            rows.get_mut(turn).map_or(&mut [], |words| &mut bytemuck::cast_slice_mut(words)[..bytes])
        }
        let mut incoming: Vec<&mut [u8]> = all.iter_mut().map(|rows| place(rows, turn, bytes)).collect();
        link.all_to_all(&outgoing, &mut incoming)?;
    }
    Ok(all)
}

/// The rows of all ranks in some columns: `mine` where they lie, the others as they came.
pub(crate) fn assembled<'a>(
    rank: usize,
    shards: Shards,
    held: &Held,
    mine: &[Values<'a>],
    others: &'a [Vec<Vec<u32>>],
) -> Rows<'a> {
    let columns = shards.range(rank);
    let of_rank = |(from, rows): (usize, &'a Vec<Vec<u32>>)| -> Vec<Values<'a>> {
        match from == rank {
            true => mine.iter().map(|row| row.slice(columns.clone())).collect(),
            false => rows.iter().map(|words| held.dtype.of_words(words, columns.len())).collect(),
        }
    };
    Rows::of_values(others.iter().enumerate().flat_map(of_rank).collect(), columns.len())
}
