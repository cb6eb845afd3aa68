//! Coordinate-wise statistics, in one read. Sixteen rows at a time are sorted in registers as they are read; a pruned network merges
//! such runs over tiles of columns that stay in the first-level cache.

use super::ahead::{Ahead, worth_asking};
use super::mixed::{self, MixedRows, store_rounded};
use super::{Notes, Widened};
use crate::dtype::{Dtype, Values};
use crate::engines::exact_sum::ExactSum;
use crate::engines::keys::{EXPONENT, key, magnitude, value};
use crate::engines::network::{Network, RUN, sort};
use crate::engines::passes::{Columns, First};
use crate::plan::{Stat, Ties};
use fearless_simd::{Level, Simd, dispatch, prelude::*};
use prefetch_index::prefetch_index;
use std::ops::{Deref, DerefMut, Range};

/// Columns of a tile: each wire of the network is this many lanes wide.
pub(crate) const LANES: usize = 64;

/// One wire of the network: the keys of one row, then of one rank, in each column of the tile. No vector crosses a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Wire([i32; LANES]);

impl Deref for Wire {
    type Target = [i32; LANES];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Wire {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Wire {
    /// The same key in all columns.
    pub(crate) fn of(key: i32) -> Self {
        Self([key; LANES])
    }
}

/// Bytes of the keys of a slab of tiles: they stay in the second-level cache.
const SLAB: usize = 1 << 18;

/// Most tiles of a slab: rows are read that far, one run of them after another, for few streams at a time are read ahead of.
const TILES: usize = 16;

/// Tiles of a slab of m rows.
pub(super) fn tiles(m: usize) -> usize {
    (SLAB / size_of::<Wire>() / m.max(1)).clamp(1, TILES)
}

/// How far ahead rows are asked for: nearer columns are needed too soon.
const NEAR: usize = 4 * LANES;

/// y_k = stat((W·X)_k) into `out`. `rows` are those of `what`.
pub(crate) fn coordinate(level: Level, rows: &[Values<'_>], what: &Columns<'_>, out: &mut [f32]) -> Notes {
    let m = what.first.values(rows.len());
    let mixed = match what.first {
        First::Mixed(mixed) => Some(MixedRows::new(mixed.mixing)),
        First::Rows | First::Counted(_) => None,
    };
    // Halves are widened beside the keys, and read anew from the first-level cache; mixed rows stand beside them too.
    let most = match rows.first().map(|row| row.dtype()) {
        Some(Dtype::F16 | Dtype::Bf16) => TILES / 4,
        _ if mixed.is_some() => TILES / 2,
        _ => TILES,
    };
    let far = worth_asking(rows);
    let near = if m <= RUN && most == TILES && !far.is_empty() { NEAR } else { 0 };
    let far = if mixed.is_some() { far } else { &[] };
    let pass = Pass { near, far, what, rows, mixed, order: Order::new(Network::new(what.stat, m)) };
    // A single run has no more streams than are read ahead of: its tiles need not leave the first-level cache.
    let tiles = if m <= RUN { 1 } else { tiles(m).min(most) };
    super::noted_blocks(rows.len(), m, out, |first, out, notes, widened| {
        let mut room = Room { wires: vec![Wire::of(0); m * tiles], ..Room::default() };
        dispatch!(level, simd => pass.block(simd, first, out, notes, &mut room, widened))
    })
}

/// What a block of columns is computed from.
struct Pass<'a> {
    /// How far ahead rows are asked for while they are ordered, or 0. A slab of several runs is long enough to be read ahead of unasked.
    near: usize,
    /// The rows that are asked for, slab by slab, while they are mixed.
    far: &'a [Values<'a>],
    what: &'a Columns<'a>,
    rows: &'a [Values<'a>],
    mixed: Option<MixedRows>,
    order: Order,
}

/// What is there of whole tiles of columns.
struct Slab<'a> {
    rows: &'a [&'a [f32]],
    columns: usize,
    ahead: Ahead<'a>,
}

/// Memory of one block.
#[derive(Default)]
struct Room {
    /// The wires of each tile of the slab.
    wires: Vec<Wire>,
    /// The mixed rows of a slab, one after another.
    mixed: Vec<f32>,
    mixing: mixed::Room,
}

impl Pass<'_> {
    /// The columns `first..` of `out`.
    #[inline(always)]
    fn block<S: Simd>(&self, simd: S, first: usize, out: &mut [f32], notes: &mut Notes, room: &mut Room, widened: &mut Widened) {
        let m = self.what.first.values(self.rows.len()).max(1);
        let (whole, rest) = out.split_at_mut(out.len() / LANES * LANES);
        let slab = room.wires.len() / m * LANES;
        let mut at = first;
        for out in whole.chunks_mut(slab) {
            let rows = widened.columns(self.rows, at..at + out.len());
            let next = at + out.len().max(NEAR);
            let ahead = Ahead::new(self.far, next..next + out.len());
            self.slab(simd, Slab { rows: &rows, columns: out.len(), ahead }, out, notes, room);
            at += out.len();
        }
        if !rest.is_empty() {
            // The last tile is filled with zeros.
            let pad = |row: Values<'_>| {
                let mut tile = [0.0; LANES];
                row.slice(at..at + rest.len()).copy_to(&mut tile[..rest.len()]);
                tile
            };
            let tiles: Vec<[f32; LANES]> = self.rows.iter().map(|row| pad(*row)).collect();
            let rows: Vec<&[f32]> = tiles.iter().map(|tile| &tile[..]).collect();
            let slab = Slab { rows: &rows, columns: LANES, ahead: Ahead::new(&[], 0..0) };
            self.slab(simd, slab, rest, notes, room);
        }
    }

    /// Columns of whole tiles, of which `out` wants the first ones.
    #[inline(always)]
    fn slab<S: Simd>(&self, simd: S, slab: Slab<'_>, out: &mut [f32], notes: &mut Notes, room: &mut Room) {
        let Slab { rows, columns, mut ahead } = slab;
        let Room { wires, mixed, mixing } = room;
        let values: Vec<&[f32]>;
        let values = match &self.mixed {
            Some(how) => {
                mixed.resize(self.what.first.values(rows.len()) * columns, 0.0);
                let mut largest = S::i32s::splat(simd, 0);
                let lines = ahead.share(LANES, how.times());
                for at in (0..columns).step_by(LANES) {
                    let sizes = how.tile(
                        simd,
                        rows,
                        at,
                        mixing,
                        #[inline(always)]
                        || ahead.fetch(lines),
                        #[inline(always)]
                        |i, t, z| store_rounded::<S>(z, &mut mixed[i * columns + at + t..]),
                    );
                    largest = largest.max(sizes);
                }
                if largest.as_slice().iter().any(|bits| *bits as u32 >= EXPONENT) {
                    note_bad(rows, &mut notes.bad);
                }
                values = mixed.chunks_exact(columns).collect();
                &values
            }
            None => rows,
        };
        let bad = self.order.load(simd, values, wires, self.near);
        if bad && self.mixed.is_none() {
            note_bad(rows, &mut notes.bad);
        }
        for (t, (out, wires)) in out.chunks_mut(LANES).zip(wires.chunks_exact_mut(values.len())).enumerate() {
            self.order.merge(simd, wires);
            let by_row = matches!(self.what.stat, Stat::Nearest { ties: Ties::LowerRow, .. });
            if self.what.diagnose || by_row {
                notes.unsorted.resize(values.len(), Wire::of(0));
                load_keys(values, t, &mut notes.unsorted);
            }
            let (low, high) = self.summarise(simd, wires, if by_row { &notes.unsorted } else { &[] }, out);
            if self.what.diagnose {
                count_outside(&notes.unsorted, &low, &high, out.len(), &mut notes.outside);
            }
        }
    }

    /// From the ordered keys of a tile to the statistic of each column; the least and the greatest key kept, which only a diagnosis
    /// needs.
    #[inline(always)]
    fn summarise<S: Simd>(&self, simd: S, wires: &[Wire], by_row: &[Wire], out: &mut [f32]) -> (Wire, Wire) {
        let counts = match self.what.first {
            First::Counted(counts) => counts,
            _ => &[],
        };
        let nothing = (Wire::of(0), Wire::of(0));
        match self.what.stat {
            Stat::Identity => copy(&wires[0], out),
            Stat::Ranks { from, to } if to - from == 1 => copy(&wires[from], out),
            Stat::Ranks { from, to } => {
                mean(simd, &wires[from..to], out);
                if self.what.diagnose { range(&wires[from..to]) } else { nothing }
            }
            Stat::Nearest { from, to, keep, .. } => {
                let start = nearest(simd, wires, from..to, keep, by_row, out);
                if self.what.diagnose { kept_range(wires, &start, keep) } else { nothing }
            }
            Stat::MajoritySign => sign_majority(wires, out),
            Stat::CountedMedian => counted_median(wires, counts, out),
            Stat::CountedTrimmedMean { trim } => counted_trimmed_mean(wires, counts, trim, out),
        }
    }
}

/// Flags rows with NaN or infinities.
fn note_bad(rows: &[&[f32]], bad: &mut [bool]) {
    for (row, bad) in rows.iter().zip(bad) {
        *bad |= row.iter().map(|x| magnitude(x.to_bits())).fold(0, u32::max) >= EXPONENT;
    }
}

/// How the keys of a tile are ordered: the runs, sorted as they are read, and what merges them.
#[derive(Debug)]
pub(crate) struct Order {
    runs: Vec<Vec<usize>>,
    walks: Vec<Walk>,
}

/// Exchanges of which each has a wire in common with the one before: that wire's keys stay in registers, so an exchange costs one load
/// and one store instead of two.
#[derive(Debug)]
struct Walk {
    /// The wire that is held at first.
    start: usize,
    steps: Vec<Step>,
    /// The wire that is held at last.
    end: usize,
}

/// One exchange with the keys held: those of wire `from` are read, the lower or the higher ones are held on, the others go to wire `to`.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: usize,
    to: usize,
    hold_low: bool,
}

impl Order {
    pub(crate) fn new(network: Network) -> Self {
        let walks = walks(network.merges());
        Self { runs: network.runs, walks }
    }

    /// Keys of the rows on the wires of each tile, in order within runs; is any value not finite?
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, simd: S, rows: &[&[f32]], wires: &mut [Wire], near: usize) -> bool {
        let mut bad = false;
        let unsorted: Vec<Vec<usize>>;
        let (runs, in_order) = if self.runs.is_empty() {
            let all: Vec<usize> = (0..rows.len()).collect();
            unsorted = all.chunks(RUN).map(<[usize]>::to_vec).collect();
            (&unsorted, false)
        } else {
            (&self.runs, true)
        };
        for (rows_of_run, run) in rows.chunks(RUN).zip(runs) {
            macro_rules! load_run {
                ($($n:literal)*) => {
                    match run.len() {
                        // A function of its own for each: else a build without optimisation sets room aside for all of them at once.
                        $($n => bad |= simd.vectorize(
                            #[inline(always)]
                            || load_run::<S, $n>(simd, rows_of_run, rows.len(), run, in_order, wires, near),
                        ),)*
                        _ => debug_assert!(false, "runs have up to sixteen rows"),
                    }
                };
            }
            load_run!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
        }
        bad
    }

    /// Merges the runs of one tile.
    #[inline(always)]
    pub(super) fn merge<S: Simd>(&self, simd: S, wires: &mut [Wire]) {
        for walk in &self.walks {
            // As many columns as registers hold.
            for at in (0..LANES).step_by(HELD * S::i32s::LEN) {
                take_walk(simd, walk, at, wires);
            }
        }
    }

    /// Orders the keys of some columns on the wires of each tile; beyond the last column the keys are zero.
    pub(crate) fn columns(&self, level: Level, rows: &[Values<'_>], columns: Range<usize>, wires: &mut Vec<Wire>) {
        let tiles = columns.len().div_ceil(LANES);
        let pad = |row: &Values<'_>| {
            let mut padded = vec![0.0; tiles * LANES];
            row.slice(columns.clone()).copy_to(&mut padded[..columns.len()]);
            padded
        };
        let padded: Vec<Vec<f32>> = rows.iter().map(pad).collect();
        let padded: Vec<&[f32]> = padded.iter().map(|row| &row[..]).collect();
        wires.resize(tiles * rows.len(), Wire::of(0));
        dispatch!(level, simd => {
            self.load(simd, &padded, wires, 0);
            wires.chunks_exact_mut(rows.len().max(1)).for_each(|wires| self.merge(simd, wires));
        });
    }
}

/// Vectors of keys that a walk holds.
const HELD: usize = 4;

/// Cuts a network into walks. Every exchange comes after those before it on both its wires.
fn walks(exchanges: &[(usize, usize)]) -> Vec<Walk> {
    let n = exchanges.iter().map(|(_, j)| j + 1).max().unwrap_or(0);
    let mut queues = vec![std::collections::VecDeque::new(); n];
    for &(i, j) in exchanges {
        queues[i].push_back((i, j));
        queues[j].push_back((i, j));
    }
    let mut walks = Vec::new();
    let ready = |queues: &[std::collections::VecDeque<(usize, usize)>], wire: usize| {
        queues[wire].front().copied().filter(|&(i, j)| queues[i].front() == queues[j].front())
    };
    for start in (0..n).cycle() {
        if queues.iter().all(|q| q.is_empty()) {
            break;
        }
        let (mut held, mut steps) = (start, Vec::new());
        while let Some((i, j)) = ready(&queues, held) {
            let other = i + j - held;
            queues[i].pop_front();
            queues[j].pop_front();
            let (hold, to) =
                if ready(&queues, held).is_some() || ready(&queues, other).is_none() { (held, other) } else { (other, held) };
            steps.push(Step { from: other, to, hold_low: hold == i });
            held = hold;
        }
        if !steps.is_empty() {
            walks.push(Walk { start, steps, end: held });
        }
    }
    walks
}

/// Integer minima and maxima, no branch on data.
#[inline(always)]
fn take_walk<S: Simd>(simd: S, walk: &Walk, at: usize, wires: &mut [Wire]) {
    let width = S::i32s::LEN;
    let mut held = [S::i32s::splat(simd, 0); HELD];
    for k in 0..HELD {
        held[k] = keys(simd, &wires[walk.start], at + k * width);
    }
    for step in &walk.steps {
        let mut met = held;
        for k in 0..HELD {
            met[k] = keys(simd, &wires[step.from], at + k * width);
        }
        let to = &mut wires[step.to];
        for k in 0..HELD {
            let (low, high) = (held[k].min(met[k]), held[k].max(met[k]));
            let (hold, go) = if step.hold_low { (low, high) } else { (high, low) };
            held[k] = hold;
            go.store_slice(&mut to[at + k * width..][..width]);
        }
    }
    for k in 0..HELD {
        held[k].store_slice(&mut wires[walk.end][at + k * width..][..width]);
    }
}

/// Keys of the N rows of a run on the wires of each tile, `all` wires a tile, in order where that is wanted; is any value not finite?
#[inline(always)]
fn load_run<S: Simd, const N: usize>(
    simd: S,
    rows: &[&[f32]],
    all: usize,
    run: &[usize],
    in_order: bool,
    wires: &mut [Wire],
    near: usize,
) -> bool {
    let width = S::i32s::LEN;
    let magnitude = S::i32s::splat(simd, i32::MAX);
    let mut largest = S::i32s::splat(simd, 0);
    let columns = rows[0].len();
    let mut of_run: [&[f32]; N] = [&[]; N];
    let mut places = [0; N];
    for i in 0..N {
        of_run[i] = &rows[i][..columns];
        places[i] = run[i];
    }
    for (t, wires) in wires.chunks_exact_mut(all).take(columns / LANES).enumerate() {
        for at in (0..LANES).step_by(width) {
            let mut keys = [largest; N];
            for i in 0..N {
                if near > 0 {
                    prefetch_index(of_run[i], t * LANES + at + near);
                }
                let bits: S::i32s = S::f32s::from_slice(simd, &of_run[i][t * LANES + at..][..width]).bitcast();
                largest = largest.max(bits & magnitude);
                // As `keys::key`.
                keys[i] = bits ^ ((bits >> 31) & magnitude);
            }
            if in_order {
                sort(
                    &mut keys,
                    #[inline(always)]
                    |a, b| (a.min(b), a.max(b)),
                );
            }
            for i in 0..N {
                keys[i].store_slice(&mut wires[places[i]][at..at + width]);
            }
        }
    }
    largest.as_slice().iter().any(|bits| *bits as u32 >= EXPONENT)
}

/// Keys of tile `t`, row by row.
#[inline(always)]
fn load_keys(rows: &[&[f32]], t: usize, wires: &mut [Wire]) {
    for (row, wire) in rows.iter().zip(wires) {
        for (k, x) in wire.iter_mut().zip(&row[t * LANES..][..LANES]) {
            *k = key(x.to_bits() as i32);
        }
    }
}

/// The values of a wire.
#[inline(always)]
fn copy(wire: &Wire, out: &mut [f32]) -> (Wire, Wire) {
    out.iter_mut().zip(wire.iter()).for_each(|(y, k)| *y = value(*k));
    (*wire, *wire)
}

/// Mean of whole wires.
#[inline(always)]
fn mean<S: Simd>(simd: S, wires: &[Wire], out: &mut [f32]) {
    let width = S::i32s::LEN;
    let mut means = [0.0; LANES];
    for at in (0..LANES).step_by(width) {
        let mut sum = (S::f64s::splat(simd, 0.0), S::f64s::splat(simd, 0.0));
        for wire in wires {
            add(simd, &mut sum, values(simd, keys(simd, wire, at)));
        }
        mean_of(sum, wires.len()).store_slice(&mut means[at..at + width]);
    }
    out.copy_from_slice(&means[..out.len()]);
}

/// The least and the greatest key of each column.
#[inline(always)]
fn range(wires: &[Wire]) -> (Wire, Wire) {
    let (mut low, mut high) = (Wire::of(i32::MAX), Wire::of(i32::MIN));
    for wire in wires {
        for (t, k) in wire.iter().enumerate() {
            low[t] = low[t].min(*k);
            high[t] = high[t].max(*k);
        }
    }
    (low, high)
}

/// For each row the number of columns in which its key is outside of low..=high.
#[inline(always)]
fn count_outside(wires: &[Wire], low: &Wire, high: &Wire, width: usize, outside: &mut [u64]) {
    for (wire, outside) in wires.iter().zip(outside) {
        let mut count = 0u32;
        for t in 0..width {
            count += u32::from((wire[t] < low[t]) | (wire[t] > high[t]));
        }
        *outside += u64::from(count);
    }
}

/// Mean of the `keep` values nearest the mean of the `centre` ranks; the rank of the first value kept in each column. The kept values are
/// consecutive in order: of the ranks s and s + keep not both are kept, and the lower one goes when it is farther. `by_row` is empty, or
/// the keys by rows, to which ties are left.
#[inline(always)]
fn nearest<S: Simd>(simd: S, wires: &[Wire], centre: Range<usize>, keep: usize, by_row: &[Wire], out: &mut [f32]) -> Wire {
    let dropped = wires.len() - keep;
    let width = S::i32s::LEN;
    let mut starts = Wire::of(0);
    let mut ties: Vec<(usize, f32, f32)> = Vec::new();
    let mut means = [0.0; LANES];
    for at in (0..LANES).step_by(width) {
        let mut sum = (S::f64s::splat(simd, 0.0), S::f64s::splat(simd, 0.0));
        for rank in centre.clone() {
            add(simd, &mut sum, values(simd, keys(simd, &wires[rank], at)));
        }
        let middle = mean_of(sum, centre.len());
        // Twice what the middle may be off by: its own rounding, and that of the sum in f64. One value is exact.
        let first = magnitudes(simd, values(simd, keys(simd, &wires[centre.start], at)));
        let last = magnitudes(simd, values(simd, keys(simd, &wires[centre.end - 1], at)));
        let of_sum = (first + last) * (centre.len() as f32 * 2f32.powi(-51));
        let off = match centre.len() {
            1 => S::f32s::splat(simd, 0.0),
            _ => magnitudes(simd, middle) * (4.0 * f32::EPSILON) + of_sum + f32::MIN_POSITIVE,
        };
        let mut start = S::i32s::splat(simd, 0);
        for rank in 0..dropped {
            let (low_key, high_key) = (keys(simd, &wires[rank], at), keys(simd, &wires[rank + keep], at));
            let (low, high) = (values(simd, low_key), values(simd, high_key));
            // A value that is not finite is farther than any other; equal values need no decision.
            let (low_bad, high_bad) = (!finite(simd, low), !finite(simd, high));
            let (below, above) = (middle - low, high - middle);
            let difference = below - above;
            let error = (magnitudes(simd, below) + magnitudes(simd, above)) * (2.0 * f32::EPSILON) + off;
            let farther = low_bad | (!high_bad & difference.simd_gt(error));
            let sure = low_bad | high_bad | difference.simd_gt(error) | (-difference).simd_gt(error) | low_key.simd_eq(high_key);
            start -= farther.to_vector();
            if !sure.all_true() {
                // Where rounding could decide, nothing is rounded.
                for t in (0..width).filter(|t| !sure.test(*t)) {
                    let lane = at + t;
                    let (low, high) = (value(wires[rank][lane]), value(wires[rank + keep][lane]));
                    let sign = balance(wires[centre.clone()].iter().map(|w| value(w[lane])), low, high);
                    start[t] += i32::from(sign > 0);
                    if sign == 0 && ties.iter().all(|(tied, ..)| *tied != lane) {
                        ties.push((lane, low, high));
                    }
                }
            }
        }
        let mut sum = (S::f64s::splat(simd, 0.0), S::f64s::splat(simd, 0.0));
        for rank in 0..wires.len() {
            let mut v = values(simd, keys(simd, &wires[rank], at));
            // The ranks between are kept whatever the start.
            if rank < dropped || rank >= keep {
                let after_start = S::i32s::splat(simd, rank as i32).simd_ge(start);
                let before_end = S::i32s::splat(simd, rank as i32 - keep as i32).simd_lt(start);
                v = (after_start & before_end).select(v, S::f32s::splat(simd, 0.0));
            }
            add(simd, &mut sum, v);
        }
        mean_of(sum, keep).store_slice(&mut means[at..at + width]);
        start.store_slice(&mut starts[at..at + width]);
    }
    out.copy_from_slice(&means[..out.len()]);
    if !by_row.is_empty() {
        for (lane, low, high) in ties {
            if let Some(y) = out.get_mut(lane) {
                *y = nearest_by_row(by_row.iter().map(|w| value(w[lane])), low, high, keep);
            }
        }
    }
    starts
}

/// A vector of keys, from lane `at` on.
#[inline(always)]
fn keys<S: Simd>(simd: S, wire: &Wire, at: usize) -> S::i32s {
    S::i32s::from_slice(simd, &wire[at..at + S::i32s::LEN])
}

/// The values of some keys.
#[inline(always)]
fn values<S: Simd>(simd: S, keys: S::i32s) -> S::f32s {
    // As `keys::value`.
    (keys ^ ((keys >> 31) & S::i32s::splat(simd, i32::MAX))).bitcast()
}

/// |v|.
#[inline(always)]
fn magnitudes<S: Simd>(simd: S, v: S::f32s) -> S::f32s {
    let bits: S::i32s = v.bitcast();
    (bits & S::i32s::splat(simd, i32::MAX)).bitcast()
}

/// Neither NaN nor an infinity, by the bits.
#[inline(always)]
fn finite<S: Simd>(simd: S, v: S::f32s) -> S::mask32s {
    let bits: S::i32s = v.bitcast();
    (bits & S::i32s::splat(simd, i32::MAX)).simd_lt(S::i32s::splat(simd, EXPONENT as i32))
}

/// Adds values in f64: no overflow.
#[inline(always)]
fn add<S: Simd>(_: S, sum: &mut (S::f64s, S::f64s), v: S::f32s) {
    let (low, high) = v.widen();
    sum.0 += low;
    sum.1 += high;
}

/// sum/m, correct to the last bit but for one final rounding.
#[inline(always)]
fn mean_of<T: SimdNarrow<S> + SimdFloat<S, Element = f64>, S: Simd>(sum: (T, T), m: usize) -> T::Narrowed {
    let m = m as f64;
    (sum.0 / m).narrow(sum.1 / m)
}

/// The least and the greatest key of those kept from rank `start` on; among them the order need not be known.
fn kept_range(wires: &[Wire], start: &Wire, keep: usize) -> (Wire, Wire) {
    let kept = |t: usize| wires[start[t] as usize..][..keep].iter().map(move |wire| wire[t]);
    let least = |t: usize| kept(t).min().unwrap_or(i32::MIN);
    let greatest = |t: usize| kept(t).max().unwrap_or(i32::MAX);
    (Wire(std::array::from_fn(least)), Wire(std::array::from_fn(greatest)))
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

/// −1, 0 or 1 by the sum of the signs, and the keys of that sign; all keys where there is no majority.
#[inline(always)]
fn sign_majority(wires: &[Wire], out: &mut [f32]) -> (Wire, Wire) {
    let sums = sign_sums(wires);
    let (mut low, mut high) = (Wire::of(i32::MIN), Wire::of(i32::MAX));
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

#[inline(always)]
fn sign_sums(wires: &[Wire]) -> Wire {
    let mut sums = Wire::of(0);
    for wire in wires {
        for (s, k) in sums.iter_mut().zip(wire.iter()) {
            // The key of −0 is −1, that of +0 is 0.
            *s += i32::from(*k > 0) - i32::from(*k < -1);
        }
    }
    sums
}

/// For each column the greatest t such that the counts of the keys below t sum to no more than `limit`: with counts of one the
/// key of rank `limit`. Found bit by bit.
#[inline(always)]
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
    Wire(found.map(|k| (k ^ 1 << 31) as i32))
}

/// The value below and above which at most half of the counts lie, or the midpoint of two.
#[inline(always)]
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
#[inline(always)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::cpu::{BLOCK, levels};
    use crate::engines::passes::Mixed;
    use crate::geometry::Mixing;

    /// Values of all sizes, with ties; the last row is not finite.
    fn rows(n: usize, d: usize, random: &mut fastrand::Rng) -> Vec<Vec<f32>> {
        let mut value = || match random.u32(..8) {
            0 => random.i32(-3..4) as f32,
            1 => (random.f32() - 0.5) * 2f32.powi(random.i32(-149..128)),
            _ => random.f32() - 0.5,
        };
        let mut rows: Vec<Vec<f32>> = (0..n).map(|_| (0..d).map(|_| value()).collect()).collect();
        if let [.., _, last] = &mut rows[..] {
            last[d / 2] = f32::NAN;
            last[d - 1] = f32::NEG_INFINITY;
        }
        rows
    }

    fn run(level: Level, rows: &[&[f32]], what: &Columns<'_>) -> (Vec<u32>, Vec<bool>, Vec<u64>) {
        let mut out = vec![f32::NAN; rows[0].len()];
        let rows: Vec<Values> = rows.iter().map(|row| Values::F32(row)).collect();
        let notes = coordinate(level, &rows, what, &mut out);
        (out.iter().map(|y| y.to_bits()).collect(), notes.bad, notes.outside)
    }

    /// Order statistics against a sort, their means against a sum in f64, in every build; all else is the same in all builds.
    #[test]
    fn every_build_gives_the_same_bits() {
        let mut random = fastrand::Rng::with_seed(5);
        let d = BLOCK + 3 * LANES + 17;
        for n in [1, 2, 5, 15, 16, 17, 25, 33, 51, 70] {
            let rows = rows(n, d, &mut random);
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            let columns: Vec<Vec<i32>> = (0..d)
                .map(|k| {
                    let mut column: Vec<i32> = rows.iter().map(|row| key(row[k].to_bits() as i32)).collect();
                    column.sort_unstable();
                    column
                })
                .collect();
            let f = n.div_ceil(2) - 1;
            let mut stats = vec![Stat::MajoritySign, Stat::Ranks { from: n / 2, to: n / 2 + 1 }];
            stats.extend([f.min(1), f / 2, f].map(|f| Stat::Ranks { from: f, to: n - f }));
            stats.extend([f / 2, f].map(|f| Stat::nearest_median(n, n - f, Ties::LowerValue)));
            stats.extend([f / 2, f].map(|f| Stat::Nearest { from: f, to: n - f, keep: (n - f).div_ceil(2), ties: Ties::LowerRow }));
            for (stat, diagnose) in stats.into_iter().flat_map(|stat| [(stat, false), (stat, true)]) {
                let indices: Vec<usize> = (0..n).collect();
                let what = Columns { rows: &indices, first: First::Rows, stat, diagnose };
                let best = run(Level::new(), &rows, &what);
                assert!(best.1.iter().enumerate().all(|(i, bad)| *bad == (n > 1 && i == n - 1)), "{stat:?} of {n}");
                if let Stat::Ranks { from, to } = stat {
                    for (y, column) in best.0.iter().zip(&columns) {
                        let kept: Vec<f64> = column[from..to].iter().map(|k| f64::from(value(*k))).collect();
                        let most = kept.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
                        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
                        let near = (f64::from(f32::from_bits(*y)) - mean).abs() <= 2f64.powi(-24) * most + 2f64.powi(-126);
                        let same = kept.len() > 1 || *y == value(column[from]).to_bits();
                        assert!(same && near || !most.is_finite() || mean.is_nan(), "{stat:?} of {n}: {kept:?}");
                    }
                }
                for level in levels() {
                    assert_eq!(run(level, &rows, &what), best, "{stat:?} of {n} by {level:?}");
                }
            }
        }
    }

    /// Mixed rows are the weighted sums, in every build.
    #[test]
    fn every_build_mixes_alike() {
        let mut random = fastrand::Rng::with_seed(7);
        let (n, d) = (19, BLOCK + 71);
        let rows = rows(n, d, &mut random);
        let rows: Vec<&[f32]> = rows[..n - 1].iter().map(|row| &row[..]).collect();
        let weights = |_| (0..n - 1).map(|_| if random.bool() { random.f64() } else { 0.0 }).collect();
        let mixing = Mixing::new((0..17).map(weights).collect());
        let indices: Vec<usize> = (0..n - 1).collect();
        let first = First::Mixed(Mixed { mixing: &mixing, centre: 3, scales: &[] });
        let what = Columns { rows: &indices, first, stat: Stat::Ranks { from: 8, to: 9 }, diagnose: true };
        let sum =
            |i: usize, k: usize| mixing.weights(i).iter().zip(&rows).map(|(w, row)| w * f64::from(row[k])).sum::<f64>() as f32;
        for level in levels() {
            let (out, bad, outside) = run(level, &rows, &what);
            assert!(!bad.contains(&true) && outside.iter().sum::<u64>() > 0, "{level:?}");
            for (k, y) in out.iter().enumerate() {
                let mut column: Vec<f32> = (0..17).map(|i| sum(i, k)).collect();
                column.sort_unstable_by(f32::total_cmp);
                assert_eq!(f32::from_bits(*y), column[8], "{level:?}, column {k}");
            }
        }
    }

    /// Walks make every exchange of the merges once, and none before another on the same wire that comes earlier.
    #[test]
    fn walks_are_the_merges() {
        for n in [17, 25, 33, 51, 100] {
            let network = Network::new(Stat::median(n), n);
            let mut left: Vec<(usize, usize)> = network.merges().to_vec();
            for walk in walks(&left.clone()) {
                let mut held = walk.start;
                for step in walk.steps {
                    let exchange = (held.min(step.from), held.max(step.from));
                    let at = left.iter().position(|(i, j)| [*i, *j].iter().any(|w| *w == held || *w == step.from)).unwrap();
                    assert_eq!(left.remove(at), exchange);
                    let hold = if step.to == held { step.from } else { held };
                    assert_eq!(step.hold_low, hold == exchange.0);
                    held = hold;
                }
                assert_eq!(held, walk.end);
            }
            assert!(left.is_empty());
        }
    }
}
