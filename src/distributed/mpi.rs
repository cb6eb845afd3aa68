//! Ranks that are processes, on one machine or many, over MPI. Behind the feature `mpi`, which needs an MPI library and libclang to build
//! (Debian: `libopenmpi-dev openmpi-bin libclang-dev`); started with `mpirun -np 4 PROGRAM`.

use super::transport::Transport;
use crate::error::{Error, Result};
use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::datatype::PartitionMut;
use ::mpi::request;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};
use std::fmt::Display;
use std::thread;

/// Bytes of a message: MPI counts in 32 bits.
const MESSAGE: usize = 1 << 30;

/// Bytes that are gathered in one collective, which needs few messages; more go from rank to rank.
const SMALL: usize = 1 << 20;

/// A rank of an MPI job.
///
/// MPI ends the whole job when a process of it dies, unless it was told otherwise: no rank waits for one that is gone. A panic with a value
/// of this type at hand ends the job as well, and so does an error that [`run`] sees.
pub struct Mpi {
    communicator: SimpleCommunicator,
    message: usize,
}

impl Mpi {
    /// The ranks of a communicator, e.g. `universe.world()`, by messages that no others mix with. All ranks call it.
    pub fn new(communicator: &impl Communicator) -> Self {
        Self { communicator: communicator.duplicate(), message: MESSAGE }
    }

    /// With messages of no more than so many bytes (at least 8, at most 2³⁰, which is the default).
    #[must_use]
    pub fn with_message(mut self, bytes: usize) -> Self {
        self.message = bytes.clamp(size_of::<i64>(), MESSAGE);
        self
    }
}

/// Starts MPI, does this rank's work, and ends MPI; an error is printed and ends the job on all ranks.
///
/// # Errors
/// [`Error::Transport`] when MPI was started before; then use [`Mpi::new`].
pub fn run<V, E: Display>(work: impl FnOnce(Mpi) -> std::result::Result<V, E>) -> Result<V> {
    let started = ::mpi::initialize_with_threading(Threading::Funneled);
    let (universe, _) = started.ok_or_else(|| Error::Transport("MPI was started before".into()))?;
    let world = universe.world();
    work(Mpi::new(&world)).or_else(|error| {
        eprintln!("rank {}: {error}", world.rank());
        world.abort(1)
    })
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if thread::panicking() {
            // The others would wait for this rank.
            self.communicator.abort(1);
        }
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.communicator.rank() as usize
    }

    fn ranks(&self) -> usize {
        self.communicator.size() as usize
    }

    fn all_reduce(&self, values: &mut [i64]) -> Result<()> {
        for values in values.chunks_mut(self.message / size_of::<i64>()) {
            let mine = values.to_vec();
            self.communicator.all_reduce_into(&mine[..], values, SystemOperation::sum());
        }
        Ok(())
    }

    /// In turns, in each of which every rank sends to one other and hears from one.
    fn all_to_all(&self, outgoing: &[&[u8]], incoming: &mut [&mut [u8]]) -> Result<()> {
        let (rank, ranks) = (self.rank(), self.ranks());
        if incoming[rank].len() != outgoing[rank].len() {
            return Err(Error::Transport(format!(
                "{} bytes for {} of rank {rank}'s own",
                outgoing[rank].len(),
                incoming[rank].len()
            )));
        }
        incoming[rank].copy_from_slice(outgoing[rank]);
        for turn in 1..ranks {
            let (to, from) = ((rank + turn) % ranks, (rank + ranks - turn) % ranks);
            let [target, source] = [to, from].map(|rank| self.communicator.process_at_rank(rank as i32));
            request::scope(|scope| {
                let receives = incoming[from].chunks_mut(self.message).map(|part| source.immediate_receive_into(scope, part));
                let receives: Vec<_> = receives.collect();
                let sends = outgoing[to].chunks(self.message).map(|part| target.immediate_send(scope, part));
                let sends: Vec<_> = sends.collect();
                for message in receives.into_iter().chain(sends) {
                    message.wait();
                }
            });
        }
        Ok(())
    }

    fn all_gather(&self, mine: &[u8], all: &mut [&mut [u8]]) -> Result<()> {
        let total: usize = all.iter().map(|part| part.len()).sum();
        if total > SMALL.min(self.message) {
            return self.all_to_all(&vec![mine; self.ranks()], all);
        }
        let counts: Vec<i32> = all.iter().map(|part| part.len() as i32).collect();
        let places: Vec<i32> = counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect();
        let mut gathered = vec![0; total];
        self.communicator.all_gather_varcount_into(mine, &mut PartitionMut::new(&mut gathered[..], &counts[..], &places[..]));
        let mut rest = &gathered[..];
        for part in all {
            let (bytes, after) = rest.split_at(part.len());
            part.copy_from_slice(bytes);
            rest = after;
        }
        Ok(())
    }
}
