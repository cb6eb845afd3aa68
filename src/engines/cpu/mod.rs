//! The CPU engine: the same plans on threads and SIMD lanes. It is the fallback where there is no GPU, and verifies it.
//!
//! Columns are cut into blocks of [`BLOCK`] aligned to the first one, so that results do not depend on the number of threads.
//! Each kernel is compiled for AVX-512, AVX2 with FMA, and portably, and chosen at run time.

/// Compiles a function for AVX-512, for AVX2 with FMA, and portably; the machine's best is chosen at run time.
macro_rules! simd {
    ($function:item) => {
        #[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+fma", "x86_64+avx2+fma"))]
        $function
    };
}

pub(crate) mod coordinate;
pub(crate) mod gram;
pub(crate) mod mix;
pub(crate) mod momentum;

use crate::engines::pair_sums::Sums;
use crate::engines::passes::{Centre, Passes, Term, Traffic, Weiszfelds};
use crate::error::{Error, Result};
use crate::plan::{Stat, Weiszfeld};
use crate::rows::Rows;
use rayon::prelude::*;
use std::sync::Arc;

/// Columns whose products are summed in f32 before they are added exactly.
pub(crate) const BLOCK: usize = 4096;

/// Settings of the CPU engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Threads; `None` for rayon's global pool (as many as cores).
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
        if threads == 0 {
            return Err(Error::parameter("cpu", "threads", 0, "at least 1"));
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
    traffic: Traffic,
}

impl<'a> CpuRows<'a> {
    pub(crate) fn new(engine: &'a CpuEngine, rows: &'a Rows<'a>) -> Self {
        Self { engine, rows, traffic: Traffic::default() }
    }

    fn some(&self, rows: &[usize]) -> Vec<&'a [f32]> {
        rows.iter().map(|&i| self.rows.row(i)).collect()
    }

    fn count(&mut self, rows: usize) {
        self.traffic.passes += 1;
        self.traffic.read += (rows * self.rows.d() * size_of::<f32>()) as u64;
    }
}

impl Passes for CpuRows<'_> {
    fn n(&self) -> usize {
        self.rows.n()
    }

    fn d(&self) -> usize {
        self.rows.d()
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    async fn sample(&mut self, rows: &[usize], columns: &[usize]) -> Result<Vec<f32>> {
        if columns.len() == self.d() {
            self.count(rows.len());
        } else {
            self.traffic.read += (rows.len() * columns.len() * size_of::<f32>()) as u64;
        }
        Ok(self.some(rows).iter().flat_map(|row| columns.iter().map(|&k| row[k])).collect())
    }

    async fn gram(&mut self, rows: &[usize], centre: Centre, scales: &[f32]) -> Result<Sums> {
        self.count(rows.len());
        let slices = self.some(rows);
        let pivot = match centre {
            Centre::Row(i) => Some(self.rows.row(i)),
            Centre::Median => None,
        };
        Ok(self.engine.on_threads(|| gram::gram(&slices, pivot, scales)))
    }

    async fn mix(&mut self, terms: &[Term], centre: usize, out: &mut [f32]) -> Result<Vec<usize>> {
        self.count(terms.len());
        let terms: Vec<_> = terms.iter().map(|t| (self.rows.row(t.row), *t)).collect();
        let centre = self.rows.row(centre);
        Ok(self.engine.on_threads(|| mix::mix(&terms, centre, out)))
    }

    async fn coordinate(&mut self, rows: &[usize], stat: Stat, out: &mut [f32]) -> Result<Vec<usize>> {
        self.count(rows.len());
        let slices = self.some(rows);
        let bad = self.engine.on_threads(|| coordinate::coordinate(&slices, stat, out));
        Ok(bad.into_iter().map(|i| rows[i]).collect())
    }

    async fn copy_row(&mut self, row: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(self.rows.row(row));
        Ok(())
    }

    async fn weiszfeld(&mut self, rows: &[usize], centre: usize, scales: &[f32], how: Weiszfeld) -> Result<Weiszfelds> {
        let slices = self.some(rows);
        let centre = self.rows.row(centre);
        let found = self.engine.on_threads(|| mix::weiszfeld(&slices, centre, scales, how));
        for _ in 0..found.rounds {
            self.count(rows.len());
        }
        Ok(found)
    }
}

/// Cuts `out` into blocks of [`BLOCK`] columns, gives each to a thread with its first column, and gathers the indices
/// that any block flagged.
fn flagged_blocks(n: usize, out: &mut [f32], work: impl Fn(usize, &mut [f32], &mut [bool]) + Sync) -> Vec<usize> {
    let or = |mut a: Vec<bool>, b: Vec<bool>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
        a
    };
    let none = || vec![false; n];
    let flags = out.par_chunks_mut(BLOCK).enumerate().fold(none, |mut flags, (b, out)| {
        work(b * BLOCK, out, &mut flags);
        flags
    });
    let flags = flags.reduce(none, or);
    (0..n).filter(|&i| flags[i]).collect()
}
