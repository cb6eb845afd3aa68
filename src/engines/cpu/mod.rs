//! The CPU engine: the same plans on threads and SIMD lanes. It is the fallback where there is no GPU, and verifies it.
//!
//! Columns are cut into blocks of [`BLOCK`] aligned to the first one, so that results do not depend on the number of threads.
//! Each kernel is compiled for several widths of vectors, and chosen at run time: those that must stay in registers are written in
//! vectors of any width (`fearless_simd`), plain loops are left to the compiler ([`simd!`]).

mod ahead;
mod aligned;
pub(crate) mod coordinate;
pub(crate) mod deviations;
pub(crate) mod gram;
pub(crate) mod mix;
mod mixed;
pub(crate) mod momentum;
mod plain;
mod plain_sums;

use crate::dtype::Values;
use crate::engines::exact_sum::ExactSum;
use crate::engines::pair_sums::Running;
use crate::engines::passes::{Centre, Columns, Found, Frame, GIVEN, Mixed, ORIGIN, Passes, Plain, Term, Traffic, Weiszfelds};
use crate::error::{Error, Result};
use crate::parallel;
use crate::rows::Rows;
use fearless_simd::{Level, Simd, dispatch, prelude::*};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Columns whose products are summed in f32 before they are added exactly.
pub(crate) const BLOCK: usize = 4096;

/// Values in the longest vectors of a build.
fn lanes(level: Level) -> usize {
    #[inline(always)]
    fn of<S: Simd>(_: S) -> usize {
        S::f32s::LEN
    }
    dispatch!(level, simd => of(simd))
}

/// Values of a sample that another thread would not be woken for.
const ALONE: usize = 1 << 15;

/// Many more take minutes to begin.
const MOST_THREADS: usize = 1024;

/// Settings of the CPU engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Threads, at most 1024; `None` for rayon's global pool (as many as cores).
    pub threads: Option<usize>,
}

/// The CPU engine.
#[derive(Debug, Clone)]
pub(crate) struct CpuEngine {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl CpuEngine {
    /// On rayon's global pool.
    pub(crate) fn all_cores() -> Self {
        Self { pool: None }
    }

    pub(crate) fn new(options: CpuOptions) -> Result<Self> {
        let Some(threads) = options.threads else { return Ok(Self { pool: None }) };
        if !(1..=MOST_THREADS).contains(&threads) {
            return Err(Error::parameter("cpu", "threads", threads, format_args!("from 1 to {MOST_THREADS}")));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Error::Device { device: "cpu".into(), reason: e.to_string() })?;
        Ok(Self { pool: Some(Arc::new(pool)) })
    }

    pub(crate) fn name(&self) -> String {
        let threads = self.pool.as_ref().map_or_else(rayon::current_num_threads, |p| p.current_num_threads());
        format!("cpu ({threads} threads)")
    }

    /// Runs `work` on this engine's threads.
    pub(crate) fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

/// Rows in host memory, read by the CPU.
pub(crate) struct CpuRows<'a> {
    engine: &'a CpuEngine,
    rows: &'a Rows<'a>,
    zeros: OnceLock<Vec<f32>>,
    given: Arc<[f32]>,
    traffic: Traffic,
}

impl<'a> CpuRows<'a> {
    pub(crate) fn new(engine: &'a CpuEngine, rows: &'a Rows<'a>) -> Self {
        Self { engine, rows, zeros: OnceLock::new(), given: Arc::default(), traffic: Traffic::default() }
    }

    fn row(&self, i: usize) -> Values<'_> {
        match i {
            ORIGIN => Values::F32(self.zeros.get_or_init(|| vec![0.0; self.d()])),
            GIVEN => Values::F32(&self.given),
            i => self.rows.values(i),
        }
    }

    fn some(&self, rows: &[usize]) -> Vec<Values<'_>> {
        rows.iter().map(|&i| self.row(i)).collect()
    }

    fn bytes(&self, values: usize) -> u64 {
        (values * self.rows.dtype().size()) as u64
    }

    fn count(&mut self, rows: usize) {
        self.traffic.passes += 1;
        self.traffic.read += self.bytes(rows * self.rows.d());
    }
}

impl Passes for CpuRows<'_> {
    type Out = [f32];

    fn n(&self) -> usize {
        self.rows.n()
    }

    fn d(&self) -> usize {
        self.rows.d()
    }

    fn on_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.n() {
            ..=parallel::ALONE => work(),
            _ => self.engine.on_threads(|| rayon::scope(|_| work())),
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn give(&mut self, row: Arc<[f32]>) {
        self.given = row;
    }

    async fn sample(&mut self, rows: &[usize], columns: &[usize]) -> Result<Vec<f32>> {
        if columns.len() == self.d() {
            self.count(rows.len());
        } else {
            self.traffic.read += self.bytes(rows.len() * columns.len());
        }
        let slices = self.some(rows);
        let mut values = vec![0.0; rows.len() * columns.len()];
        let runs: Vec<&[usize]> = columns.chunk_by(|a, b| a + 1 == *b).collect();
        self.engine.on_threads(|| {
            let rows = values.par_chunks_mut(columns.len().max(1)).zip(&slices).with_min_len(ALONE / columns.len().max(1));
            rows.for_each(|(values, row)| row.gather(&runs, values));
        });
        Ok(values)
    }

    async fn gram(&mut self, rows: &[usize], frames: &[Frame<'_>]) -> Result<Running> {
        self.count(rows.len());
        let slices = self.some(rows);
        let about = |centre: Centre| match centre {
            Centre::Row(i) => gram::About::Row(self.row(i)),
            Centre::Median { voters } => gram::About::Median { voters },
        };
        let views: Vec<_> = frames.iter().map(|frame| (about(frame.centre), frame.scales)).collect();
        Ok(self.engine.on_threads(|| gram::gram(Level::new(), &slices, &views)))
    }

    /// In f64, where no centre is needed.
    async fn mix(&mut self, terms: &[Term], _centre: usize, out: &mut [f32]) -> Result<Vec<usize>> {
        self.count(terms.len());
        let terms: Vec<_> = terms.iter().map(|t| (self.row(t.row), *t)).collect();
        Ok(self.engine.on_threads(|| mix::mix(Level::new(), &terms, out)))
    }

    async fn coordinate(&mut self, what: &Columns<'_>, out: &mut [f32]) -> Result<Found> {
        self.count(what.rows.len());
        let slices = self.some(what.rows);
        let notes = self.engine.on_threads(|| coordinate::coordinate(Level::new(), &slices, what, out));
        let bad = what.rows.iter().zip(notes.bad).filter(|(_, bad)| *bad).map(|(row, _)| *row).collect();
        Ok(Found { bad, outside: if what.diagnose { notes.outside } else { Vec::new() } })
    }

    async fn deviations(&mut self, rows: &[usize], mixed: Mixed<'_>, sizes: &[f32]) -> Result<Vec<ExactSum>> {
        self.count(rows.len());
        let slices = self.some(rows);
        let d = self.d();
        Ok(self.engine.on_threads(|| deviations::deviations(Level::new(), &slices, mixed.mixing, d, sizes)))
    }

    async fn copy_row(&mut self, row: usize, out: &mut [f32]) -> Result<()> {
        self.row(row).copy_to(out);
        Ok(())
    }

    async fn plain(&mut self, what: Plain, room: &mut [u16]) -> Result<u16> {
        self.count(self.rows.n());
        let rows: Vec<&[u16]> = self.rows.slices().map(bytemuck::cast_slice).collect();
        Ok(match what {
            Plain::Read => self.engine.on_threads(|| plain::read(&rows)),
            Plain::Copy => self.engine.on_threads(|| plain::copy(&rows, room)),
            Plain::Upload => 0,
        })
    }

    async fn weiszfeld_round(
        &mut self,
        rows: &[usize],
        centre: usize,
        scales: &[f32],
        state: &Weiszfelds,
    ) -> Result<(Vec<ExactSum>, Vec<u32>)> {
        self.count(rows.len());
        let slices = self.some(rows);
        let centre = self.row(centre);
        Ok(self.engine.on_threads(|| mix::weiszfeld_round(&slices, centre, scales, state)))
    }
}

/// Every build of the kernels that this machine can run, the one without vectors included.
#[cfg(test)]
fn levels() -> Vec<Level> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut levels = vec![Level::new(), Level::fallback()];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(Level::new().as_avx2().map(Level::Avx2));
        levels.extend(Level::new().as_sse4_2().map(Level::Sse4_2));
        levels.extend(Level::new().as_sse2().map(Level::Sse2));
    }
    levels
}

/// Room in which rows of halves are widened.
#[derive(Default)]
pub(crate) struct Widened(Vec<Vec<f32>>);

impl Widened {
    /// Room for so many rows.
    fn rooms(&mut self, rows: usize) -> &mut [Vec<f32>] {
        self.0.resize_with(self.0.len().max(rows), Vec::new);
        &mut self.0
    }

    /// Some columns of the rows as f32: where they lie, or widened; `meanwhile` before each row.
    fn columns<'a>(&'a mut self, rows: &[Values<'a>], columns: Range<usize>, mut meanwhile: impl FnMut()) -> Vec<&'a [f32]> {
        let some = |(row, room): (&Values<'a>, &'a mut Vec<f32>)| {
            meanwhile();
            row.some_f32(columns.clone(), room)
        };
        rows.iter().zip(self.rooms(rows.len())).map(some).collect()
    }
}

/// What blocks of columns leave beside the result.
pub(crate) struct Notes {
    /// For each row: does it hold a NaN or an infinity?
    pub(crate) bad: Vec<bool>,
    /// For each ordered value: in how many columns is it outside of those kept?
    pub(crate) outside: Vec<u64>,
    /// Room for a copy of a tile.
    unsorted: Vec<coordinate::Wire>,
}

/// Cuts `out` into blocks of [`BLOCK`] columns, gives each to a thread with its first column, and gathers what they note of n rows
/// and m ordered values.
fn noted_blocks(n: usize, m: usize, out: &mut [f32], work: impl Fn(usize, &mut [f32], &mut Notes, &mut Widened) + Sync) -> Notes {
    let none = || Notes { bad: vec![false; n], outside: vec![0; m], unsorted: Vec::new() };
    let start = || (none(), Widened::default());
    let notes = out.par_chunks_mut(BLOCK).enumerate().fold(start, |(mut notes, mut room), (b, out)| {
        work(b * BLOCK, out, &mut notes, &mut room);
        (notes, room)
    });
    notes.map(|(notes, _)| notes).reduce(none, |mut a, b| {
        a.bad.iter_mut().zip(b.bad).for_each(|(a, b)| *a |= b);
        a.outside.iter_mut().zip(b.outside).for_each(|(a, b)| *a += b);
        a
    })
}
