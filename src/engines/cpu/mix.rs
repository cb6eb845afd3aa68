//! Weighted sums of rows, and rounds of Weiszfeld's iteration on the data, which need the sum and the distances to it in one read.

use super::ahead::LINE;
use super::{BLOCK, Widened};
use crate::dtype::{Dtype, Values};
use crate::engines::exact_sum::ExactSum;
use crate::engines::keys::{EXPONENT, magnitude};
use crate::engines::passes::{Term, Weiszfelds};
use fearless_simd::{Level, Simd, dispatch, prelude::*};
use rayon::prelude::*;

/// Rows that are added together: few streams at a time are read ahead of, and their sums are loaded and stored once.
const TOGETHER: usize = 8;

/// Columns of halves that are added at a time: widened they stay in the first-level cache.
const PIECE: usize = 512;

/// y = Σ w_i x_i into `out`; the matrix indices of rows with NaN or infinite values.
pub(crate) fn mix(level: Level, terms: &[(Values<'_>, Term)], out: &mut [f32]) -> Vec<usize> {
    let step = if terms.iter().all(|(row, _)| row.dtype() == Dtype::F32) { BLOCK } else { PIECE };
    let notes = super::noted_blocks(terms.len(), 0, out, |first, out, notes, room| {
        let columns = first..first + out.len();
        let mut sums = [0.0; BLOCK];
        let finite = dispatch!(level, simd => {
            for terms in terms.chunks(TOGETHER) {
                for at in (0..out.len()).step_by(step) {
                    accumulate(simd, terms, first + at, room, &mut sums[at..out.len().min(at + step)]);
                }
            }
            finish(&sums, out)
        });
        // Finite values have finite sums: f64 holds them all.
        if !finite {
            for ((row, _), bad) in terms.iter().zip(&mut notes.bad) {
                *bad |= columns.clone().any(|k| magnitude(row.at(k).to_bits()) >= EXPONENT);
            }
            out.iter_mut().zip(columns).for_each(|(y, k)| propagate(terms.iter().map(|(row, _)| row.at(k)), y));
        }
    });
    terms.iter().zip(notes.bad).filter(|(_, bad)| *bad).map(|((_, term), _)| term.row).collect()
}

/// sums += Σ w x in f64, where nothing overflows and far rows may cancel.
#[inline(always)]
fn accumulate<S: Simd>(simd: S, terms: &[(Values<'_>, Term)], at: usize, room: &mut Widened, sums: &mut [f64]) {
    let width = sums.len();
    let whole = width / S::f32s::LEN * S::f32s::LEN;
    let mut rows: [(&[f32], f64); TOGETHER] = [(&[], 0.0); TOGETHER];
    for ((row, (values, term)), room) in rows.iter_mut().zip(terms).zip(room.rooms(TOGETHER)) {
        if values.dtype() != Dtype::F32 {
            // Short pieces end before the processor reads ahead.
            values.ask((at + PIECE..at + 2 * PIECE).step_by(LINE / values.dtype().size()));
        }
        *row = (values.slice(at..at + width).f32(room), term.exact);
    }
    macro_rules! of_rows {
        ($($n:literal)*) => {
            match terms.len() {
                $($n => of_rows::<S, $n>(simd, &rows, &mut sums[..whole]),)*
                _ => {}
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8);
    for k in whole..width {
        for (row, weight) in &rows[..terms.len()] {
            sums[k] += weight * f64::from(row[k]);
        }
    }
}

/// The same of N rows and whole vectors.
#[inline(always)]
fn of_rows<S: Simd, const N: usize>(simd: S, rows: &[(&[f32], f64); TOGETHER], sums: &mut [f64]) {
    let (width, half) = (S::f32s::LEN, S::f64s::LEN);
    for at in (0..sums.len()).step_by(width) {
        let sums = &mut sums[at..at + width];
        let (mut low, mut high) = (S::f64s::from_slice(simd, &sums[..half]), S::f64s::from_slice(simd, &sums[half..]));
        for (row, weight) in &rows[..N] {
            let values = S::f32s::from_slice(simd, &row[at..at + width]).widen();
            low += values.0 * *weight;
            high += values.1 * *weight;
        }
        low.store_slice(&mut sums[..half]);
        high.store_slice(&mut sums[half..]);
    }
}

/// y = sum, kept within the finite values; are all sums finite?
#[inline(always)]
fn finish(sums: &[f64; BLOCK], out: &mut [f32]) -> bool {
    let mut finite = true;
    for (y, s) in out.iter_mut().zip(sums) {
        finite &= s.abs() < f64::INFINITY;
        *y = s.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
    }
    finite
}

/// A weighted sum with values that are not finite: NaN where one is NaN or both infinities meet, else the infinity.
fn propagate(values: impl Iterator<Item = f32>, y: &mut f32) {
    let infinite: f32 = values.filter(|v| !v.is_finite()).sum();
    if infinite != 0.0 {
        *y = if infinite.is_nan() { f32::NAN } else { infinite };
    }
}

/// Columns of which squares are summed side by side; part of the definition of the result's bits.
const LANES: usize = 256;

/// A round of Weiszfeld's iteration, in one read: z = c + Σ w_i (x_i − c), and of each row Σ_k (s_i(x_ik − z_k))² and the largest magnitude.
pub(crate) fn weiszfeld_round(
    rows: &[Values<'_>],
    centre: Values<'_>,
    scales: &[f32],
    state: &Weiszfelds,
) -> (Vec<ExactSum>, Vec<u32>) {
    let (m, d) = (rows.len(), centre.len());
    let all = [rows, &[centre]].concat();
    let zero = || (vec![ExactSum::default(); m], vec![0u32; m]);
    let start = || (zero(), Widened::default());
    let blocks = (0..d.div_ceil(BLOCK)).into_par_iter().fold(start, |((mut sums, mut largest), mut room), block| {
        let (first, last) = (block * BLOCK, d.min((block + 1) * BLOCK));
        let mut lanes = vec![[0.0f32; LANES]; m];
        for at in (first..last).step_by(LANES) {
            let tile = room.columns(&all, at..last.min(at + LANES), || ());
            let (rows, centre) = (&tile[..m], tile[m]);
            let mut z = [0.0; LANES];
            for i in 0..m {
                let top = toward(rows[i], centre, scales[i], state.scaled_weights[i], &mut z);
                largest[i] = largest[i].max(top);
            }
            for i in 0..m {
                squares(rows[i], centre, (scales[i], state.shrinks[i]), &z, &mut lanes[i]);
            }
        }
        sums.iter_mut().zip(&lanes).for_each(|(s, l)| s.add(tree_sum(l)));
        ((sums, largest), room)
    });
    blocks.map(|(found, _)| found).reduce(zero, |(mut a, mut x), (b, y)| {
        a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
        x.iter_mut().zip(&y).for_each(|(x, y)| *x = (*x).max(*y));
        (a, x)
    })
}

simd! {
    fn toward(row: &[f32], centre: &[f32], scale: f32, w: f32, z: &mut [f32; LANES]) -> u32 {
        let mut largest = 0;
        for ((z, x), c) in z.iter_mut().zip(row).zip(centre) {
            largest = largest.max(magnitude(x.to_bits()));
            *z += w * (scale * x - scale * c);
        }
        largest
    }
}

simd! {
    fn squares(row: &[f32], centre: &[f32], (scale, shrink): (f32, f32), z: &[f32; LANES], lanes: &mut [f32; LANES]) {
        for (((l, x), c), z) in lanes.iter_mut().zip(row).zip(centre).zip(z) {
            let r = (scale * x - scale * c) - shrink * z;
            *l += r * r;
        }
    }
}

/// Sum by halves: the same order whatever the machine.
pub(super) fn tree_sum<const N: usize>(lanes: &[f32; N]) -> f32 {
    let mut lanes = *lanes;
    let mut width = N / 2;
    while width > 0 {
        for k in 0..width {
            lanes[k] += lanes[k + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::cpu::levels;

    /// Every build adds in the same order and fuses nothing.
    #[test]
    fn every_build_gives_the_same_bits() {
        let mut random = fastrand::Rng::with_seed(6);
        let d = BLOCK + 37;
        for n in [1, 7, 8, 9, 25] {
            let mut rows: Vec<Vec<f32>> =
                (0..n).map(|_| (0..d).map(|_| (random.f32() - 0.5) * 2f32.powi(random.i32(-99..99))).collect()).collect();
            rows[n / 2][d - 1] = f32::NEG_INFINITY;
            let terms: Vec<_> =
                rows.iter().enumerate().map(|(i, row)| (Values::from(&row[..]), Term::new(i, random.f64() - 0.3))).collect();
            let expected = |k: usize| terms.iter().map(|(row, t)| t.exact * f64::from(row.at(k))).sum::<f64>() as f32;
            for level in levels() {
                let mut out = vec![f32::NAN; d];
                assert_eq!(mix(level, &terms, &mut out), [n / 2], "{level:?}");
                assert!((0..d - 1).all(|k| out[k].to_bits() == (expected(k) + 0.0).to_bits()), "{level:?}");
                assert_eq!(out[d - 1], f32::NEG_INFINITY, "{level:?}");
            }
        }
    }
}
