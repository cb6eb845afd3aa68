//! The text of every kernel: files of `shaders/`, joined from a short list of parts. Only what WGSL cannot express is
//! generated: unrolled networks and the lengths of private arrays. Nothing here needs a device.

use crate::engines::network::Network;
use crate::plan::Stat;
use std::fmt::Write;

const MATRIX: &str = include_str!("../../../shaders/matrix.wgsl");
const COORDINATE: &str = include_str!("../../../shaders/coordinate.wgsl");
const COORDINATE_LOOP: &str = include_str!("../../../shaders/coordinate_loop.wgsl");
const MIX: &str = include_str!("../../../shaders/mix.wgsl");
const TILE: &str = include_str!("../../../shaders/tile.wgsl");
const GRAM: &str = include_str!("../../../shaders/gram.wgsl");
const WEISZFELD: &str = include_str!("../../../shaders/weiszfeld.wgsl");
const WEISZFELD_STEP: &str = include_str!("../../../shaders/weiszfeld_step.wgsl");
const MOMENTUM: &str = include_str!("../../../shaders/momentum.wgsl");
const GATHER: &str = include_str!("../../../shaders/gather.wgsl");

/// Most rows whose keys stay in registers, ordered by straight-line text; beyond it a loop over a private array.
pub(crate) const UNROLLED: usize = 64;

/// Most rows a GPU kernel takes.
pub(crate) const MOST_ROWS: usize = 1024;

/// Columns a group of a tiled kernel sums, as in `tile.wgsl`.
pub(crate) const BLOCK: usize = 4096;

/// Invocations of a group of a tiled kernel, and vectors of a tile, as in `tile.wgsl`.
const THREADS: usize = 256;
const TILE_VECTORS: usize = 1024;

/// One specialisation of a kernel; each is compiled once for an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Coordinate { stat: Stat, rows: usize },
    Mix,
    Gram { rows: usize },
    Weiszfeld { rows: usize },
    WeiszfeldStep,
    Momentum,
    Gather,
}

impl Kernel {
    /// The name of its file, and of its pipeline in a profiler.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::Coordinate { .. } => "coordinate",
            Kernel::Mix => "mix",
            Kernel::Gram { .. } => "gram",
            Kernel::Weiszfeld { .. } => "weiszfeld",
            Kernel::WeiszfeldStep => "weiszfeld_step",
            Kernel::Momentum => "momentum",
            Kernel::Gather => "gather",
        }
    }

    /// The whole WGSL text.
    pub(crate) fn source(self) -> String {
        match self {
            Kernel::Coordinate { stat, rows } if rows <= UNROLLED => [MATRIX, COORDINATE, &unrolled(stat, rows)].concat(),
            Kernel::Coordinate { stat, rows } => [MATRIX, COORDINATE, &lengths(stat, rows), COORDINATE_LOOP].concat(),
            Kernel::Mix => [MATRIX, MIX].concat(),
            Kernel::Gram { .. } => [MATRIX, TILE, GRAM].concat(),
            Kernel::Weiszfeld { .. } => [MATRIX, TILE, WEISZFELD].concat(),
            Kernel::WeiszfeldStep => [MATRIX, WEISZFELD_STEP].concat(),
            Kernel::Momentum => [MATRIX, MOMENTUM].concat(),
            Kernel::Gather => [MATRIX, GATHER].concat(),
        }
    }

    /// Values of its `override` constants.
    pub(crate) fn constants(self) -> Vec<(&'static str, f64)> {
        let tile = |rows| vec![("QUADS", quads(rows) as f64), ("WIDTH", width(rows) as f64)];
        match self {
            Kernel::Gram { rows } => {
                let lanes = (THREADS / squares(rows)).max(1);
                [tile(rows), vec![("SQUARES", squares(rows) as f64), ("LANES", lanes as f64)]].concat()
            }
            Kernel::Weiszfeld { rows } => tile(rows),
            _ => Vec::new(),
        }
    }
}

/// Vectors of four rows.
pub(crate) fn quads(rows: usize) -> usize {
    rows.div_ceil(4)
}

/// Columns of a tile.
fn width(rows: usize) -> usize {
    let fits = (TILE_VECTORS / quads(rows)).clamp(1, THREADS);
    1 << fits.ilog2()
}

/// Squares of 4 × 4 pairs of rows.
fn squares(rows: usize) -> usize {
    quads(rows) * (quads(rows) + 1) / 2
}

/// Groups along z that a Gram dispatch needs to own every square.
pub(crate) fn slices(rows: usize) -> usize {
    squares(rows).div_ceil(THREADS)
}

/// The constants in front of `coordinate_loop.wgsl`.
fn lengths(stat: Stat, rows: usize) -> String {
    let (from, to, keep) = match stat {
        Stat::Ranks { from, to } => (from, to, 0),
        Stat::NearestMedian { keep } => (0, rows, keep),
    };
    format!("const N = {rows}u;\nconst FROM = {from}u;\nconst TO = {to}u;\nconst KEEP = {keep}u;\n")
}

/// The body of the coordinate kernel with the keys in registers: one `let` for each value that ever stands on a wire.
fn unrolled(stat: Stat, rows: usize) -> String {
    let network = Network::new(stat, rows);
    let mut wires: Vec<String> = (0..rows).map(|i| format!("k{i}")).collect();
    let mut text = String::from(
        "@compute @workgroup_size(64)\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {\n\
         let column = linear_group(group, groups) * 64u + lane;\n\
         if column >= params.columns { return; }\n",
    );
    let mut line = |parts: std::fmt::Arguments| text.write_fmt(parts).expect("writing to a string");
    for i in 0..rows {
        line(format_args!("let k{i} = load({i}u, column);\n"));
    }
    for (e, &(i, j)) in network.exchanges.iter().enumerate() {
        line(format_args!("let l{e} = min({a}, {b}); let h{e} = max({a}, {b});\n", a = wires[i], b = wires[j]));
        (wires[i], wires[j]) = (format!("l{e}"), format!("h{e}"));
    }
    let kept: Vec<String> = match stat {
        Stat::Ranks { from, to } => wires[from..to].to_vec(),
        Stat::NearestMedian { keep } => {
            let (a, b, f) = (&wires[(rows - 1) / 2], &wires[rows / 2], rows - keep);
            if f > 0 {
                // One bit for each pair of ranks (s, s + keep), of which one is kept: is the lower value farther?
                line(format_args!("var farther = 0u; var unsure = 0u;\n"));
                for s in 0..f {
                    let (low, high) = (&wires[s], &wires[s + keep]);
                    line(format_args!("let v{s} = compare({a}, {b}, {low}, {high});\n"));
                    line(format_args!("farther |= (v{s} & FARTHER) << {s}u; unsure |= (v{s} >> 1u) << {s}u;\n"));
                }
                // Near ties are rare, so the exact comparison stands once, in a loop.
                line(format_args!("if unsure != 0u {{\n"));
                line(format_args!("var low = array<i32, {f}>({});\n", wires[..f].join(", ")));
                line(format_args!("var high = array<i32, {f}>({});\n", wires[keep..].join(", ")));
                line(format_args!("for (var s = 0u; s < {f}u; s++) {{\n"));
                line(format_args!(
                    "if ((unsure >> s) & 1u) == 1u && exact_sign({a}, {b}, low[s], high[s]) > 0 {{ farther |= 1u << s; }}\n"
                ));
                line(format_args!("}}\n}}\n"));
            }
            for s in 0..f {
                line(format_args!("let n{s} = select({}, {}, ((farther >> {s}u) & 1u) == 1u);\n", wires[s], wires[s + keep]));
            }
            (0..f).map(|s| format!("n{s}")).chain(wires[f..keep].iter().cloned()).collect()
        }
    };
    match (&kept[..], stat) {
        ([only], Stat::Ranks { .. }) => line(format_args!("y[column] = bits_of({only});\n")),
        _ => {
            let centre = &wires[centre(stat, rows)];
            line(format_args!("var largest = 0.0;\n"));
            kept.iter().for_each(|k| line(format_args!("largest = larger(largest, {k});\n")));
            line(format_args!("let c = value({centre}); let s = shrink(largest);\nvar sum = 0.0;\n"));
            kept.iter().for_each(|k| line(format_args!("sum += term({k}, c, s);\n")));
            line(format_args!("y[column] = bitcast<u32>(mean(sum, {}.0, c, s));\n", kept.len()));
        }
    }
    text.push_str("}\n");
    text
}

/// The wire whose value means are centred on: in the middle of the values kept, itself kept.
fn centre(stat: Stat, n: usize) -> usize {
    match stat {
        Stat::Ranks { from, to } => (from + to - 1) / 2,
        Stat::NearestMedian { .. } => (n - 1) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::proc::Layouter;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    fn parsed(kernel: Kernel) -> naga::Module {
        let source = kernel.source();
        naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{kernel:?}: {}", e.emit_to_string(&source)))
    }

    fn validated(kernel: Kernel) -> Result<(), String> {
        let module = parsed(kernel);
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let info = validator.validate(&module).map_err(|e| format!("{kernel:?}: {e:?}"))?;
        let constants = kernel.constants().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .map(|_| ())
            .map_err(|e| format!("{kernel:?}: {e:?}"))
    }

    fn kernels() -> Vec<Kernel> {
        let mut all = vec![Kernel::Mix, Kernel::WeiszfeldStep, Kernel::Momentum, Kernel::Gather];
        for rows in [1, 2, 3, 4, 5, 8, 15, 25, 33, 51, 64, 65, 100, 256, 1000, MOST_ROWS] {
            all.extend([Kernel::Gram { rows }, Kernel::Weiszfeld { rows }]);
            all.push(Kernel::Coordinate { stat: Stat::Ranks { from: (rows - 1) / 2, to: rows / 2 + 1 }, rows });
            for f in [0, 1, rows / 5, (rows - 1) / 2] {
                if 2 * f < rows {
                    all.push(Kernel::Coordinate { stat: Stat::Ranks { from: f, to: rows - f }, rows });
                    all.push(Kernel::Coordinate { stat: Stat::NearestMedian { keep: rows - f }, rows });
                }
            }
        }
        all
    }

    #[test]
    fn every_specialisation_is_valid() {
        for kernel in kernels() {
            validated(kernel).unwrap();
        }
    }

    #[test]
    fn tiles_fit_their_memory() {
        for rows in 1..=MOST_ROWS {
            assert!(quads(rows) * width(rows) <= TILE_VECTORS && width(rows) <= THREADS);
            // The sums of all squares of a slice are gathered in the tile's memory, four vectors each.
            assert!(4 * squares(rows).min(THREADS) <= TILE_VECTORS && rows <= TILE_VECTORS);
        }
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
        let module = parsed(Kernel::Mix);
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
        ];
        assert_eq!(layout(&module, "Params"), (params.map(|o| o as u32).to_vec(), size_of::<Params>() as u32));
    }

    /// Numbers that stand both in WGSL and in Rust.
    #[test]
    fn shared_constants_agree() {
        let module = parsed(Kernel::Gram { rows: 5 });
        let value = |name: &str| {
            let (_, constant) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).expect(name);
            match module.global_expressions[constant.init] {
                naga::Expression::Literal(naga::Literal::U32(v)) => v as usize,
                ref other => panic!("{name}: {other:?}"),
            }
        };
        assert_eq!((value("BLOCK"), value("THREADS"), value("TILE")), (BLOCK, THREADS, TILE_VECTORS));
        assert_eq!(value("EXPONENT"), crate::engines::keys::EXPONENT as usize);
    }
}
