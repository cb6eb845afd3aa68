//! An engine's passes over a shard, made those over all columns.

use super::link::Link;
use super::shards::Shards;
use crate::engines::exact_sum::ExactSum;
use crate::engines::execute::Wrap;
use crate::engines::pair_sums::Running;
use crate::engines::passes::{Columns, Found, Frame, Mixed, Passes, Plain, Term, Traffic, Weiszfelds};
use crate::error::Result;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// Makes an engine's passes those of a shard.
pub(crate) struct Shard<'a, 't> {
    pub(crate) link: &'a mut Link<'t>,
    pub(crate) shards: Shards,
}

impl<'a, 't> Wrap for Shard<'a, 't> {
    type Of<P: Passes> = Sharded<'a, 't, P>;
    fn wrap<P: Passes>(self, own: P) -> Sharded<'a, 't, P> {
        Sharded { own, shard: self, passes: 0, given: 0 }
    }
}

/// Passes over some columns that answer for all of them: sums, flags and counts are added over all ranks, exactly, and samples gathered.
/// What comes out column by column stays where it is.
pub(crate) struct Sharded<'a, 't, P> {
    own: P,
    shard: Shard<'a, 't>,
    /// Reads of all columns.
    passes: usize,
    /// A digest of the given row.
    given: u64,
}

impl<P: Passes> Sharded<'_, '_, P> {
    /// What this rank's pass found, if all ranks made the same one.
    fn agree<V>(&mut self, asked: &dyn Debug, found: Result<V>) -> Result<V> {
        let found = self.shard.link.agree(&(asked, self.given), found)?;
        self.passes += 1;
        Ok(found)
    }

    /// The rows that are flagged on any rank, and the sums of the counts.
    fn noted(&mut self, rows: &[usize], found: Found) -> Result<Found> {
        let flags = rows.iter().map(|row| i64::from(found.bad.contains(row)));
        let mut notes: Vec<i64> = flags.chain(found.outside.iter().map(|count| *count as i64)).collect();
        self.shard.link.sum(&mut notes)?;
        let (flags, counts) = notes.split_at(rows.len());
        let bad = rows.iter().zip(flags).filter(|(_, flag)| **flag != 0).map(|(row, _)| *row).collect();
        Ok(Found { bad, outside: counts.iter().map(|count| *count as u64).collect() })
    }
}

impl<P: Passes> Passes for Sharded<'_, '_, P> {
    type Out = P::Out;

    fn n(&self) -> usize {
        self.own.n()
    }

    fn d(&self) -> usize {
        self.shard.shards.d()
    }

    fn width(&self) -> usize {
        self.own.width()
    }

    fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.own.on_threads(work)
    }

    fn traffic(&self) -> Traffic {
        Traffic { passes: self.passes, ..self.own.traffic() }
    }

    fn give(&mut self, row: Arc<[f32]>) {
        let mut digest = DefaultHasher::new();
        digest.write(bytemuck::cast_slice(&row));
        self.given = digest.finish();
        self.own.give(row[self.shard.shards.range(self.shard.link.rank())].into());
    }

    async fn sample(&mut self, rows: &[usize], columns: &[usize]) -> Result<Vec<f32>> {
        let ranges: Vec<_> = self.shard.shards.ranges().collect();
        let places: Vec<_> =
            ranges.iter().map(|r| columns.partition_point(|&k| k < r.start)..columns.partition_point(|&k| k < r.end)).collect();
        let rank = self.shard.link.rank();
        let own: Vec<usize> = columns[places[rank].clone()].iter().map(|k| k - ranges[rank].start).collect();
        let found = self.own.sample(rows, &own).await;
        let found = self.shard.link.agree(&("a sample of", rows, columns, self.given), found)?;
        self.passes += usize::from(columns.len() == self.d());
        let lengths: Vec<usize> = places.iter().map(|places| rows.len() * places.len()).collect();
        let parts = self.shard.link.gather(&found, &lengths)?;
        let mut values = vec![0.0; rows.len() * columns.len()];
        for (i, values) in values.chunks_exact_mut(columns.len().max(1)).enumerate() {
            for (part, places) in parts.iter().zip(&places) {
                values[places.clone()].copy_from_slice(&part[i * places.len()..(i + 1) * places.len()]);
            }
        }
        Ok(values)
    }

    async fn gram(&mut self, rows: &[usize], frames: &[Frame<'_>]) -> Result<Running> {
        let found = self.own.gram(rows, frames).await;
        let mut running = self.agree(&("inner products of", rows, frames), found)?;
        let (sums, largest) = running.parts();
        self.shard.link.add(sums)?;
        self.shard.link.raise(largest)?;
        Ok(running)
    }

    async fn mix(&mut self, terms: &[Term], centre: usize, out: &mut P::Out) -> Result<Vec<usize>> {
        let found = self.own.mix(terms, centre, out).await;
        let bad = self.agree(&("a sum of", terms, centre), found)?;
        let rows: Vec<usize> = terms.iter().map(|term| term.row).collect();
        self.noted(&rows, Found { bad, outside: Vec::new() }).map(|found| found.bad)
    }

    async fn coordinate(&mut self, what: &Columns<'_>, out: &mut P::Out) -> Result<Found> {
        let found = self.own.coordinate(what, out).await;
        let found = self.agree(what, found)?;
        self.noted(what.rows, found)
    }

    async fn deviations(&mut self, rows: &[usize], mixed: Mixed<'_>, sizes: &[f32]) -> Result<Vec<ExactSum>> {
        let found = self.own.deviations(rows, mixed, sizes).await;
        let mut sums = self.agree(&("deviations of", rows, mixed, sizes), found)?;
        self.shard.link.add(&mut sums)?;
        Ok(sums)
    }

    async fn copy_row(&mut self, row: usize, out: &mut P::Out) -> Result<()> {
        let found = self.own.copy_row(row, out).await;
        self.shard.link.agree(&("a copy of", row, self.given), found)
    }

    async fn plain(&mut self, what: Plain, room: &mut [u16]) -> Result<u16> {
        self.own.plain(what, room).await
    }

    async fn device_seconds(&mut self) -> Option<f64> {
        self.own.device_seconds().await
    }

    async fn weiszfeld_round(
        &mut self,
        rows: &[usize],
        centre: usize,
        scales: &[f32],
        state: &Weiszfelds,
    ) -> Result<(Vec<ExactSum>, Vec<u32>)> {
        let found = self.own.weiszfeld_round(rows, centre, scales, state).await;
        let (mut squares, mut largest) = self.agree(&("a round with", rows, centre, scales, state), found)?;
        self.shard.link.add(&mut squares)?;
        self.shard.link.raise(&mut largest)?;
        Ok((squares, largest))
    }
}
