// Part of every kernel: a slab of columns of the matrix, the rows that take part, and the order of values by their bits.
//
// x        bits of the values, row-major: row r, column k of the slab is value params.base + r * params.stride + k. What bits a value has as f32 is
//          for `x_at` to say, which stands in matrix_f32, matrix_f16 or matrix_bf16. Bits, not floats:
//          WGSL lets a compiler assume that floats are neither NaN nor infinite, so hostile values are classified and ordered
//          as integers before any float operation sees them.
// given    bits of one more row, that is not in the matrix, in f32
// rows     the rows that take part, in order; virtual ones may be among them
// params   sizes, the same for all invocations

struct Row {
    // Row of the matrix.
    index: u32,
    // A power of two that brings the row into the range of f32 squares.
    scale: f32,
    // Weight of the scaled row in a sum; in the Weiszfeld kernels its scale relative to the largest one, in the Gram kernel its scale
    // about the anchor.
    weight: f32,
    // What rounding took from the weight.
    weight_low: f32,
}

struct Params {
    // Columns of the slab.
    columns: u32,
    // Values from one row of the slab to the next.
    stride: u32,
    // Rows that take part.
    rows: u32,
    // Row that others are centred on, or MEDIAN.
    centre: u32,
    // First value this dispatch writes in its output.
    first: u32,
    // Momentum coefficient, for the momentum kernel.
    beta: f32,
    // Blocks of columns before the last dispatch is complete, for the Weiszfeld step.
    blocks: u32,
    // Largest relative change of a weight at which the Weiszfeld iteration stops.
    tolerance: f32,
    // The first so many rows vote for the median that others are centred on.
    voters: u32,
    // Row that others are centred on a second time.
    anchor: u32,
    // Values before the first one of the slab.
    base: u32,
    // Values from one row of the slab of momentums to the next, for the kernels that step them.
    momentum_stride: u32,
    // 0, which compilers do not know.
    zero: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<uniform> params: Params;
@group(0) @binding(6) var<storage, read> given: array<u32>;

const MEDIAN = 0xffffffffu;
// Virtual rows: one of zeros, and the given one.
const ORIGIN = 0xfffffffeu;
const GIVEN = 0xfffffffdu;
// Bits of the exponent; only NaN and infinities have all of them.
const EXPONENT = 0x7f800000u;
const LARGEST = 0x1.fffffep+127f;

fn magnitude(bits: u32) -> u32 {
    return bits & 0x7fffffffu;
}

// The order -NaN < -inf < ... < -0 < +0 < ... < +inf < +NaN as signed integers; the map is its own inverse.
fn key(bits: u32) -> i32 {
    return bitcast<i32>(bits ^ (bitcast<u32>(bitcast<i32>(bits) >> 31u) & 0x7fffffffu));
}

fn bits_of(k: i32) -> u32 {
    return bitcast<u32>(key(bitcast<u32>(k)));
}

fn value(k: i32) -> f32 {
    return bitcast<f32>(bits_of(k));
}

// x. A compiler that fuses, reassociates or factors floats does not see through it.
fn opaque(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ params.zero);
}

// The bits of a value of the matrix.
fn real_at(row: u32, column: u32) -> u32 {
    return x_at(params.base + row * params.stride + column);
}

// The same, 0 behind the last column.
fn real_or_zero(row: u32, column: u32) -> u32 {
    if column < params.columns {
        return real_at(row, column);
    }
    return 0u;
}

fn bits_at(row: u32, column: u32) -> u32 {
    if row < GIVEN {
        return real_at(row, column);
    }
    return select(0u, given[column], row == GIVEN);
}

// The row of the matrix that takes part as number i; one of zeros beyond the last one.
fn index_of(i: u32) -> u32 {
    if i < params.rows {
        return rows[i].index;
    }
    return ORIGIN;
}

// The bits of four rows' values in a column. All are asked for before one is looked at.
fn bits_of_rows(i: u32, column: u32) -> vec4<u32> {
    let index = vec4(index_of(i), index_of(i + 1u), index_of(i + 2u), index_of(i + 3u));
    let is_real = index < vec4(GIVEN);
    let at = params.base + select(vec4<u32>(), index, is_real) * params.stride + column;
    let bits = vec4(x_at(at.x), x_at(at.y), x_at(at.z), x_at(at.w));
    if all(is_real) {
        return bits;
    }
    return select(select(vec4<u32>(), vec4(given[column]), index == vec4(GIVEN)), bits, is_real);
}

// A dispatch has at most 65535 groups a side: groups are counted over both.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
