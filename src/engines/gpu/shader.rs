//! The text of every kernel: files of `shaders/`, joined from a short list of parts. Only what WGSL cannot express is
//! generated: unrolled networks and the lengths of private arrays. Nothing here needs a device.

use crate::dtype::Dtype;
use crate::engines::network::Network;
use crate::plan::{Stat, Ties};
use std::fmt::Write;

const MATRIX: &str = include_str!("../../../shaders/matrix.wgsl");
const MATRIX_F32: &str = include_str!("../../../shaders/matrix_f32.wgsl");
const MATRIX_F16: &str = include_str!("../../../shaders/matrix_f16.wgsl");
const MATRIX_BF16: &str = include_str!("../../../shaders/matrix_bf16.wgsl");
const COORDINATE: &str = include_str!("../../../shaders/coordinate.wgsl");
const COORDINATE_SORT: &str = include_str!("../../../shaders/coordinate_sort.wgsl");
const DEVIATIONS: &str = include_str!("../../../shaders/deviations.wgsl");
const EXACT: &str = include_str!("../../../shaders/exact.wgsl");
const ADD: &str = include_str!("../../../shaders/add.wgsl");
const SUM: &str = include_str!("../../../shaders/sum.wgsl");
const MIXED: &str = include_str!("../../../shaders/mixed.wgsl");
const MEANS: &str = include_str!("../../../shaders/means.wgsl");
const SIGNS: &str = include_str!("../../../shaders/signs.wgsl");
const COUNTED: &str = include_str!("../../../shaders/counted.wgsl");
const NOTE: &str = include_str!("../../../shaders/note.wgsl");
const MIX: &str = include_str!("../../../shaders/mix.wgsl");
const TILE: &str = include_str!("../../../shaders/tile.wgsl");
const GRAM: &str = include_str!("../../../shaders/gram.wgsl");
const WEISZFELD: &str = include_str!("../../../shaders/weiszfeld.wgsl");
const WEISZFELD_STEP: &str = include_str!("../../../shaders/weiszfeld_step.wgsl");
const FINITE: &str = include_str!("../../../shaders/finite.wgsl");
const MOMENTUM: &str = include_str!("../../../shaders/momentum.wgsl");
const STEP: &str = include_str!("../../../shaders/step.wgsl");
const LOAD: &str = include_str!("../../../shaders/load.wgsl");
const LOAD_STEPPED: &str = include_str!("../../../shaders/load_stepped.wgsl");
const GATHER: &str = include_str!("../../../shaders/gather.wgsl");
const READ: &str = include_str!("../../../shaders/read.wgsl");
const COPY: &str = include_str!("../../../shaders/copy.wgsl");
const GATHERED: &str = include_str!("../../../shaders/gathered.wgsl");
const SPOIL: &str = include_str!("../../../shaders/spoil.wgsl");
const STATUS: &str = include_str!("../../../shaders/on_device/status.wgsl");
const LOOK: &str = include_str!("../../../shaders/on_device/look.wgsl");
const MERGE: &str = include_str!("../../../shaders/on_device/merge.wgsl");
const SCORES: &str = include_str!("../../../shaders/on_device/scores.wgsl");
const PAIRS: &str = include_str!("../../../shaders/on_device/pairs.wgsl");
const JUDGE: &str = include_str!("../../../shaders/on_device/judge.wgsl");
const VERDICT: &str = include_str!("../../../shaders/on_device/verdict.wgsl");
const DECIDE: &str = include_str!("../../../shaders/on_device/decide.wgsl");
const LEAST_SCORES: &str = include_str!("../../../shaders/on_device/least_scores.wgsl");
const NEAREST: &str = include_str!("../../../shaders/on_device/nearest.wgsl");
const COMBINED: &str = include_str!("../../../shaders/on_device/combined.wgsl");
const CLIP_SOLVE: &str = include_str!("../../../shaders/on_device/clip_solve.wgsl");
const WEISZFELD_SOLVE: &str = include_str!("../../../shaders/on_device/weiszfeld_solve.wgsl");

/// Most rows whose keys stay in registers, ordered by straight-line text; beyond it a group sorts a few columns in its memory.
const UNROLLED: usize = 128;

/// Most rows of a matrix.
pub(crate) const MOST_ROWS: usize = 1024;

/// Most rows that a kernel looks at, as in `tile.wgsl`: those of a matrix, and two virtual ones.
const MOST_ENTRIES: usize = MOST_ROWS + 2;

/// Columns a group of a tiled kernel sums, as in `tile.wgsl`.
pub(crate) const BLOCK: usize = 2048;

/// Columns a group of the kernel sums that measures deviations: one an invocation, as in `deviations.wgsl`.
pub(crate) const DEVIATED: usize = 64;

/// Vectors of four words that a group of the reading kernel reads, as in `read.wgsl`.
pub(crate) const READ_VECTORS: usize = 8192;

/// Sums that a group of the adding kernel adds, and of how many blocks, as in `add.wgsl`.
pub(crate) const SUMS_ADDED: usize = 16;
pub(crate) const BLOCKS_ADDED: usize = 64;

/// Values that an invocation of the kernel looks at that finds rows with values that are not finite.
const LOOKED_AT: usize = 16;

/// Momentums that an invocation steps, as in `momentum.wgsl`.
const STEPPED: usize = 4;

/// Invocations of a group of a tiled kernel, as in `tile.wgsl`; the reading and copying kernels have as many.
pub(crate) const THREADS: usize = 256;

/// Vectors that an invocation fills in a tile at most, as in `tile.wgsl`.
const TURNS: usize = 4;

/// Most vectors of rows whose squares one group owns: a large tile of them has 32 columns, a cache line of each row.
const WHOLE: usize = 32;

/// Vectors of rows of a stripe, where there are more; a group looks at two.
const STRIPE: usize = 16;

/// How much memory of a group the kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Vectors of four values of a tile.
    tile: usize,
    /// Keys that a group sorts.
    keys: usize,
}

impl Room {
    /// Where a group has 24 KiB.
    pub(crate) const LARGE: Self = Self { tile: 1057, keys: 4096 };
    /// Where it has 16 KiB, which every device of WebGPU has.
    pub(crate) const SMALL: Self = Self { tile: 529, keys: 2048 };

    /// What fits groups of so many bytes, if anything does.
    pub(crate) fn within(bytes: u32) -> Option<Self> {
        [Self::LARGE, Self::SMALL].into_iter().find(|room| room.bytes() <= bytes as usize)
    }

    /// Bytes that the most demanding kernel takes: a tile, the centres of its columns, the rows' largest values and one number an invocation.
    fn bytes(self) -> usize {
        (16 * self.tile + 8 * THREADS + 4 * MOST_ENTRIES + 4 * THREADS).max(4 * self.keys + 8 * THREADS)
    }

    /// Columns of a tile of so many vectors of rows: one vector is left over, and a group has the turns to fill it.
    fn width(self, quads: usize) -> usize {
        let fits = ((self.tile - 1) / stride(quads)).min(TURNS * THREADS / quads);
        1 << fits.clamp(1, THREADS).ilog2()
    }
}

/// One specialisation of a kernel; each is compiled once for an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Coordinate(Coordinate),
    Mix,
    /// In one frame or two.
    Gram {
        rows: usize,
        frames: usize,
    },
    Add,
    /// Of so many mixed rows.
    Deviations {
        values: usize,
    },
    Weiszfeld {
        rows: usize,
    },
    WeiszfeldStep,
    Momentum,
    Finite,
    Gather,
    Read,
    Copy,
    Spoil,
    Look,
    Merge,
    Judge,
    Verdict,
    LeastScores,
    Nearest,
    WeiszfeldSolve,
    ClipSolve,
}

/// What a coordinate kernel orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Coordinate {
    pub(crate) stat: Stat,
    /// Values of a column.
    pub(crate) values: usize,
    /// What they are.
    pub(crate) of: Of,
    /// Are the values outside of those kept counted?
    pub(crate) diagnose: bool,
}

/// Whose values are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// Those of the rows.
    Rows,
    /// Those of momentums that are stepped on the way.
    Momentums,
    /// Those of weighted sums of rows.
    Sums,
    /// Those of plain means of so many rows.
    Means { rows: usize },
}

impl Of {
    /// So many mixed rows, plain means of rows if `plain`, whose table must fit a binding of so many bytes: up to 125 of as many rows fit
    /// the 64 KiB of any device.
    pub(crate) fn mixed(plain: bool, rows: usize, values: usize, bytes: u64) -> Self {
        let fits = rows.max(values) <= UNROLLED && 16 * means_vectors(rows, values) as u64 <= bytes;
        if plain && fits { Of::Means { rows } } else { Of::Sums }
    }

    fn mixes(self) -> bool {
        matches!(self, Of::Sums | Of::Means { .. })
    }
}

/// Vectors of the table of `means.wgsl`.
pub(crate) fn means_vectors(rows: usize, values: usize) -> usize {
    (2 + rows) * quads(values) + quads(rows)
}

impl Kernel {
    /// The name of its file, and of its pipeline in a profiler.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::Coordinate(_) => "coordinate",
            Kernel::Mix => "mix",
            Kernel::Gram { .. } => "gram",
            Kernel::Add => "add",
            Kernel::Deviations { .. } => "deviations",
            Kernel::Weiszfeld { .. } => "weiszfeld",
            Kernel::WeiszfeldStep => "weiszfeld_step",
            Kernel::Momentum => "momentum",
            Kernel::Finite => "finite",
            Kernel::Gather => "gather",
            Kernel::Read => "read",
            Kernel::Copy => "copy",
            Kernel::Spoil => "spoil",
            Kernel::Look => "look",
            Kernel::Merge => "merge",
            Kernel::Judge => "judge",
            Kernel::Verdict => "verdict",
            Kernel::LeastScores => "least_scores",
            Kernel::Nearest => "nearest",
            Kernel::WeiszfeldSolve => "weiszfeld_solve",
            Kernel::ClipSolve => "clip_solve",
        }
    }

    /// The whole WGSL text, for a matrix of values of this type.
    pub(crate) fn source(self, dtype: Dtype) -> String {
        let matrix = match dtype {
            Dtype::F32 => MATRIX_F32,
            Dtype::F16 => MATRIX_F16,
            Dtype::Bf16 => MATRIX_BF16,
        };
        let with = |parts: &[&str]| [&[MATRIX, matrix], parts].concat().concat();
        match self {
            Kernel::Coordinate(what) => with(&[&what.source()]),
            Kernel::Mix => with(&[NOTE, SUM, MIX]),
            Kernel::Gram { .. } => with(&[TILE, GRAM]),
            Kernel::Add => with(&[EXACT, ADD]),
            Kernel::Deviations { values } => with(&[NOTE, SUM, MIXED, &sizes(values), DEVIATIONS]),
            Kernel::Weiszfeld { .. } => with(&[TILE, WEISZFELD]),
            Kernel::WeiszfeldStep => with(&[GATHERED, WEISZFELD_STEP]),
            Kernel::Momentum => with(&[STEP, MOMENTUM]),
            Kernel::Finite => with(&[FINITE]),
            Kernel::Gather => with(&[GATHER]),
            Kernel::Read => READ.into(),
            Kernel::Copy => COPY.into(),
            Kernel::Spoil => with(&[SPOIL]),
            Kernel::Look => with(&[STATUS, SCORES, LOOK]),
            Kernel::Merge => with(&[MERGE]),
            Kernel::Judge => with(&[STATUS, SCORES, PAIRS, JUDGE]),
            Kernel::Verdict => with(&[STATUS, VERDICT]),
            Kernel::LeastScores => with(&[STATUS, SCORES, PAIRS, DECIDE, LEAST_SCORES]),
            Kernel::Nearest => with(&[STATUS, SCORES, PAIRS, DECIDE, NEAREST]),
            Kernel::WeiszfeldSolve => with(&[STATUS, SCORES, PAIRS, DECIDE, GATHERED, COMBINED, WEISZFELD_SOLVE]),
            Kernel::ClipSolve => with(&[STATUS, SCORES, PAIRS, DECIDE, GATHERED, COMBINED, CLIP_SOLVE]),
        }
    }

    /// Columns of a group, for kernels that walk columns: one an invocation or some, or several invocations a column.
    pub(crate) fn columns(self, room: Room) -> usize {
        match self {
            Kernel::Coordinate(what) if what.sorts() => room.keys / what.values.next_power_of_two(),
            Kernel::Finite => 64 * LOOKED_AT,
            Kernel::Momentum => 64 * STEPPED,
            _ => 64,
        }
    }

    /// Values of its `override` constants.
    pub(crate) fn constants(self, room: Room) -> Vec<(&'static str, f64)> {
        let tile = |quads: usize, split: usize| {
            let sizes =
                [("TILE", room.tile), ("QUADS", quads), ("SPLIT", split), ("STRIDE", stride(quads)), ("WIDTH", room.width(quads))];
            sizes.map(|(name, value)| (name, value as f64)).to_vec()
        };
        match self {
            Kernel::Coordinate(what) if what.sorts() => vec![("KEYS", room.keys as f64)],
            Kernel::Gram { rows, frames } => {
                let (quads, split, squares) = match whole(rows) {
                    true => (quads(rows), quads(rows), squares(rows)),
                    false => (2 * STRIPE, STRIPE, STRIPE / 2 * (STRIPE / 2)),
                };
                let lanes = THREADS / squares;
                let shares = vec![("SQUARES", squares as f64), ("LANES", lanes as f64), ("FRAMES", frames as f64)];
                [tile(quads, split), shares].concat()
            }
            Kernel::Weiszfeld { rows } => tile(quads(rows), quads(rows)),
            Kernel::Finite => vec![("VALUES", LOOKED_AT as f64)],
            _ => Vec::new(),
        }
    }
}

/// Vectors of four rows.
pub(crate) fn quads(rows: usize) -> usize {
    rows.div_ceil(4)
}

/// Vectors from one column of a tile to the next, as in `tile.wgsl`.
fn stride(quads: usize) -> usize {
    quads | 1
}

/// Squares of 8 × 8 pairs of rows.
fn squares(rows: usize) -> usize {
    let side = rows.div_ceil(8);
    side * (side + 1) / 2
}

/// Does one group own all squares of so many rows?
fn whole(rows: usize) -> bool {
    quads(rows) <= WHOLE
}

/// Groups along z that a Gram dispatch needs to own every square: 1, or the pairs of stripes.
pub(crate) fn slices(rows: usize) -> usize {
    if whole(rows) {
        return 1;
    }
    let stripes = quads(rows).div_ceil(STRIPE);
    stripes * (stripes + 1) / 2
}

/// Constants for the number of ordered values.
fn sizes(values: usize) -> String {
    format!("const N = {values}u;\nconst MIXED = N;\nconst SIZE = {}u;\n", values.next_power_of_two())
}

impl Coordinate {
    /// May momentums be stepped on the way? Only where each value is loaded just once.
    pub(crate) fn can_step(self) -> bool {
        self.unrolls() && !self.of.mixes()
    }

    /// Are the keys of a column in the registers of one invocation?
    fn unrolls(self) -> bool {
        self.values <= UNROLLED && matches!(self.stat, Stat::Ranks { .. } | Stat::Nearest { .. } | Stat::MajoritySign)
    }

    /// Are the keys of a column sorted by several invocations?
    fn sorts(self) -> bool {
        self.values > UNROLLED && matches!(self.stat, Stat::Ranks { .. } | Stat::Nearest { .. })
    }

    /// What follows the matrix.
    fn source(self) -> String {
        let (sum, mixed) = if self.of.mixes() { (SUM, MIXED) } else { ("", "") };
        let load = if self.of == Of::Momentums { [STEP, LOAD_STEPPED].concat() } else { LOAD.into() };
        let means = match self.of {
            Of::Means { rows } => {
                let sizes = [("ROWS", rows), ("LOG", rows.next_power_of_two().ilog2().max(2) as usize)];
                let more = [("QUADS", quads(self.values)), ("MEANS", means_vectors(rows, self.values))];
                let constant = |(name, value): &(&str, usize)| format!("const {name} = {value}u;\n");
                sizes.iter().chain(&more).map(constant).collect::<String>() + MEANS
            }
            _ => String::new(),
        };
        let prelude = self.prelude();
        let body = match self.stat {
            _ if self.unrolls() => self.unrolled(),
            Stat::MajoritySign => SIGNS.into(),
            Stat::CountedMedian | Stat::WeightedTrimmedMean { .. } => COUNTED.into(),
            _ => COORDINATE_SORT.into(),
        };
        [&load, NOTE, EXACT, COORDINATE, sum, mixed, &means, &prelude, &body].concat()
    }

    /// Constants, and the key of one of the ordered values.
    fn prelude(self) -> String {
        let (n, diagnose) = (self.values, self.diagnose);
        let (from, to, keep, by_row) = match self.stat {
            Stat::Ranks { from, to } => (from, to, 0, false),
            Stat::Nearest { from, to, keep, ties } => (from, to, keep, ties == Ties::LowerRow),
            _ => (0, 1, 0, false),
        };
        let (trim, medians) = match self.stat {
            Stat::WeightedTrimmedMean { trim } => (trim, false),
            stat => (0, stat == Stat::CountedMedian),
        };
        let constants = format!(
            "{}const FROM = {from}u;\nconst TO = {to}u;\nconst KEEP = {keep}u;\nconst BY_ROW = {by_row};\n\
             const TRIM = {trim}u;\nconst MEDIANS = {medians};\nconst DIAGNOSE = {diagnose};\n",
            sizes(n)
        );
        let ordered = if self.of.mixes() {
            "let c = bitcast<f32>(bits_at(params.centre, column)); var sum = Sum(0.0, 0.0);\n\
             for (var j = 0u; j < params.rows; j++) { sum = add_mixed(sum, weights[j * MIXED + i], scaled(j, column, c)); }\n\
             return mixed(sum, c);"
        } else {
            "return load(i, column);"
        };
        format!("{constants}fn ordered(i: u32, column: u32) -> i32 {{ {ordered} }}\n")
    }

    /// The body with the keys in registers: one `let` for each value that ever stands on a wire.
    fn unrolled(self) -> String {
        let (stat, n) = (self.stat, self.values);
        let network = Network::new(stat, n);
        let mut wires: Vec<String> = (0..n).map(|i| format!("k{i}")).collect();
        let mut text = String::from(
            "@compute @workgroup_size(64)\n\
             fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {\n\
             let column = linear_group(group, groups) * 64u + lane;\n\
             if column >= params.columns { return; }\n",
        );
        let mut line = |parts: std::fmt::Arguments| text.write_fmt(parts).expect("writing to a string");
        if self.of.mixes() {
            (0..n).for_each(|i| line(format_args!("var k{i} = 0;\n")));
            if let Of::Means { rows } = self.of {
                means(rows, n, &mut line);
            }
            line(format_args!("{{\nlet about = bitcast<f32>(bits_at(params.centre, column));\n"));
            (0..n).for_each(|i| line(format_args!("var z{i} = Sum(0.0, 0.0);\n")));
            line(format_args!("for (var j = 0u; j < params.rows; j++) {{ let x = scaled(j, column, about); let w = j * MIXED;\n"));
            (0..n).for_each(|i| line(format_args!("z{i} = add_mixed(z{i}, weights[w + {i}u], x);\n")));
            line(format_args!("}}\n"));
            (0..n).for_each(|i| line(format_args!("k{i} = mixed(z{i}, about);\n")));
            line(format_args!("}}\n"));
        } else {
            // Loads first, so that all are under way at once.
            line(format_args!("var sent = 0u;\n"));
            (0..n).for_each(|i| line(format_args!("let b{i} = fetch({i}u, column); sent = max(sent, magnitude(b{i}));\n")));
            line(format_args!("if sent >= EXPONENT {{\n"));
            (0..n).for_each(|i| line(format_args!("note({i}u, b{i});\n")));
            line(format_args!("}}\n"));
            if self.of == Of::Momentums {
                (0..n).for_each(|i| line(format_args!("keep({i}u, column, b{i});\n")));
            }
            (0..n).for_each(|i| line(format_args!("let k{i} = key(b{i});\n")));
        }
        for (e, &(i, j)) in network.exchanges.iter().enumerate() {
            line(format_args!("let l{e} = min({a}, {b}); let h{e} = max({a}, {b});\n", a = wires[i], b = wires[j]));
            (wires[i], wires[j]) = (format!("l{e}"), format!("h{e}"));
        }
        match stat {
            Stat::Nearest { from, to, keep, ties } => nearest(&wires, from..to, keep, ties, &mut line),
            Stat::Ranks { from, to } if to - from > 1 => {
                mean("m", &wires[from..to], &mut line);
                line(format_args!("y[column] = bitcast<u32>(m);\n"));
                if self.diagnose {
                    line(format_args!("var low = {0}; var high = {0};\n", wires[from]));
                    wires[from..to].iter().for_each(|k| line(format_args!("low = min(low, {k}); high = max(high, {k});\n")));
                }
            }
            Stat::Ranks { from, .. } => {
                line(format_args!("let low = {0}; let high = {0};\ny[column] = bits_of(low);\n", wires[from]));
            }
            _ => {
                line(format_args!("var majority = 0;\n"));
                (0..n).for_each(|i| line(format_args!("majority += sign_of(k{i});\n")));
                line(format_args!("let low = side_of(majority).x; let high = side_of(majority).y;\n"));
                line(format_args!("y[column] = bitcast<u32>(f32(sign(majority)));\n"));
            }
        }
        if self.diagnose {
            (0..n).for_each(|i| line(format_args!("diagnose({i}u, k{i}, low, high);\n")));
        }
        text.push_str("}\n");
        text
    }
}

/// Text for the keys of plain means of rows, and an `else` before what makes them where that does not serve.
fn means(rows: usize, values: usize, line: &mut impl FnMut(std::fmt::Arguments)) {
    let lane = |i: usize| (i / 4, ["x", "y", "z", "w"][i % 4]);
    line(format_args!("var most = 0u; var usual = 0u;\n"));
    (0..rows).for_each(|j| line(format_args!("let b{j} = bits_at(rows[{j}].index, column); most = max(most, magnitude(b{j}));\n")));
    for (j, (q, c)) in (0..rows).map(lane).enumerate() {
        let is_common = format!("means[(2u + ROWS) * QUADS + {q}u].{c} > 0.0");
        line(format_args!("usual = max(usual, select(0u, magnitude(b{j}), {is_common}));\n"));
    }
    line(format_args!("if serves(most) {{\nlet cut = cut_at(usual);\n"));
    (0..values).for_each(|i| line(format_args!("var u{i} = 0.0; var v{i} = 0.0;\n")));
    // Values are read a second time, from a cache: registers hold the sums.
    line(format_args!("for (var j = 0u; j < ROWS; j++) {{\n"));
    line(format_args!("let x = parts(bits_at(rows[j].index, column), cut); let at = (2u + j) * QUADS;\n"));
    (0..quads(values)).for_each(|q| line(format_args!("let s{q} = means[at + {q}u];\n")));
    for (i, (q, c)) in (0..values).map(lane).enumerate() {
        line(format_args!("u{i} += s{q}.{c} * x.x; v{i} += s{q}.{c} * x.y;\n"));
    }
    line(format_args!("}}\n"));
    for (i, (q, c)) in (0..values).map(lane).enumerate() {
        line(format_args!("k{i} = mean_of_parts(u{i}, v{i}, means[{q}].{c}, means[QUADS + {q}u].{c});\n"));
    }
    line(format_args!("}} else "));
}

/// Text for the mean of some keys, centred on the one in their middle; its name, and that of their largest magnitude.
fn mean(name: &str, keys: &[String], line: &mut impl FnMut(std::fmt::Arguments)) {
    let centre = &keys[(keys.len() - 1) / 2];
    line(format_args!("var {name}_largest = 0.0;\n"));
    keys.iter().for_each(|k| line(format_args!("{name}_largest = larger({name}_largest, {k});\n")));
    line(format_args!("let {name}_c = value({centre}); let {name}_s = shrink({name}_largest);\nvar {name}_sum = 0.0;\n"));
    keys.iter().for_each(|k| line(format_args!("{name}_sum += term({k}, {name}_c, {name}_s);\n")));
    line(format_args!("let {name} = mean({name}_sum, {}.0, {name}_c, {name}_s);\n", keys.len()));
}

/// Text for the mean of the `keep` values nearest the mean of some ranks. The kept values are consecutive: of the ranks s and s + keep
/// not both are kept, and the lower one goes when it is farther.
fn nearest(wires: &[String], ranks: std::ops::Range<usize>, keep: usize, ties: Ties, line: &mut impl FnMut(std::fmt::Arguments)) {
    let (n, centre) = (wires.len(), &wires[ranks]);
    let (m, dropped) = (centre.len(), n - keep);
    line(format_args!("var start = 0u; var low = 0x7fffffff; var high = -low;\n"));
    if ties == Ties::LowerRow {
        line(format_args!("var tied = false; var tie = vec2<i32>();\n"));
    }
    if dropped > 0 {
        if m <= 2 {
            // One or two values give the centre exactly.
            let (a, b) = (&centre[0], &centre[m - 1]);
            line(format_args!("let a = 0.25 * value({a}); let b = 0.25 * value({b}); let slack = 0.0;\n"));
        } else {
            mean("middle", centre, line);
            line(format_args!("let a = 0.25 * middle; let b = a; let slack = {}.0 * 0x1p-25f * middle_largest;\n", m + 8));
        }
        // Near ties are rare, so the exact comparison stands once, in a loop.
        line(format_args!("var unsure = array<bool, {dropped}>(); var any = false;\n"));
        for s in 0..dropped {
            let (low, high) = (&wires[s], &wires[s + keep]);
            line(format_args!("let v{s} = compare(a, b, slack, {low}, {high});\n"));
            line(format_args!("start += v{s} & FARTHER; unsure[{s}] = v{s} == UNSURE; any |= v{s} == UNSURE;\n"));
        }
        line(format_args!("if any {{\n"));
        line(format_args!("var lows = array<i32, {dropped}>({});\n", wires[..dropped].join(", ")));
        line(format_args!("var highs = array<i32, {dropped}>({});\n", wires[keep..].join(", ")));
        line(format_args!("var centre = array<i32, {m}>({});\n", centre.join(", ")));
        line(format_args!("for (var s = 0u; s < {dropped}u; s++) {{ if unsure[s] {{\nvar digits = array<i32, 19>();\n"));
        line(format_args!("for (var i = 0u; i < {m}u; i++) {{ add_exactly(&digits, centre[i], 2); }}\n"));
        line(format_args!("add_exactly(&digits, lows[s], -{m}); add_exactly(&digits, highs[s], -{m});\n"));
        line(format_args!("let sign = exact_sign(digits); start += select(0u, 1u, sign > 0);\n"));
        if ties == Ties::LowerRow {
            line(format_args!("if sign == 0 && !tied {{ tied = true; tie = vec2(canonical(lows[s]), canonical(highs[s])); }}\n"));
        }
        line(format_args!("}} }}\n}}\n"));
    }
    // What is in the window from `start` on.
    line(format_args!("var largest = 0.0;\n"));
    for (r, k) in wires.iter().enumerate() {
        let range = "low = min(low, k); high = max(high, k);";
        line(format_args!("if {r}u - start < {keep}u {{ let k = {k}; largest = larger(largest, k); {range} }}\n"));
    }
    line(format_args!("let c = value({}); let s = shrink(largest);\nvar sum = 0.0;\n", centre[(m - 1) / 2]));
    for (r, k) in wires.iter().enumerate() {
        line(format_args!("sum += select(0.0, term({k}, c, s), {r}u - start < {keep}u);\n"));
    }
    if ties == Ties::LowerRow && dropped > 0 {
        line(format_args!("if tied {{\nsum = 0.0; var left = {keep}u;\n"));
        line(format_args!("var by_row = array<i32, {n}>({});\n", (0..n).map(|i| format!("k{i}")).collect::<Vec<_>>().join(", ")));
        line(format_args!(
            "for (var i = 0u; i < {n}u; i++) {{ let k = canonical(by_row[i]); left -= select(0u, 1u, k > tie.x && k < tie.y); }}\n"
        ));
        line(format_args!("for (var i = 0u; i < {n}u; i++) {{\n"));
        line(format_args!("let k = canonical(by_row[i]); let same = k == tie.x || k == tie.y;\n"));
        line(format_args!(
            "if (k > tie.x && k < tie.y) || (same && left > 0u) {{ left -= select(0u, 1u, same); sum += term(k, c, s); }}\n"
        ));
        line(format_args!("}}\n}}\n"));
    }
    line(format_args!("y[column] = bitcast<u32>(mean(sum, {keep}.0, c, s));\n"));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use naga::proc::Layouter;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    fn parsed(kernel: Kernel, dtype: Dtype) -> naga::Module {
        let source = kernel.source(dtype);
        naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{kernel:?}: {}", e.emit_to_string(&source)))
    }

    const ROOMS: [Room; 2] = [Room::LARGE, Room::SMALL];

    /// Its text for Metal and for DX12.
    fn translated(kernel: Kernel, dtype: Dtype, room: Room) -> [String; 2] {
        let module = parsed(kernel, dtype);
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let info = validator.validate(&module).unwrap_or_else(|e| panic!("{kernel:?}: {e:?}"));
        let constants = kernel.constants(room).into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .unwrap_or_else(|e| panic!("{kernel:?}: {e:?}"));
        let options = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
        let (metal, names) = naga::back::msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|e| panic!("{kernel:?} for Metal: {e:?}"));
        names.entry_point_names.iter().for_each(|name| assert!(name.is_ok(), "{kernel:?} for Metal: {name:?}"));
        let mut dx12 = String::new();
        naga::back::hlsl::Writer::new(&mut dx12, &Default::default(), &Default::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{kernel:?} for DX12: {e:?}"));
        [metal, dx12]
    }

    pub(crate) fn kernels() -> Vec<Kernel> {
        let mut all = vec![
            Kernel::Mix,
            Kernel::WeiszfeldStep,
            Kernel::Momentum,
            Kernel::Finite,
            Kernel::Gather,
            Kernel::Read,
            Kernel::Copy,
            Kernel::Spoil,
        ];
        all.extend([Kernel::Add, Kernel::Look, Kernel::Merge, Kernel::Judge, Kernel::Verdict]);
        all.extend([Kernel::LeastScores, Kernel::Nearest, Kernel::WeiszfeldSolve, Kernel::ClipSolve]);
        let coordinate = |stat, values| {
            let kernel = move |of, diagnose| Coordinate { stat, values, of, diagnose };
            let plain = kernel(Of::Rows, false);
            let stepped = Coordinate { of: if plain.can_step() { Of::Momentums } else { Of::Rows }, ..plain };
            let means = Of::mixed(true, values + values % 3, values, 1 << 16);
            let diagnosed = kernel([Of::Rows, Of::Sums, means][values % 3], true);
            [plain, stepped, kernel(Of::Sums, false), kernel(means, false), diagnosed].map(Kernel::Coordinate)
        };
        all.extend([1, 2].map(|frames| Kernel::Gram { rows: MOST_ENTRIES, frames }));
        for rows in [1, 2, 3, 4, 5, 8, 15, 25, 33, 51, 64, 65, 100, 256, 1000, MOST_ROWS] {
            all.extend([1, 2].map(|frames| Kernel::Gram { rows, frames }));
            all.extend([Kernel::Deviations { values: rows }, Kernel::Weiszfeld { rows }]);
            all.extend(coordinate(Stat::median(rows), rows));
            all.extend(coordinate(Stat::MajoritySign, rows));
            let counted = |stat| Kernel::Coordinate(Coordinate { stat, values: rows, of: Of::Rows, diagnose: rows % 2 == 0 });
            all.push(counted(Stat::CountedMedian));
            for f in [0, 1, rows / 5, (rows - 1) / 2] {
                if 2 * f < rows {
                    all.push(counted(Stat::WeightedTrimmedMean { trim: f }));
                    all.extend(coordinate(Stat::Ranks { from: f, to: rows - f }, rows));
                    all.extend(coordinate(Stat::nearest_median(rows, rows - f, Ties::LowerValue), rows));
                    all.extend(coordinate(Stat::Nearest { from: f, to: rows - f, keep: rows - f, ties: Ties::LowerRow }, rows));
                    all.extend(coordinate(Stat::nearest_median(rows, rows - 2 * f, Ties::LowerRow), rows));
                }
            }
        }
        all
    }

    #[test]
    fn every_specialisation_is_valid() {
        let check = |kernel, dtype, room| translated(kernel, dtype, room).iter().for_each(|text| assert!(text.contains("main")));
        for kernel in kernels() {
            check(kernel, Dtype::F32, Room::LARGE);
            if kernel.constants(Room::SMALL) != kernel.constants(Room::LARGE) {
                check(kernel, Dtype::F32, Room::SMALL);
            }
        }
        for dtype in [Dtype::F16, Dtype::Bf16] {
            kernels()
                .into_iter()
                .filter(|kernel| kernel.name() != "coordinate")
                .for_each(|kernel| check(kernel, dtype, Room::LARGE));
        }
    }

    #[test]
    fn tiles_fit_their_memory() {
        for room in ROOMS {
            for rows in 1..=MOST_ENTRIES {
                let width = room.width(quads(rows));
                assert!(stride(quads(rows)) * width < room.tile && width <= THREADS);
                assert!(quads(rows) * width <= TURNS * THREADS);
            }
            // What invocations share is added in the tile's memory, two vectors each.
            assert!(room.tile >= 2 * THREADS);
            assert!(room.keys >= MOST_ROWS.next_power_of_two() && room.keys / THREADS.min(room.keys) >= 1);
        }
        // Each square of a group has an invocation; a stripe has whole squares, and two of them the room of the most rows that are whole.
        assert!(
            squares(4 * WHOLE) <= THREADS
                && STRIPE / 2 * (STRIPE / 2) <= THREADS
                && STRIPE.is_multiple_of(2)
                && 2 * STRIPE <= WHOLE
        );
        assert_eq!(Room::LARGE.width(WHOLE), 32);
        assert_eq!(Room::within(16 << 10), Some(Room::SMALL));
        assert_eq!(Room::within(24 << 10), Some(Room::LARGE));
        assert_eq!(Room::within(8 << 10), None);
    }

    /// Offsets and size of a struct as WGSL lays it out.
    fn layout(module: &naga::Module, name: &str) -> (Vec<u32>, u32) {
        let (handle, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).expect(name);
        let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("{name} is no struct") };
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).expect("types have layouts");
        (members.iter().map(|m| m.offset).collect(), layouter[handle].size)
    }

    #[test]
    fn host_structs_are_those_of_the_shader() {
        use crate::engines::gpu::params::{Params, RowEntry};
        use std::mem::{offset_of, size_of};
        let module = parsed(Kernel::Mix, Dtype::F32);
        let rows = [
            offset_of!(RowEntry, index),
            offset_of!(RowEntry, scale),
            offset_of!(RowEntry, weight),
            offset_of!(RowEntry, weight_low),
        ];
        assert_eq!(layout(&module, "Row"), (rows.map(|o| o as u32).to_vec(), size_of::<RowEntry>() as u32));
        let params = [
            offset_of!(Params, columns),
            offset_of!(Params, stride),
            offset_of!(Params, rows),
            offset_of!(Params, centre),
            offset_of!(Params, first),
            offset_of!(Params, beta),
            offset_of!(Params, blocks),
            offset_of!(Params, tolerance),
            offset_of!(Params, voters),
            offset_of!(Params, anchor),
            offset_of!(Params, base),
            offset_of!(Params, momentum_stride),
            offset_of!(Params, zero),
        ];
        assert_eq!(layout(&module, "Params"), (params.map(|o| o as u32).to_vec(), size_of::<Params>() as u32));
    }

    /// Numbers that stand both in WGSL and in Rust.
    #[test]
    fn shared_constants_agree() {
        let value = |module: &naga::Module, name: &str| {
            let (_, constant) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).expect(name);
            match module.global_expressions[constant.init] {
                naga::Expression::Literal(naga::Literal::U32(v)) => v as usize,
                ref other => panic!("{name}: {other:?}"),
            }
        };
        let add = parsed(Kernel::Add, Dtype::F32);
        let words = crate::engines::exact_sum::ADDED;
        assert_eq!(["SUMS", "BLOCKS", "WORDS"].map(|name| value(&add, name)), [SUMS_ADDED, BLOCKS_ADDED, words]);
        let gram = parsed(Kernel::Gram { rows: 5, frames: 1 }, Dtype::F32);
        let shared = ["BLOCK", "THREADS", "TURNS", "MOST_ENTRIES", "EXPONENT", "ORIGIN", "GIVEN"].map(|name| value(&gram, name));
        let (exponent, origin, given) =
            (crate::engines::keys::EXPONENT as usize, crate::engines::passes::ORIGIN, crate::engines::passes::GIVEN);
        assert_eq!(shared, [BLOCK, THREADS, TURNS, MOST_ENTRIES, exponent, origin, given]);
        assert_eq!(value(&parsed(Kernel::Deviations { values: 5 }, Dtype::F32), "THREADS"), DEVIATED);
        assert_eq!(value(&parsed(Kernel::Momentum, Dtype::F32), "STEPPED"), STEPPED);
        let look = parsed(Kernel::Look, Dtype::F32);
        let [tile, across] = ["TILE", "ACROSS"].map(|name| value(&look, name));
        assert!((crate::engines::gpu::device_rule::MOST_ROWS | 1) * across <= tile, "some columns of the most rows");
        assert_eq!(["THREADS", "READ_VECTORS"].map(|name| value(&parsed(Kernel::Read, Dtype::F32), name)), [THREADS, READ_VECTORS]);
    }
}
