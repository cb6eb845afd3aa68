//! Ranks that are threads of one process.

use super::transport::Transport;
use crate::error::{Error, Result};
use std::sync::mpsc::{Receiver, Sender, channel};

/// One of several ranks in one process, each on a thread of its own. A rank that is dropped, as one is that panics, becomes an error
/// on the others.
///
/// ```
/// use resam::distributed::{Threads, Transport};
/// let sums: Vec<i64> = std::thread::scope(|scope| {
///     let ranks: Vec<_> = Threads::new(3).into_iter().map(|rank| scope.spawn(move || {
///         let mut value = [rank.rank() as i64 + 1];
///         rank.all_reduce(&mut value).map(|()| value[0])
///     })).collect();
///     ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<resam::Result<_>>()
/// })?;
/// assert_eq!(sums, [6, 6, 6]);
/// # Ok::<(), resam::Error>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Threads {
    /// So many ranks that know each other.
    pub fn new(ranks: usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..ranks).map(|rank| Self { rank, to: Vec::new(), from: Vec::new() }).collect();
        for from in 0..ranks {
            for to in 0..ranks {
                let (sender, receiver) = channel();
                all[from].to.push(sender);
                all[to].from.push(receiver);
            }
        }
        all
    }

    /// What each rank has for this one, in order, once `outgoing` is under way.
    fn exchange<'a>(
        &self,
        outgoing: impl Iterator<Item = &'a [u8]>,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let gone = |rank: usize| Error::Transport(format!("rank {rank} is gone"));
        for (rank, (to, bytes)) in self.to.iter().zip(outgoing).enumerate() {
            to.send(bytes.to_vec()).map_err(|_| gone(rank))?;
        }
        self.from.iter().enumerate().try_for_each(|(rank, from)| take(rank, &from.recv().map_err(|_| gone(rank))?))
    }
}

impl Transport for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.to.len()
    }

    fn all_reduce(&self, values: &mut [i64]) -> Result<()> {
        let mine = values.to_vec();
        values.fill(0);
        self.exchange(self.to.iter().map(|_| bytemuck::cast_slice(&mine)), |rank, bytes| {
            of_length(rank, bytes, size_of_val(values))?;
            let mut theirs = vec![0i64; values.len()];
            bytemuck::cast_slice_mut(&mut theirs).copy_from_slice(bytes);
            values.iter_mut().zip(theirs).for_each(|(sum, value)| *sum = sum.wrapping_add(value));
            Ok(())
        })
    }

    fn all_to_all(&self, outgoing: &[&[u8]], incoming: &mut [&mut [u8]]) -> Result<()> {
        self.exchange(outgoing.iter().copied(), |rank, bytes| {
            of_length(rank, bytes, incoming[rank].len())?;
            incoming[rank].copy_from_slice(bytes);
            Ok(())
        })
    }
}

fn of_length(rank: usize, bytes: &[u8], wanted: usize) -> Result<()> {
    match bytes.len() {
        length if length == wanted => Ok(()),
        length => Err(Error::Transport(format!("rank {rank} sent {length} bytes instead of {wanted}"))),
    }
}
