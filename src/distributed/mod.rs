//! Past one device: ranks, each with a share of the columns.
//!
//! Inner products of rows add up over columns, and everything else that a rule does happens column by column. So each rank runs its own
//! engine on its own columns, and ranks exchange n² numbers for a rule on distances, a few for every other one. Block sums are added as
//! integers: any number of ranks gives the bits that one gives, as long as their engines and processors are of one kind.
//!
//! - [`Distributed`]: one rank's end of it, over any [`Transport`]
//! - [`Threads`]: ranks that are threads of one process; `Mpi`, behind the feature `mpi`: processes and machines
//! - [`Engine::several`]: several GPUs in one process need none of this
//!
//! **A rank is trusted.** Rules protect from what workers *send*; a rank that computes wrongly spoils its columns of the result. Ranks are
//! machines of yours; workers that are not send their rows to ranks.

/// Its examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/distributed.md")]
struct Documented;

mod exchange;
mod link;
#[cfg(feature = "mpi")]
pub mod mpi;
mod passes;
mod run;
mod several;
mod shards;
mod threads;
mod transport;

pub(crate) use several::Several;
pub use shards::Shards;
pub use threads::Threads;
pub use transport::Transport;

use crate::dtype::{Dtype, Values};
use crate::engine::Engine;
use crate::engines::execute::Asked;
use crate::error::{Error, Result};
use crate::matrix::Input;
use crate::momentum::{DistributedMomentum, Gradients};
use crate::report::Aggregate;
use crate::rows::Rows;
use crate::rules::{Cohort, Rule};
use exchange::{Held, assembled, columns_of_others};
use link::Link;

/// One rank: an engine, and a transport to the other ranks.
///
/// All ranks make the same calls in the same order, with the same rule, f and [`Options`](crate::Options); each call waits for all ranks.
/// When one of them cannot go on, because its rows have another length, its device fails or it was asked for something else, every rank
/// gets the same error, before data moves where it can be known then. A rank that has no rows to hand in because something went wrong
/// before calls [`Distributed::withdraw`].
///
/// ```
/// use resam::{CpuOptions, Engine, Rows, distributed::{Distributed, Threads}, rules::TrimmedMean};
/// let gradients = [[1.0f32, 10.0], [2.0, 20.0], [3.0, 30.0], [1e30, f32::NAN]]; // one worker a rank, the last one hostile
/// std::thread::scope(|scope| {
///     let ranks: Vec<_> = Threads::new(4).into_iter().zip(&gradients).map(|(rank, gradient)| scope.spawn(move || {
///         let engine = Engine::cpu_with(CpuOptions { threads: Some(1) })?; // ranks that share a processor have threads of their own
///         let rank = Distributed::new(engine, rank);
///         rank.aggregate_blocking(&TrimmedMean, &Rows::from_slice(gradient, 1, 2)?, 1)
///     })).collect();
///     for rank in ranks {
///         assert_eq!(rank.join().unwrap()?.values, [2.5, 25.0]); // on every rank
///     }
///     resam::Result::Ok(())
/// })?;
/// # Ok::<(), resam::Error>(())
/// ```
#[derive(Debug)]
pub struct Distributed<T> {
    engine: Engine,
    transport: T,
}

impl<T: Transport> Distributed<T> {
    /// A rank that works with `engine`, a CPU's or a GPU's.
    pub fn new(engine: Engine, transport: T) -> Self {
        Self { engine, transport }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport, for a rank that is to end or to work with another engine.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Which columns of d are whose.
    pub fn shards(&self, d: usize) -> Shards {
        Shards::new(d, self.transport.ranks())
    }

    /// Combines the rows of all ranks into one, which every rank gets: a robust all-reduce. Each rank hands in the whole rows of its workers
    /// (one, several, or `None`); row 0 of the matrix is the first one of rank 0, and rows of rank r + 1 follow those of rank r.
    ///
    /// With P ranks that hold as many workers each, a rank sends (P−1)/P of its rows, to where their columns are combined, and (P−1)/P² · d
    /// values of the result to each other rank: in all no more than a ring all-reduce of as many rows, 2 (P−1)/P · d values where each rank
    /// holds one. A rule on distances adds 40 n² bytes to be summed for each read of the data, and n values of some 8192 columns.
    /// Memory: the columns of all rows on this rank, n · d / P values, and the result.
    ///
    /// # Errors
    /// As [`Engine::aggregate`]; [`Error::NoWorkers`] and [`Error::Ragged`] for the rows of all ranks; [`Error::Rank`] when one rank
    /// failed or was asked for something else; [`Error::Transport`].
    pub fn aggregate_blocking<'a>(&self, rule: &dyn Rule, rows: impl Into<Option<&'a Rows<'a>>>, f: usize) -> Result<Aggregate> {
        let (rows, mut link) = (rows.into(), Link::new(&self.transport));
        link.agree(&("rows of workers", rule.spec(), f, self.engine.options()), Ok(()))?;
        let held = held(&mut link, rows)?;
        self.combine(&mut link, rows, &held, Asked { rule, f, absent: &[] })
    }

    /// The same for ranks that hold columns: all n rows of [their range](Shards::range) of the d columns, in memory or loaded by the engine.
    /// The result is that of these columns, and stays where it is; reports are of all d. Nothing of size d moves.
    ///
    /// # Errors
    /// As [`Distributed::aggregate_blocking`], and [`Error::Shape`] for columns of another number.
    pub fn aggregate_shard_blocking<'a>(
        &self,
        rule: &dyn Rule,
        shard: impl Into<Input<'a>>,
        d: usize,
        f: usize,
    ) -> Result<Aggregate> {
        let (shard, shards, mut link) = (shard.into(), self.shards(d), Link::new(&self.transport));
        let (n, width) = (shard.n(), shards.range(link.rank()).len());
        let fits = match shard.d() == width {
            true => Ok(()),
            false => Err(Error::Shape { got: n * shard.d(), n, d: width }),
        };
        link.agree(&("columns of workers", rule.spec(), f, (n, d), self.engine.options()), fits)?;
        let mut values = vec![0.0; width];
        let report = run::run(&mut link, shards, &self.engine, shard, Asked { rule, f, absent: &[] }, &mut values)?;
        Ok(Aggregate { values, report })
    }

    /// Distributed momentum on ranks that hold columns: `momentum` and `gradients` are those of all n workers in this rank's columns. One
    /// step, then the rule on the momentums, as [`DistributedMomentum::step_and_aggregate`] does it: a worker whose gradient is not finite in
    /// any rank's columns is absent on all of them.
    ///
    /// # Errors
    /// As [`Distributed::aggregate_shard_blocking`] and [`DistributedMomentum::step_and_aggregate`]. After an error of a device momentums of
    /// some ranks may be a step ahead: go on from snapshots.
    pub fn step_and_aggregate_shard_blocking(
        &self,
        momentum: &mut DistributedMomentum,
        rule: &dyn Rule,
        gradients: &Rows<'_>,
        d: usize,
        f: usize,
    ) -> Result<Aggregate> {
        let (shards, n, mut link) = (self.shards(d), momentum.n(), Link::new(&self.transport));
        let width = shards.range(link.rank()).len();
        let fits = if momentum.d() == width {
            pollster::block_on(momentum.absent(Gradients::Rows(gradients)))
        } else {
            Err(Error::Shape { got: n * momentum.d(), n, d: width })
        };
        let asked = ("a step and columns of workers", rule.spec(), f, (n, d), momentum.beta(), self.engine.options());
        let absent = link.agree(&asked, fits.and_then(|absent| rule.check(n, f).map(|()| absent)))?;
        let mut flags: Vec<i64> = (0..n).map(|i| i64::from(absent.contains(&i))).collect();
        link.sum(&mut flags)?;
        let absent: Vec<usize> = (0..n).filter(|&i| flags[i] != 0).collect();
        link.agree(&"whether the rule takes them", momentum.tolerates(rule, &absent, f, d))?;
        let stepped = pollster::block_on(momentum.update(Gradients::Rows(gradients), &absent));
        link.agree(&"a step", stepped)?;
        let mut values = vec![0.0; width];
        let asked = Asked { rule, f, absent: &absent };
        let report = run::run(&mut link, shards, &self.engine, momentum.matrix().into(), asked, &mut values)?;
        Ok(Aggregate { values, report })
    }

    /// For a rank that cannot take part in the next call: the others get `error` from theirs, and this one gets what they get.
    pub fn withdraw(&self, error: Error) -> Error {
        let left = Link::new(&self.transport).agree(&"to withdraw", Err::<(), _>(error.clone()));
        left.err().unwrap_or(error)
    }

    /// From whole rows of all ranks to the result on all ranks.
    fn combine(&self, link: &mut Link<'_>, rows: Option<&Rows<'_>>, held: &Held, asked: Asked<'_>) -> Result<Aggregate> {
        let (n, d) = (held.n(), held.d);
        let everyone: Vec<usize> = (0..n).collect();
        let admitted = asked.rule.admit(&Cohort { total: n, members: &everyone, f: asked.f, d });
        link.agree(&"whether the rule takes them", admitted)?;
        let (shards, rank) = (self.shards(d), link.rank());
        let mine: Vec<Values> = rows.map_or(Vec::new(), |rows| (0..rows.n()).map(|i| rows.values(i)).collect());
        let others = columns_of_others(link, shards, held, &mine)?;
        let shard = assembled(rank, shards, held, &mine, &others);
        let mut part = vec![0.0; shard.d()];
        let report = run::run(link, shards, &self.engine, (&shard).into(), asked, &mut part)?;
        let mut values = vec![0.0f32; d];
        let mut parts: Vec<&mut [u8]> = shards.split(&mut values).into_iter().map(bytemuck::cast_slice_mut).collect();
        link.gather_into(bytemuck::cast_slice(&part), &mut parts)?;
        Ok(Aggregate { values, report })
    }
}

/// What each rank holds, if rows are of one length and type. All ranks find the same.
fn held(link: &mut Link<'_>, rows: Option<&Rows<'_>>) -> Result<Held> {
    let types = [Dtype::F32, Dtype::F16, Dtype::Bf16];
    let mine = rows.map_or([0; 3], |rows| {
        let dtype = types.iter().position(|dtype| *dtype == rows.dtype()).unwrap_or_default();
        [rows.n() as u64, rows.d() as u64, dtype as u64]
    });
    let all = link.gather_equal(&mine)?;
    let workers: Vec<usize> = all.iter().map(|rank| rank[0] as usize).collect();
    let first = all.iter().find(|rank| rank[0] > 0).ok_or(Error::NoWorkers)?;
    let (d, dtype) = (first[1] as usize, types[first[2] as usize]);
    for (rank, theirs) in all.iter().enumerate().filter(|(_, theirs)| theirs[0] > 0) {
        if theirs[1] != first[1] {
            return Err(Error::Ragged { row: workers[..rank].iter().sum(), got: theirs[1] as usize, expected: d });
        }
        if theirs[2] != first[2] {
            let reason = format!("rows of {} where others are of {dtype}", types[theirs[2] as usize]);
            return Err(Error::Rank { rank, reason });
        }
    }
    Ok(Held { workers, d, dtype })
}
