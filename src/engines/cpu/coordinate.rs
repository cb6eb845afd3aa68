//! Coordinate-wise statistics: one read, a pruned network over tiles of columns that stay in the first-level cache.

use crate::engines::keys::{EXPONENT, key, magnitude, value};
use crate::engines::network::Network;
use crate::plan::Stat;

/// Columns of a tile: each wire of the network is this many lanes wide.
pub(crate) const LANES: usize = 64;

/// One wire of the network: the keys of one row, then of one rank, in each column of the tile.
pub(crate) type Wire = [i32; LANES];

/// y_k = stat(x_1k, …, x_nk) into `out`; the indices of rows with NaN or infinite values.
pub(crate) fn coordinate(rows: &[&[f32]], stat: Stat, out: &mut [f32]) -> Vec<usize> {
    let network = Network::new(stat, rows.len());
    super::flagged_blocks(rows.len(), out, |first, out, flags| {
        let mut wires = vec![[0; LANES]; rows.len()];
        for (t, out) in out.chunks_mut(LANES).enumerate() {
            load(rows, first + t * LANES, out.len(), &mut wires, flags);
            exchange(&network, &mut wires);
            match stat {
                Stat::Ranks { from, to } if to - from == 1 => {
                    out.iter_mut().zip(&wires[from]).for_each(|(y, k)| *y = value(*k));
                }
                Stat::Ranks { from, to } => mean(&wires[from..to], out),
                Stat::NearestMedian { keep } => nearest_median(&wires, keep, out),
            }
        }
    })
}

/// Keys of `width` columns from `first` on; lanes beyond `width` keep what they held. Flags rows with NaN or infinities.
pub(crate) fn load(rows: &[&[f32]], first: usize, width: usize, wires: &mut [Wire], flags: &mut [bool]) {
    for ((row, wire), flag) in rows.iter().zip(wires).zip(flags) {
        let row = &row[first..first + width];
        *flag |= match <&[f32; LANES]>::try_from(row) {
            Ok(row) => load_wire(row, wire),
            Err(_) => load_wire(row, &mut wire[..width]),
        };
    }
}

#[inline(always)]
fn load_wire(row: &[f32], wire: &mut [i32]) -> bool {
    let mut largest = 0;
    for (k, v) in wire.iter_mut().zip(row) {
        largest = largest.max(magnitude(v.to_bits()));
        *k = key(v.to_bits() as i32);
    }
    largest >= EXPONENT
}

simd! {
    /// Runs the network: integer minima and maxima, no branches.
    pub(crate) fn exchange(network: &Network, wires: &mut [Wire]) {
        for &(i, j) in &network.exchanges {
            let (head, tail) = wires.split_at_mut(j);
            let (low, high) = (&mut head[i], &mut tail[0]);
            for (a, b) in low.iter_mut().zip(high.iter_mut()) {
                (*a, *b) = ((*a).min(*b), (*a).max(*b));
            }
        }
    }
}

simd! {
    /// Mean of whole wires, in f64: no overflow, and correct to the last bit but for one final rounding.
    fn mean(wires: &[Wire], out: &mut [f32]) {
        let mut sums = [0.0f64; LANES];
        for wire in wires {
            for (s, k) in sums.iter_mut().zip(wire) {
                *s += f64::from(value(*k));
            }
        }
        let m = wires.len() as f64;
        out.iter_mut().zip(sums).for_each(|(y, s)| *y = (s / m) as f32);
    }
}

simd! {
    /// Mean of the `keep` values nearest the median c. The kept values are consecutive in order, and of the pair of ranks
    /// (s, s + keep), s < n − keep, exactly one is kept: the lower one unless it is farther from c.
    fn nearest_median(wires: &[Wire], keep: usize, out: &mut [f32]) {
        let n = wires.len();
        let (a, b) = (&wires[(n - 1) / 2], &wires[n / 2]);
        let mut sums = [0.0f64; LANES];
        for wire in &wires[n - keep..keep] {
            for (s, k) in sums.iter_mut().zip(wire) {
                *s += f64::from(value(*k));
            }
        }
        for (low, high) in wires[..n - keep].iter().zip(&wires[keep..]) {
            for t in 0..LANES {
                let nearest = if lower_is_farther(a[t], b[t], low[t], high[t]) { high[t] } else { low[t] };
                sums[t] += f64::from(value(nearest));
            }
        }
        out.iter_mut().zip(sums).for_each(|(y, s)| *y = (s / keep as f64) as f32);
    }
}

/// Is c − low > high − c for c = (a + b)/2, that is a + b > low + high, decided exactly? A value that is not finite is
/// farther than any other. Takes keys.
#[inline(always)]
fn lower_is_farther(a: i32, b: i32, low: i32, high: i32) -> bool {
    let bad = |k: i32| magnitude(key(k) as u32) >= EXPONENT;
    let exact = |x: i32, y: i32| {
        // Rounded sum and its rounding error (Knuth): together the exact sum, so pairs compare as exact sums do.
        let (x, y) = (f64::from(value(x)), f64::from(value(y)));
        let s = x + y;
        let t = s - x;
        (s, (x - (s - t)) + (y - t))
    };
    let ((middle, m), (outer, o)) = (exact(a, b), exact(low, high));
    bad(low) | !bad(high) & ((middle > outer) | (middle == outer) & (m > o))
}
