//! What carries data between ranks.

use crate::error::Result;

/// The three collectives that sharding needs. Implement it for NCCL, torch.distributed, Flower or whatever connects your machines; there are
/// [`Threads`](super::Threads) of one process, and MPI behind the feature `mpi`.
///
/// All ranks make the same calls in the same order, and each waits until the data it needs has come. A rank that is gone must become an error
/// on the others (or the end of their processes), not a wait without end. After an error nothing more is asked of a transport in that call.
pub trait Transport {
    /// Which of the ranks this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// Each value becomes the sum of all ranks' values in its place. All ranks hand in equally many. The sums do not overflow.
    ///
    /// # Errors
    /// [`Error::Transport`](crate::Error::Transport) when a rank or the network is gone.
    fn all_reduce(&self, values: &mut [i64]) -> Result<()>;

    /// `outgoing[q]` goes to rank q and `incoming[p]` is filled by rank p, for every rank, this one included. Lengths differ, may be zero
    /// and may exceed 2³¹; those of the two ends are the same.
    ///
    /// # Errors
    /// As [`Transport::all_reduce`].
    fn all_to_all(&self, outgoing: &[&[u8]], incoming: &mut [&mut [u8]]) -> Result<()>;

    /// `mine` goes to every rank, and `all[p]` is filled by rank p, this one included. Lengths differ and may be zero. Unless the transport
    /// has something better it is an all-to-all, which sends as many bytes as a ring does.
    ///
    /// # Errors
    /// As [`Transport::all_reduce`].
    fn all_gather(&self, mine: &[u8], all: &mut [&mut [u8]]) -> Result<()> {
        self.all_to_all(&vec![mine; self.ranks()], all)
    }
}
