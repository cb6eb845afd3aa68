//! The few columns that are looked at before the data is read: they give a pivot row and the scale of each row.

use crate::dtype::Values;
use crate::engines::cpu::gram::{self, About};
use crate::engines::keys::{EXPONENT, magnitude};
use crate::engines::pair_sums::Sums;
use crate::gram::Gram;
use fearless_simd::Level;

/// Columns drawn in runs of this many, one cache line each.
const RUN: usize = 16;

/// Share of the columns that are drawn at most, but for [`FEW`] of them: a look must cost little beside a read.
const SHARE: usize = 8;
/// Columns that are drawn in any case.
const FEW: usize = 1024;

/// About `want` of d columns, or an eighth of them, ascending; all of them when d is no more.
pub(crate) fn columns(d: usize, want: usize, seed: u64) -> Vec<usize> {
    if d <= want.max(RUN) {
        return (0..d).collect();
    }
    let want = want.max(1).min((d / SHARE).max(FEW));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut runs: Vec<usize> = (0..want.div_ceil(RUN)).map(|_| random.usize(0..d / RUN)).collect();
    runs.sort_unstable();
    runs.dedup();
    runs.into_iter().flat_map(|r| r * RUN..(r + 1) * RUN).collect()
}

/// A power of two that brings a row of this largest magnitude (as bits) near 1; 1 for ordinary rows.
pub(crate) fn scale(largest: u32) -> f32 {
    scale_of(if largest < EXPONENT { f64::from(f32::from_bits(largest)) } else { 1.0 })
}

/// A power of two that brings a size near 1; 1 for ordinary ones, and for zero.
pub(crate) fn scale_of(size: f64) -> f32 {
    let exponent = if size > 0.0 { size.log2().floor().clamp(-126.0, 126.0) as i32 } else { 0 };
    if exponent.abs() <= 30 { 1.0 } else { 2f32.powi(-exponent) }
}

/// One scale a row, for rows of these largest magnitudes centred on something no larger than `centre`.
pub(crate) fn scales_about(largest: &[u32], centre: u32) -> Vec<f32> {
    largest.iter().map(|&l| scale(l.max(centre))).collect()
}

/// Index of the ⌈m/2⌉-th largest value.
pub(crate) fn middle(largest: &[u32]) -> usize {
    let mut order: Vec<usize> = (0..largest.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(largest[i]));
    order.get(largest.len().div_ceil(2).saturating_sub(1)).copied().unwrap_or(0)
}

/// Did the scale serve a row of this largest magnitude? Squares of scaled values up to 2⁵⁰ can be summed in f32, and those
/// of values from 2⁻⁵⁰ on do not vanish.
pub(crate) fn fits(largest: u32, scale: f32) -> bool {
    let scaled = f64::from(f32::from_bits(largest)) * f64::from(scale);
    largest == 0 || (2f64.powi(-50)..=2f64.powi(50)).contains(&scaled)
}

/// Index of the largest weight, the lowest of equal ones.
pub(crate) fn heaviest(weights: &[f64]) -> usize {
    (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]).then(b.cmp(&a))).unwrap_or(0)
}

/// What the sample says of `rows` (indices into the matrix) and of the virtual rows behind them.
pub(crate) struct Sample {
    /// Does the sample hold all columns?
    pub(crate) whole: bool,
    /// The rows without NaN or infinite values in the sample.
    pub(crate) finite: Vec<usize>,
    /// For each of `finite`, then for each virtual row: its largest magnitude in the sample.
    pub(crate) largest: Vec<u32>,
    /// Inner products of `finite` and of the virtual rows over the sampled columns.
    pub(crate) gram: Gram,
    /// The same centred on the first virtual row, if there is one.
    pub(crate) anchored: Option<Gram>,
}

impl Sample {
    /// From `width` values of each row; centred on the origin, or else on the median of the columns.
    pub(crate) fn new(rows: &[usize], values: &[f32], width: usize, whole: bool, origin: bool) -> Self {
        let (mut finite, mut largest, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..values.len().checked_div(width).unwrap_or(0) {
            let slice = &values[at * width..(at + 1) * width];
            let top = slice.iter().map(|v| magnitude(v.to_bits())).max().unwrap_or(0);
            // Virtual rows are finite.
            if top < EXPONENT {
                finite.extend(rows.get(at));
                largest.push(top);
                kept.push(Values::F32(slice));
            }
        }
        let voters = finite.len();
        if finite.is_empty() {
            return Self { whole, finite, largest, gram: Gram::new(0, Vec::new()).expect("no products"), anchored: None };
        }
        let zeros = if origin { vec![0.0; width] } else { Vec::new() };
        let (about, size) = match origin {
            true => (About::Row(Values::F32(&zeros)), 0),
            false => (About::Median { voters }, largest[middle(&largest[..voters])]),
        };
        let anchor = kept.get(voters).map(|row| (About::Row(*row), scales_about(&largest, largest[voters])));
        let frames: Vec<_> = [(about, scales_about(&largest, size))].into_iter().chain(anchor).collect();
        let views: Vec<_> = frames.iter().map(|(about, scales)| (*about, &scales[..])).collect();
        let scales: Vec<_> = frames.iter().map(|(_, scales)| &scales[..]).collect();
        let (gram, anchored) = reconciled(&gram::gram(Level::new(), &kept, &views).finish(), &scales);
        Self { whole, gram, anchored, finite, largest }
    }

    /// The row (an index into `finite`) of least Krum score with half of the others as neighbours, whatever f the caller
    /// gives: f = 0 would let a far row win.
    pub(crate) fn pivot(&self) -> usize {
        most_central(&self.gram.of_first(self.finite.len()))
    }
}

/// The row of least score.
pub(crate) fn most_central(gram: &Gram) -> usize {
    let scores = central_scores(gram);
    (0..scores.len()).min_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
}

/// Krum scores with ⌈n/2⌉ − 1 neighbours.
pub(crate) fn central_scores(gram: &Gram) -> Vec<f64> {
    gram.krum_scores(gram.n().div_ceil(2).saturating_sub(1))
}

/// The inner products of a frame and, if there is one, of a second; each refined by what the other sees more clearly.
pub(crate) fn reconciled(sums: &Sums, scales: &[&[f32]]) -> (Gram, Option<Gram>) {
    let mut frames = sums.products.iter().zip(scales).map(|(products, scales)| unscaled(products, scales));
    let first = frames.next().expect("a frame");
    match frames.next() {
        Some(second) => (first.refined_by(&second), Some(second.refined_by(&first))),
        None => (first, None),
    }
}

/// Inner products of scaled rows back to those of the rows. Exact: scales are powers of two.
fn unscaled(products: &[f64], scales: &[f32]) -> Gram {
    let n = scales.len();
    let s: Vec<f64> = scales.iter().map(|s| f64::from(*s)).collect();
    Gram::of(n, |i, j| products[i * n + j] / s[i] / s[j])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_powers_of_two_for_every_magnitude() {
        for bits in (0..EXPONENT).step_by(12_345).chain([1, EXPONENT - 1, EXPONENT, 0x7fff_ffff]) {
            let s = scale(bits);
            assert!(s.is_normal() && s.to_bits() & 0x7f_ffff == 0, "{bits:x}");
            if bits > 0 && bits < EXPONENT {
                let scaled = f64::from(f32::from_bits(bits)) * f64::from(s);
                assert!((2f64.powi(-30)..2f64.powi(31)).contains(&scaled), "{bits:x}: {scaled}");
            }
        }
    }

    #[test]
    fn columns_are_ascending_distinct_and_in_range() {
        for d in [0, 1, 100, 101, 5000, 1 << 20] {
            assert_eq!(columns(d, 0, 7).is_empty(), d == 0);
            let c = columns(d, 100, 7);
            assert!(c.windows(2).all(|w| w[0] < w[1]) && c.iter().all(|&k| k < d));
            assert!(c.len() <= 112 && c.len() >= d.min(32));
        }
    }
}
