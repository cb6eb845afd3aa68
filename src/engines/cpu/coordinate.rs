//! Coordinate-wise statistics, in one read. Sixteen rows at a time are sorted in registers as they are read, up to 29 with the vectors of
//! AVX-512, and where there are no more, their median or trimmed mean is taken there. A pruned network merges more runs over tiles of columns
//! that stay in the first-level cache. Where no order is needed, signs are only counted.

use super::ahead::{Ahead, LINE, worth_asking};
use super::aligned::Aligned;
use super::mixed::{self, MixedRows, store_rounded};
use super::{Notes, Widened, lanes};
use crate::dtype::Values;
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

/// Most tiles of a slab. The keys of some 30 rows nearly stay in the first-level cache; more tiles were slower, as were fewer.
const TILES: usize = 4;

/// Bytes of the keys of a slab of many rows: they and the next slab, which is asked for, fit the second-level cache.
const SLAB: usize = 1 << 17;

/// Tiles of a slab of m rows, within so many bytes and tiles.
pub(super) fn tiles(m: usize, bytes: usize, most: usize) -> usize {
    (bytes / size_of::<Wire>() / m.max(1)).clamp(1, most)
}

/// How far ahead rows are asked for: nearer columns are needed too soon.
const NEAR: usize = 4 * LANES;

/// y_k = stat((W·X)_k) into `out`. `rows` are those of `what`.
pub(crate) fn coordinate(level: Level, rows: &[Values<'_>], what: &Columns<'_>, out: &mut [f32]) -> Notes {
    let m = what.first.values(rows.len());
    let mixed = match what.first {
        First::Mixed(mixed) => Some(MixedRows::new(mixed.mixing)),
        First::Rows | First::Counted(_) | First::Weighted(_) => None,
    };
    let far = worth_asking(rows);
    // Rows that are read where they lie; others are copied or widened first.
    let in_place = mixed.is_none() && rows.iter().all(|row| matches!(row, Values::F32(_)));
    let signs = what.stat == Stat::MajoritySign && !what.diagnose;
    // Signs are counted on one wire.
    let tiles = tiles(if signs && mixed.is_none() { 1 } else { m }, SLAB, TILES);
    let near = if in_place && tiles == TILES && !far.is_empty() { NEAR } else { 0 };
    let far = if in_place { &[] } else { far };
    let (how, kept) = match what.stat {
        Stat::Ranks { from, to } if m <= longest_run(level) && !what.diagnose => (How::InRegisters(from..to), 0),
        _ if signs => (How::Signs, tiles),
        _ => (How::OnWires(Order::new(level, Network::new(what.stat, m))), m * tiles),
    };
    let pass = Pass { near, far, what, rows, mixed, how, tiles };
    super::noted_blocks(rows.len(), m, out, |first, out, notes, widened| {
        let mut room = Room { wires: vec![Wire::of(0); kept], ..Room::default() };
        dispatch!(level, simd => pass.block(simd, first, out, notes, &mut room, widened))
    })
}

/// What a block of columns is computed from.
struct Pass<'a> {
    /// How far ahead rows are asked for while they are ordered, or 0.
    near: usize,
    /// The rows that are asked for, slab by slab, while others are mixed or widened.
    far: &'a [Values<'a>],
    what: &'a Columns<'a>,
    rows: &'a [Values<'a>],
    mixed: Option<MixedRows>,
    how: How,
    /// Tiles of a slab.
    tiles: usize,
}

/// How columns are ordered, if they are.
enum How {
    /// Not at all: signs are counted.
    Signs,
    /// Those of a single run in registers, where the mean of these ranks is taken.
    InRegisters(Range<usize>),
    /// On the wires of each tile.
    OnWires(Order),
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
        let (whole, rest) = out.split_at_mut(out.len() / LANES * LANES);
        let mut at = first;
        for out in whole.chunks_mut(self.tiles * LANES) {
            let next = at + out.len().max(NEAR);
            let mut ahead = Ahead::new(self.far, next..next + out.len());
            let lines = if self.mixed.is_some() { 0 } else { ahead.share(out.len(), self.rows.len()) };
            let rows = widened.columns(self.rows, at..at + out.len(), || ahead.fetch(lines));
            self.slab(simd, Slab { rows: &rows, columns: out.len(), ahead }, out, notes, room);
            at += out.len();
        }
        if !rest.is_empty() {
            // The last tile is filled with zeros, none of which is outside of what is kept.
            let pad = |row: Values<'_>| {
                let mut tile = [0.0; LANES];
                row.slice(at..at + rest.len()).copy_to(&mut tile[..rest.len()]);
                tile
            };
            let tiles: Vec<[f32; LANES]> = self.rows.iter().map(|row| pad(*row)).collect();
            let rows: Vec<&[f32]> = tiles.iter().map(|tile| &tile[..]).collect();
            let slab = Slab { rows: &rows, columns: LANES, ahead: Ahead::new(&[], 0..0) };
            let mut whole = [0.0; LANES];
            self.slab(simd, slab, &mut whole, notes, room);
            rest.copy_from_slice(&whole[..rest.len()]);
        }
    }

    /// Columns of whole tiles.
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
        let (bad, order) = match &self.how {
            How::Signs => (majority_signs(simd, values, self.near, wires, out), None),
            How::InRegisters(ranks) => (means(simd, values, ranks, self.near, out), None),
            How::OnWires(order) => (order.load(simd, values, wires, self.near), Some(order)),
        };
        if bad && self.mixed.is_none() {
            note_bad(rows, &mut notes.bad);
        }
        let Some(order) = order else { return };
        for (t, (out, wires)) in out.chunks_mut(LANES).zip(wires.chunks_exact_mut(values.len())).enumerate() {
            order.merge(simd, wires);
            let by_row = matches!(self.what.stat, Stat::Nearest { ties: Ties::LowerRow, .. });
            if self.what.diagnose || by_row {
                notes.unsorted.resize(values.len(), Wire::of(0));
                load_keys(values, t, &mut notes.unsorted);
            }
            let (low, high) = self.summarise(simd, wires, if by_row { &notes.unsorted } else { &[] }, out);
            if self.what.diagnose {
                count_outside(&notes.unsorted, &low, &high, &mut notes.outside);
            }
        }
    }

    /// From the ordered keys of a tile to the statistic of each column; the least and the greatest key kept, which only a diagnosis
    /// needs.
    #[inline(always)]
    fn summarise<S: Simd>(&self, simd: S, wires: &[Wire], by_row: &[Wire], out: &mut [f32]) -> (Wire, Wire) {
        let (counts, weights): (&[u32], &[f32]) = match self.what.first {
            First::Counted(counts) => (counts, &[]),
            First::Weighted(weights) => (&[], weights),
            _ => (&[], &[]),
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
            Stat::WeightedTrimmedMean { trim } => weighted_trimmed_mean(wires, weights, trim, out),
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

/// Most rows that are sorted in registers: more than one run where there are 32 long ones.
fn longest_run(level: Level) -> usize {
    if lanes(level) == 16 { WIDE_RUN } else { RUN }
}

/// Most rows that 32 registers sort faster than a network over tiles does: of 30 too many are moved to memory and back.
const WIDE_RUN: usize = 29;

/// What a run of any length needs, with its length as the constant $N; of more than sixteen rows only where vectors of $S are wide. Each is
/// to be a function of its own: else a build without optimisation sets room aside for all of them at once.
macro_rules! of_length {
    ($S:ident, $length:expr, $N:ident => $work:expr) => {
        if $length <= RUN {
            of_length!($length, $N => $work, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
        } else if const { $S::i32s::LEN == 16 } {
            of_length!($length, $N => $work, 17 18 19 20 21 22 23 24 25 26 27 28 29)
        } else {
            debug_assert!(false, "a run has no more rows than there are registers");
            false
        }
    };
    ($length:expr, $N:ident => $work:expr, $($n:literal)*) => {
        match $length {
            $($n => {
                const $N: usize = $n;
                $work
            })*
            _ => {
                debug_assert!(false, "a run has no more rows than there are registers");
                false
            }
        }
    };
}

impl Order {
    pub(crate) fn new(level: Level, network: Network) -> Self {
        let m = network.runs.iter().map(Vec::len).sum();
        if (RUN + 1..=longest_run(level)).contains(&m) {
            return Self { runs: vec![(0..m).collect()], walks: Vec::new() };
        }
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
        let mut rest = rows;
        for run in runs {
            let rows_of_run;
            (rows_of_run, rest) = rest.split_at(run.len());
            bad |= of_length!(S, run.len(), N => simd.vectorize(
                #[inline(always)]
                || {
                    let mut places = [0; N];
                    places.copy_from_slice(run);
                    each_run::<S, N>(
                        simd,
                        rows_of_run,
                        in_order,
                        near,
                        #[inline(always)]
                        |t, at, keys| {
                            let tile = &mut wires[t * rows.len()..][..rows.len()];
                            for i in 0..N {
                                keys[i].store_slice(&mut tile[places[i]][at..at + S::i32s::LEN]);
                            }
                        },
                    )
                },
            ));
        }
        bad
    }

    /// Merges the runs of one tile.
    #[inline(always)]
    pub(super) fn merge<S: Simd>(&self, simd: S, wires: &mut [Wire]) {
        for walk in &self.walks {
            // As many columns as registers hold.
            match S::i32s::LEN {
                8 => take_walk::<S, 8>(simd, walk, wires),
                _ => take_walk::<S, 4>(simd, walk, wires),
            }
        }
    }

    /// Orders the keys of some columns on the wires of each tile; beyond the last column the keys are zero.
    #[inline(always)]
    pub(super) fn columns<S: Simd>(&self, simd: S, rows: &[Values<'_>], columns: Range<usize>, wires: &mut Vec<Wire>) {
        let tiles = columns.len().div_ceil(LANES);
        let pad = |row: &Values<'_>| {
            let mut padded = vec![0.0; tiles * LANES];
            row.slice(columns.clone()).copy_to(&mut padded[..columns.len()]);
            padded
        };
        let padded: Vec<Vec<f32>> = rows.iter().map(pad).collect();
        let padded: Vec<&[f32]> = padded.iter().map(|row| &row[..]).collect();
        wires.resize(tiles * rows.len(), Wire::of(0));
        self.load(simd, &padded, wires, 0);
        for wires in wires.chunks_exact_mut(rows.len().max(1)) {
            self.merge(simd, wires);
        }
    }
}

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

/// Integer minima and maxima, no branch on data; HELD vectors of keys at a time.
#[inline(always)]
fn take_walk<S: Simd, const HELD: usize>(simd: S, walk: &Walk, wires: &mut [Wire]) {
    let width = S::i32s::LEN;
    for at in (0..LANES).step_by(HELD * width) {
        let mut held = [S::i32s::splat(simd, 0); HELD];
        for k in 0..HELD {
            held[k] = keys(simd, &wires[walk.start], at + k * width);
        }
        for step in &walk.steps {
            if step.hold_low {
                exchange(simd, step, at, wires, &mut held, S::i32s::min, S::i32s::max);
            } else {
                exchange(simd, step, at, wires, &mut held, S::i32s::max, S::i32s::min);
            }
        }
        for k in 0..HELD {
            held[k].store_slice(&mut wires[walk.end][at + k * width..][..width]);
        }
    }
}

/// One step of a walk, from column `at` on: what is held on and what goes.
#[inline(always)]
fn exchange<S: Simd, const HELD: usize>(
    simd: S,
    step: &Step,
    at: usize,
    wires: &mut [Wire],
    held: &mut [S::i32s; HELD],
    hold: impl Fn(S::i32s, S::i32s) -> S::i32s,
    go: impl Fn(S::i32s, S::i32s) -> S::i32s,
) {
    let width = S::i32s::LEN;
    // Both are there: so much the compiler sees, and need not look at each access.
    let last = wires.len() - 1;
    let (from, to) = (step.from.min(last), step.to.min(last));
    for k in 0..HELD {
        let met = keys(simd, &wires[from], at + k * width);
        go(held[k], met).store_slice(&mut wires[to][at + k * width..][..width]);
        held[k] = hold(held[k], met);
    }
}

/// The keys of the N rows of a run, in order where that is wanted, one vector of columns after another: `put` takes the tile, the first
/// column in it, and the keys. Is any value not finite?
#[inline(always)]
fn each_run<S: Simd, const N: usize>(
    simd: S,
    rows: &[&[f32]],
    in_order: bool,
    near: usize,
    mut put: impl FnMut(usize, usize, &[S::i32s; N]),
) -> bool {
    let width = S::i32s::LEN;
    let signless = S::i32s::splat(simd, i32::MAX);
    let (mut low, mut high) = (S::i32s::splat(simd, 0), S::i32s::splat(simd, 0));
    let mut tiles: [&[[f32; LANES]]; N] = [&[]; N];
    for i in 0..N {
        tiles[i] = rows[i].as_chunks().0;
    }
    for t in 0..tiles[0].len() {
        let tile: [&[f32; LANES]; N] = std::array::from_fn(|i| &tiles[i][t]);
        for at in (0..LANES).step_by(width) {
            // It changes nothing, and shows the compiler that vectors end with the tile.
            let at = at & (LANES - width);
            if near > 0 && at.is_multiple_of(LINE / size_of::<f32>()) {
                for i in 0..N {
                    prefetch_index(tiles[i].as_flattened(), t * LANES + at + near);
                }
            }
            let mut keys = [low; N];
            for i in 0..N {
                let bits: S::i32s = S::f32s::from_slice(simd, &tile[i][at..at + width]).bitcast();
                // As `keys::key`.
                keys[i] = bits ^ ((bits >> 31) & signless);
            }
            if in_order {
                sort(
                    &mut keys,
                    #[inline(always)]
                    |a, b| (a.min(b), a.max(b)),
                );
                (low, high) = (low.min(keys[0]), high.max(keys[N - 1]));
            } else {
                for i in 0..N {
                    (low, high) = (low.min(keys[i]), high.max(keys[i]));
                }
            }
            put(t, at, &keys);
        }
    }
    low.as_slice().iter().chain(high.as_slice()).any(|key| magnitude(value(*key).to_bits()) >= EXPONENT)
}

/// The mean of some ranks of the rows of one run in each column; is any value not finite?
#[inline(always)]
fn means<S: Simd>(simd: S, rows: &[&[f32]], ranks: &Range<usize>, near: usize, out: &mut [f32]) -> bool {
    of_length!(S, rows.len(), N => simd.vectorize(
        #[inline(always)]
        || each_run::<S, N>(
            simd,
            rows,
            // All of them are summed as they come.
            ranks.len() < N,
            near,
            #[inline(always)]
            |t, at, keys| {
                let out = &mut out[t * LANES + at..][..S::i32s::LEN];
                // A copy: what is indexed stays in memory.
                let sorted = Aligned(*keys);
                if let [key] = sorted[ranks.clone()] {
                    values(simd, key).store_slice(out);
                } else {
                    let mut sum = Sum::<S>::zero(simd);
                    for key in &sorted[ranks.clone()] {
                        sum = sum.add(values(simd, *key));
                    }
                    sum.share(ranks.len()).store_slice(out);
                }
            },
        ),
    ))
}

/// −1, 0 or 1 by the sum of the signs in each column, with a wire of sums for each tile; is any value not finite?
#[inline(always)]
fn majority_signs<S: Simd>(simd: S, rows: &[&[f32]], near: usize, sums: &mut [Wire], out: &mut [f32]) -> bool {
    let mut bad = false;
    sums.fill(Wire::of(0));
    for run in rows.chunks(RUN) {
        bad |= of_length!(S, run.len(), N => simd.vectorize(
            #[inline(always)]
            || each_run::<S, N>(
                simd,
                run,
                false,
                near,
                #[inline(always)]
                |t, at, keys| {
                    let sum = &mut sums[t][at..at + S::i32s::LEN];
                    let mut signs = S::i32s::from_slice(simd, sum);
                    for i in 0..N {
                        // As `sign_sums`; true is −1.
                        signs += keys[i].simd_lt(S::i32s::splat(simd, -1)).to_vector();
                        signs -= keys[i].simd_gt(S::i32s::splat(simd, 0)).to_vector();
                    }
                    signs.store_slice(sum);
                },
            ),
        ));
    }
    for (out, sums) in out.chunks_mut(LANES).zip(sums) {
        out.iter_mut().zip(sums.iter()).for_each(|(y, sum)| *y = sum.signum() as f32);
    }
    bad
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
    for at in (0..LANES).step_by(width) {
        Sum::of(simd, wires, at).share(wires.len()).store_slice(&mut out[at..at + width]);
    }
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
fn count_outside(wires: &[Wire], low: &Wire, high: &Wire, outside: &mut [u64]) {
    for (wire, outside) in wires.iter().zip(outside) {
        let mut count = 0u32;
        for t in 0..LANES {
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
    for at in (0..LANES).step_by(width) {
        let middle = Sum::of(simd, &wires[centre.clone()], at).share(centre.len());
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
        // Of ranks that lie `keep` apart one is kept: the first from the start on.
        let open = dropped.min(keep);
        let mut sum = Sum::of(simd, &wires[open..keep], at);
        for first in 0..open {
            let mut kept = keys(simd, &wires[first], at);
            for rank in (first + keep..wires.len()).step_by(keep) {
                let before = S::i32s::splat(simd, (rank - keep) as i32).simd_lt(start);
                kept = before.select(keys(simd, &wires[rank], at), kept);
            }
            sum = sum.add(values(simd, kept));
        }
        sum.share(keep).store_slice(&mut out[at..at + width]);
        start.store_slice(&mut starts[at..at + width]);
    }
    if !by_row.is_empty() {
        for (lane, low, high) in ties {
            out[lane] = nearest_by_row(by_row.iter().map(|w| value(w[lane])), low, high, keep);
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

/// Sums in f64 of a vector of columns: no overflow.
struct Sum<S: Simd>(S::f64s, S::f64s);

impl<S: Simd> Sum<S> {
    #[inline(always)]
    fn zero(simd: S) -> Self {
        Self(S::f64s::splat(simd, 0.0), S::f64s::splat(simd, 0.0))
    }

    /// Of the values on whole wires, from lane `at` on.
    #[inline(always)]
    fn of(simd: S, wires: &[Wire], at: usize) -> Self {
        let mut sum = Self::zero(simd);
        for wire in wires {
            sum = sum.add(values(simd, keys(simd, wire, at)));
        }
        sum
    }

    #[inline(always)]
    fn add(self, v: S::f32s) -> Self {
        let (low, high) = v.widen();
        Self(self.0 + low, self.1 + high)
    }

    /// The mean of m values: the roundings of f64, then one to f32.
    #[inline(always)]
    fn share(self, m: usize) -> S::f32s {
        let share = 1.0 / m as f64;
        (self.0 * share).narrow(self.1 * share)
    }
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

/// Drops the `trim` lowest and highest by (key, row), then the mean by weights.
#[inline(always)]
fn weighted_trimmed_mean(wires: &[Wire], weights: &[f32], trim: usize, out: &mut [f32]) -> (Wire, Wire) {
    let n = wires.len();
    let ones = vec![1; n];
    let low = search(wires, &ones, trim as u32);
    let high = search(wires, &ones, (n - trim - 1) as u32);
    for (t, y) in out.iter_mut().enumerate() {
        let below = |limit: i32| wires.iter().filter(|w| w[t] < limit).count();
        let (mut low_rank, mut high_rank) = (below(low[t]), below(high[t]));
        let (mut sum, mut total) = (0.0, 0.0);
        for (wire, weight) in wires.iter().zip(weights) {
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
                sum += f64::from(*weight) * f64::from(value(k));
                total += f64::from(*weight);
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

    /// Order statistics against a sort, their means against a sum in f64, in every build; all else is the same in all builds, with a
    /// diagnosis and without.
    #[test]
    fn every_build_gives_the_same_bits() {
        let mut random = fastrand::Rng::with_seed(5);
        for n in (1..=31).chain([33, 51, 70, 129, 300]) {
            // More than a block of some.
            let d = if n % 5 == 0 && n < 100 { BLOCK } else { 0 } + 5 * LANES + 17;
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
                let other = Columns { rows: &indices, first: First::Rows, stat, diagnose: !diagnose };
                for level in levels() {
                    // Of these values: the order in which builds add them could show in others.
                    let got = run(level, &rows, &what);
                    assert_eq!(got, best, "{stat:?} of {n} by {level:?}");
                    assert_eq!(run(level, &rows, &other).0, got.0, "{stat:?} of {n} by {level:?}, diagnosis {diagnose} or not");
                }
            }
        }
    }

    /// A mean of all values adds them as they come, with a diagnosis and without: in another order 1 would be lost.
    #[test]
    fn a_diagnosis_changes_no_bit() {
        let rows: [&[f32]; 3] = [&[2f32.powi(60)], &[-2f32.powi(60)], &[1.0]];
        for diagnose in [false, true] {
            let what = Columns { rows: &[0, 1, 2], first: First::Rows, stat: Stat::Ranks { from: 0, to: 3 }, diagnose };
            assert_eq!(run(Level::new(), &rows, &what).0, [(1.0f32 / 3.0).to_bits()], "{diagnose}");
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
        let signs = Columns { rows: &indices, first, stat: Stat::MajoritySign, diagnose: false };
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
            for (k, y) in run(level, &rows, &signs).0.iter().enumerate() {
                let sign = |v: f32| i32::from(v > 0.0) - i32::from(v < 0.0);
                let sum: i32 = (0..17).map(|i| sign(sum(i, k))).sum();
                assert_eq!(f32::from_bits(*y), sum.signum() as f32, "{level:?}, column {k}");
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
