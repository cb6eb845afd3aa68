//! Coordinate-wise statistics: one read, a pruned network over tiles of columns that stay in the first-level cache.

use super::Notes;
use crate::engines::exact_sum::ExactSum;
use crate::engines::keys::{EXPONENT, key, magnitude, value};
use crate::engines::network::Network;
use crate::engines::passes::{Columns, First};
use crate::plan::{Stat, Ties};

/// Columns of a tile: each wire of the network is this many lanes wide.
pub(crate) const LANES: usize = 64;

/// One wire of the network: the keys of one row, then of one rank, in each column of the tile.
pub(crate) type Wire = [i32; LANES];

/// y_k = stat((W·X)_k) into `out`. `rows` are those of `what`, `centre` the one that mixed rows are centred on.
pub(crate) fn coordinate(rows: &[&[f32]], what: &Columns<'_>, centre: &[f32], out: &mut [f32]) -> Notes {
    let m = what.first.values(rows.len());
    let network = Network::new(what.stat, m);
    let uses = match what.first {
        First::Mixed(mixed) => Uses::new(mixed.mixing),
        _ => Uses::default(),
    };
    super::noted_blocks(rows.len(), m, out, |first, out, notes| {
        let mut wires = vec![[0; LANES]; m];
        let mut sums = Vec::new();
        for (t, out) in out.chunks_mut(LANES).enumerate() {
            let at = first + t * LANES;
            match what.first {
                First::Mixed(_) => {
                    let centre = &centre[at..at + out.len()];
                    load_mixed(rows, centre, &uses, at, &mut sums, &mut wires, &mut notes.bad);
                }
                First::Rows | First::Counted(_) => load(rows, at, out.len(), &mut wires, &mut notes.bad),
            }
            let (low, high) = summarise(&network, what, &mut wires, &mut notes.unsorted, out);
            if what.diagnose {
                count_outside(&notes.unsorted, &low, &high, out.len(), &mut notes.outside);
            }
        }
    })
}

/// Replaces the keys of a tile by the statistic of each column; the least and the greatest key kept.
fn summarise(network: &Network, what: &Columns<'_>, wires: &mut [Wire], unsorted: &mut Vec<Wire>, out: &mut [f32]) -> (Wire, Wire) {
    let by_row = matches!(what.stat, Stat::Nearest { ties: Ties::LowerRow, .. });
    if what.diagnose || by_row {
        unsorted.clear();
        unsorted.extend_from_slice(wires);
    }
    exchange(network, wires);
    let copy = |wire: &Wire, out: &mut [f32]| {
        out.iter_mut().zip(wire).for_each(|(y, k)| *y = value(*k));
        (*wire, *wire)
    };
    match what.stat {
        Stat::Identity => copy(&wires[0], out),
        Stat::Ranks { from, to } if to - from == 1 => copy(&wires[from], out),
        Stat::Ranks { from, to } => {
            mean(&wires[from..to], out);
            if what.diagnose { range(&wires[from..to]) } else { ([0; LANES], [0; LANES]) }
        }
        Stat::Nearest { from, to, keep, .. } => {
            let unsorted = if by_row { &unsorted[..] } else { &[] };
            nearest(wires, from..to, keep, unsorted, out)
        }
        Stat::MajoritySign => sign_majority(wires, out),
        Stat::CountedMedian => counted_median(wires, counts(what), out),
        Stat::CountedTrimmedMean { trim } => counted_trimmed_mean(wires, counts(what), trim, out),
    }
}

fn counts<'a>(what: &Columns<'a>) -> &'a [u32] {
    match what.first {
        First::Counted(counts) => counts,
        _ => &[],
    }
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

/// Who uses a row: for each row the mixed rows that it goes into, with its weight there.
#[derive(Default)]
pub(crate) struct Uses(Vec<Vec<(usize, f64)>>);

impl Uses {
    pub(crate) fn new(mixing: &crate::geometry::Mixing) -> Self {
        let of = |j: usize| (0..mixing.rows()).map(|i| (i, mixing.weights(i)[j])).filter(|(_, w)| *w != 0.0).collect();
        Self((0..mixing.width()).map(of).collect())
    }
}

/// Keys of c + W (x − c), summed in f64, for `centre.len()` columns from `first` on.
pub(crate) fn load_mixed(
    rows: &[&[f32]],
    centre: &[f32],
    uses: &Uses,
    first: usize,
    sums: &mut Vec<[f64; LANES]>,
    wires: &mut [Wire],
    flags: &mut [bool],
) {
    sums.clear();
    sums.resize(wires.len(), [0.0; LANES]);
    for ((row, uses), flag) in rows.iter().zip(&uses.0).zip(flags) {
        *flag |= spread(&row[first..first + centre.len()], centre, uses, sums) >= EXPONENT;
    }
    for (wire, sum) in wires.iter_mut().zip(sums) {
        for (k, (s, c)) in wire.iter_mut().zip(sum.iter().zip(centre)) {
            let y = (f64::from(*c) + s).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
            *k = key(y.to_bits() as i32);
        }
    }
}

simd! {
    /// Adds w (x − c) to each mixed row that uses the row; the largest |x| as bits.
    fn spread(row: &[f32], centre: &[f32], uses: &[(usize, f64)], sums: &mut [[f64; LANES]]) -> u32 {
        let mut difference = [0.0f64; LANES];
        let mut largest = 0;
        for ((d, x), c) in difference.iter_mut().zip(row).zip(centre) {
            largest = largest.max(magnitude(x.to_bits()));
            *d = f64::from(*x) - f64::from(*c);
        }
        for &(i, w) in uses {
            for (s, d) in sums[i].iter_mut().zip(&difference) {
                *s += w * d;
            }
        }
        largest
    }
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
    /// The least and the greatest key of each column.
    fn range(wires: &[Wire]) -> (Wire, Wire) {
        let (mut low, mut high) = ([i32::MAX; LANES], [i32::MIN; LANES]);
        for wire in wires {
            for (t, k) in wire.iter().enumerate() {
                low[t] = low[t].min(*k);
                high[t] = high[t].max(*k);
            }
        }
        (low, high)
    }
}

simd! {
    /// For each row the number of columns in which its key is outside of low..=high.
    fn count_outside(wires: &[Wire], low: &Wire, high: &Wire, width: usize, outside: &mut [u64]) {
        for (wire, outside) in wires.iter().zip(outside) {
            let mut count = 0u32;
            for t in 0..width {
                count += u32::from((wire[t] < low[t]) | (wire[t] > high[t]));
            }
            *outside += u64::from(count);
        }
    }
}

/// Mean of the `keep` values nearest the mean of the `centre` ranks. The kept values are consecutive in order: of the ranks s and
/// s + keep not both are kept, and the lower one goes when it is farther. `unsorted` is empty, or the keys by rows, to
/// which ties are left.
fn nearest(wires: &[Wire], centre: std::ops::Range<usize>, keep: usize, unsorted: &[Wire], out: &mut [f32]) -> (Wire, Wire) {
    let n = wires.len();
    let mut window = Window::of(&wires[centre.clone()]);
    for s in 0..n - keep {
        window.step(&wires[s], &wires[s + keep]);
        for t in 0..window.unsure.len() {
            if window.unsure[t] {
                let (low, high) = (wires[s][t], wires[s + keep][t]);
                let sign = balance(wires[centre.clone()].iter().map(|w| value(w[t])), value(low), value(high));
                window.start[t] += i32::from(sign > 0);
                if sign == 0 && window.tie[t].is_none() {
                    window.tie[t] = Some((low, high));
                }
            }
        }
    }
    let found = window_mean(wires, &window.start, keep, out);
    if !unsorted.is_empty() {
        for (t, y) in out.iter_mut().enumerate() {
            if let Some((low, high)) = window.tie[t] {
                *y = nearest_by_row(unsorted.iter().map(|w| value(w[t])), value(low), value(high), keep);
            }
        }
    }
    found
}

/// Where the kept values of each column begin, as it turns out.
struct Window {
    /// Sum of the values the centre is the mean of.
    sums: [f64; LANES],
    /// Sum of their magnitudes.
    sizes: [f64; LANES],
    count: f64,
    start: Wire,
    unsure: [bool; LANES],
    tie: [Option<(i32, i32)>; LANES],
}

impl Window {
    fn of(centre: &[Wire]) -> Self {
        let (mut sums, mut sizes) = ([0.0; LANES], [0.0; LANES]);
        add_values(centre, &mut sums, &mut sizes);
        let (start, unsure, tie) = ([0; LANES], [false; LANES], [None; LANES]);
        Self { sums, sizes, count: centre.len() as f64, start, unsure, tie }
    }

    /// One pair of ranks: is the lower value farther from the centre S/m, that is 2S > m (low + high)? Unsure where rounding
    /// could decide.
    fn step(&mut self, low: &Wire, high: &Wire) {
        compare(self, low, high);
    }
}

simd! {
    fn add_values(wires: &[Wire], sums: &mut [f64; LANES], sizes: &mut [f64; LANES]) {
        for wire in wires {
            for (t, k) in wire.iter().enumerate() {
                let v = f64::from(value(*k));
                sums[t] += v;
                sizes[t] += v.abs();
            }
        }
    }
}

simd! {
    fn compare(window: &mut Window, low: &Wire, high: &Wire) {
        let m = window.count;
        for t in 0..LANES {
            let bad = |k: i32| magnitude(key(k) as u32) >= EXPONENT;
            let (l, h) = (f64::from(value(low[t])), f64::from(value(high[t])));
            let difference = 2.0 * window.sums[t] - m * (l + h);
            let error = (m + 4.0) * f64::EPSILON * (2.0 * window.sizes[t] + m * (l.abs() + h.abs()));
            // A value that is not finite is farther than any other; equal values need no decision.
            let farther = bad(low[t]) | !bad(high[t]) & (difference > error);
            window.unsure[t] = !bad(low[t]) & !bad(high[t]) & (low[t] != high[t]) & (difference.abs() <= error);
            window.start[t] += i32::from(farther);
        }
    }
}

/// Sign of 2 Σ centre − m (low + high), exactly.
#[cold]
fn balance(centre: impl ExactSizeIterator<Item = f32>, low: f32, high: f32) -> i32 {
    let mut sum = ExactSum::default();
    let m = centre.len();
    for v in centre {
        sum.add(v);
        sum.add(v);
    }
    for _ in 0..m {
        sum.add(-low);
        sum.add(-high);
    }
    let value = sum.value();
    i32::from(value > 0.0) - i32::from(value < 0.0)
}

/// Mean of the `keep` values strictly between low and high or, of those that equal one of them, of the first rows.
#[cold]
fn nearest_by_row(column: impl Iterator<Item = f32> + Clone, low: f32, high: f32, keep: usize) -> f32 {
    let inside = |v: f32| v > low && v < high;
    let mut left = keep - column.clone().filter(|v| inside(*v)).count().min(keep);
    let mut sum = 0.0;
    for v in column {
        let tied = v == low || v == high;
        if inside(v) || tied && left > 0 {
            left -= usize::from(tied);
            sum += f64::from(v);
        }
    }
    (sum / keep as f64) as f32
}

simd! {
    /// Mean of the `keep` values from rank `start` on; the least and the greatest of them.
    fn window_mean(wires: &[Wire], start: &Wire, keep: usize, out: &mut [f32]) -> (Wire, Wire) {
        let mut sums = [0.0f64; LANES];
        let (mut low, mut high) = ([i32::MAX; LANES], [i32::MIN; LANES]);
        for (r, wire) in wires.iter().enumerate() {
            for t in 0..LANES {
                let kept = ((r as i32).wrapping_sub(start[t]) as u32) < keep as u32;
                sums[t] += if kept { f64::from(value(wire[t])) } else { 0.0 };
                low[t] = if kept { low[t].min(wire[t]) } else { low[t] };
                high[t] = if kept { high[t].max(wire[t]) } else { high[t] };
            }
        }
        out.iter_mut().zip(sums).for_each(|(y, s)| *y = (s / keep as f64) as f32);
        (low, high)
    }
}

/// −1, 0 or 1 by the sum of the signs, and the keys of that sign; all keys where there is no majority.
fn sign_majority(wires: &[Wire], out: &mut [f32]) -> (Wire, Wire) {
    let sums = sign_sums(wires);
    let (mut low, mut high) = ([i32::MIN; LANES], [i32::MAX; LANES]);
    for (t, y) in out.iter_mut().enumerate() {
        let sign = sums[t].signum();
        *y = sign as f32;
        match sign {
            1 => low[t] = 1,
            -1 => high[t] = key((-0.0f32).to_bits() as i32) - 1,
            _ => {}
        }
    }
    (low, high)
}

simd! {
    fn sign_sums(wires: &[Wire]) -> Wire {
        let mut sums = [0; LANES];
        for wire in wires {
            for (s, k) in sums.iter_mut().zip(wire) {
                // The key of −0 is −1, that of +0 is 0.
                *s += i32::from(*k > 0) - i32::from(*k < -1);
            }
        }
        sums
    }
}

simd! {
    /// For each column the greatest t such that the counts of the keys below t sum to no more than `limit`: with counts of one the
    /// key of rank `limit`. Found bit by bit.
    fn search(wires: &[Wire], counts: &[u32], limit: u32) -> Wire {
        let mut found = [0u32; LANES];
        for bit in (0..32).rev() {
            let mut below = [0u32; LANES];
            for (wire, count) in wires.iter().zip(counts) {
                for t in 0..LANES {
                    // Unsigned order: the sign bit of the key flipped.
                    let k = wire[t] as u32 ^ 1 << 31;
                    below[t] += if k < found[t] | 1 << bit { *count } else { 0 };
                }
            }
            for t in 0..LANES {
                found[t] |= u32::from(below[t] <= limit) << bit;
            }
        }
        found.map(|k| (k ^ 1 << 31) as i32)
    }
}

/// The value below and above which at most half of the counts lie, or the midpoint of two.
fn counted_median(wires: &[Wire], counts: &[u32], out: &mut [f32]) -> (Wire, Wire) {
    let total: u32 = counts.iter().sum();
    let low = search(wires, counts, (total - 1) / 2);
    let high = if total.is_multiple_of(2) { search(wires, counts, total / 2) } else { low };
    for (t, y) in out.iter_mut().enumerate() {
        let (a, b) = (value(low[t]), value(high[t]));
        *y = if low[t] == high[t] { a } else { (0.5 * (f64::from(a) + f64::from(b))) as f32 };
    }
    (low, high)
}

/// Drops the `trim` lowest and highest by (key, row), then the mean by counts.
fn counted_trimmed_mean(wires: &[Wire], counts: &[u32], trim: usize, out: &mut [f32]) -> (Wire, Wire) {
    let n = wires.len();
    let ones = vec![1; n];
    let low = search(wires, &ones, trim as u32);
    let high = search(wires, &ones, (n - trim - 1) as u32);
    for (t, y) in out.iter_mut().enumerate() {
        let below = |limit: i32| wires.iter().filter(|w| w[t] < limit).count();
        let (mut low_rank, mut high_rank) = (below(low[t]), below(high[t]));
        let (mut sum, mut total) = (0.0, 0.0);
        for (wire, count) in wires.iter().zip(counts) {
            let k = wire[t];
            let mut kept = k >= low[t] && k <= high[t];
            // Equal keys have the order of their rows.
            if k == low[t] {
                kept &= low_rank >= trim;
                low_rank += 1;
            }
            if k == high[t] {
                kept &= high_rank < n - trim;
                high_rank += 1;
            }
            if kept {
                sum += f64::from(*count) * f64::from(value(k));
                total += f64::from(*count);
            }
        }
        *y = (sum / total) as f32;
    }
    (low, high)
}
