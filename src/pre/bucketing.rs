use super::PreAggregation;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Mixing, Wants};
use crate::parameters::Parameters;
use crate::plan::{Solution, Solve};
use crate::rules::{literal, spec_of};
use std::sync::Arc;

/// Bucketing: a seeded random permutation of the rows, then the means of consecutive groups of s; the last group may be smaller.
///
/// - Requirement: f < n/2, s ≥ 1. Each Byzantine row spoils one bucket, so what follows needs f < ⌈n/s⌉/2.
/// - Cost: no read of its own. Draw anew in every step: [`Rule::redrawn`](crate::Rule::redrawn).
/// - Source: Karimireddy, He and Jaggi, ICLR 2022.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucketing {
    /// Rows of a bucket; 2 by default.
    pub s: usize,
    /// Seed of the permutation; 0 by default.
    pub seed: u64,
}

impl Default for Bucketing {
    fn default() -> Self {
        Self { s: 2, seed: 0 }
    }
}

impl Bucketing {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            s: p.option("s", "rows in a group: 2 by default")?.unwrap_or(default.s),
            seed: p.option("seed", "of the groups: 0 by default")?.unwrap_or(default.seed),
        })
    }

    /// The rows of each bucket.
    pub fn buckets(&self, n: usize) -> Vec<Vec<usize>> {
        let mut rows: Vec<usize> = (0..n).collect();
        fastrand::Rng::with_seed(self.seed).shuffle(&mut rows);
        rows.chunks(self.s).map(<[usize]>::to_vec).collect()
    }
}

impl PreAggregation for Bucketing {
    fn name(&self) -> &'static str {
        "bucketing"
    }
    fn spec(&self) -> String {
        let default = Self::default();
        let s = (self.s != default.s).then(|| format!("s={}", self.s));
        spec_of(self.name(), [s, (self.seed != default.seed).then(|| format!("seed={}", self.seed))])
    }
    fn redrawn(&self, draw: u64) -> Option<Arc<dyn PreAggregation>> {
        Some(Arc::new(Self { seed: self.seed.wrapping_add(draw), ..*self }))
    }
    fn definition(&self) -> &'static str {
        "means of random groups of s = 2 rows (seed = 0)"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        if self.s == 0 {
            return Err(Error::parameter(self.name(), "s", 0, "at least 1"));
        }
        if n > 0 && f < n.div_ceil(2) {
            return Ok(());
        }
        Err(Error::Requirement { rule: self.name().into(), n, f, needs: self.needs().into() })
    }
    fn rows(&self, n: usize) -> usize {
        n.div_ceil(self.s)
    }
    fn solver(&self, n: usize, _f: usize) -> Box<dyn Solve> {
        Box::new(Buckets(Mixing::means(self.buckets(n), n)))
    }
    fn reference(&self, rows: &[Vec<f64>], _f: usize) -> Vec<Vec<f64>> {
        self.buckets(rows.len()).iter().map(|bucket| literal::mean(rows, bucket)).collect()
    }
}

#[derive(Debug)]
struct Buckets(Mixing);

impl Solve for Buckets {
    fn wants(&self) -> Wants {
        Wants::nothing()
    }
    fn solve(&self, _geometry: &Geometry) -> Result<Solution> {
        Ok(Solution::new(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_a_partition_that_the_seed_decides() {
        for (n, s) in [(1, 1), (7, 2), (8, 2), (9, 4), (5, 9)] {
            let buckets = Bucketing { s, seed: 3 }.buckets(n);
            assert_eq!(buckets.len(), Bucketing { s, seed: 3 }.rows(n));
            assert!(buckets.iter().rev().skip(1).all(|b| b.len() == s));
            let mut all = buckets.concat();
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
        let with = |seed| Bucketing { s: 2, seed }.buckets(20);
        assert!(with(1) == with(1) && with(1) != with(2));
        let rows: Vec<Vec<f64>> = (0..4).map(|i| vec![f64::from(i)]).collect();
        assert_eq!(Bucketing { s: 4, seed: 9 }.reference(&rows, 1), [[1.5]]);
    }
}
