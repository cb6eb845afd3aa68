// Part of the kernels that need all rows of some columns at once: a tile in workgroup memory, centred and scaled on load, each
// value read once from memory by a group.
//
// A group owns a block of BLOCK columns and walks it in tiles of WIDTH. Rows are kept four to a vector: tile[k * QUADS + q] holds
// rows 4p .. 4p + 3 of column k, zero beyond the last row and the last column; p = q + shift.x for q < SPLIT, q + shift.y for the others.
//
// notes    raised to the largest magnitude (as bits) of each row, in the order of rows

const BLOCK = 2048u;
const THREADS = 256u;
// Vectors of four rows: ceil(rows / 4), or as many of them as a group looks at.
override QUADS: u32 = 1u;
// QUADS, or where the second part of a tile begins.
override SPLIT: u32 = 1u;
// Columns of a tile: a power of two with QUADS * WIDTH <= TILE and WIDTH <= THREADS.
override WIDTH: u32 = 1u;
// Vectors of a tile.
override TILE: u32 = 512u;
// Most rows that are looked at: those of a matrix, and two virtual ones.
const MOST_ENTRIES = 1026u;

@group(0) @binding(4) var<storage, read_write> notes: array<atomic<u32>>;

var<private> shift: vec2<u32>;

// Turns that an invocation takes to fill a tile.
const TURNS = 4u;
// The largest magnitudes it loaded in each, of the same four rows in every tile.
var<private> loaded: array<vec4<u32>, TURNS>;

var<workgroup> tile: array<vec4<f32>, TILE>;
// A column is centred on the midpoint of two values, often the same.
var<workgroup> centres: array<vec2<f32>, THREADS>;
// The rows' largest magnitudes.
var<workgroup> top: array<atomic<u32>, MOST_ENTRIES>;

// Rows whose values an invocation asks for at a time.
const AT_ONCE = 8u;

// Finds the two middle values of each column among the rows that vote, bit by bit from the highest: needs no memory. A column's invocations
// count a share of the rows each. All invocations call it.
fn find_medians(at: u32, end: u32, lane: u32) {
    let k = lane % WIDTH;
    let ranks = vec2<f32>(vec2((params.voters - 1u) / 2u, params.voters / 2u));
    var found = vec2<u32>();
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        let trial = found | vec2(bit);
        var below = vec2<f32>();
        if at + k < end {
            // Several rows are asked for before one is looked at.
            for (var first = lane / WIDTH; first < params.voters; first += AT_ONCE * (THREADS / WIDTH)) {
                var bits: array<u32, AT_ONCE>;
                for (var turn = 0u; turn < AT_ONCE; turn++) {
                    let i = min(first + turn * (THREADS / WIDTH), params.voters - 1u);
                    bits[turn] = bits_at(rows[i].index, at + k);
                }
                for (var turn = 0u; turn < AT_ONCE; turn++) {
                    // Unsigned order: the sign bit of the key flipped.
                    let v = bitcast<u32>(key(bits[turn])) ^ 0x80000000u;
                    let votes = first + turn * (THREADS / WIDTH) < params.voters;
                    below += select(vec2(0.0), vec2(1.0), (vec2(v) < trial) & vec2(votes));
                }
            }
        }
        centres[lane] = below;
        workgroupBarrier();
        below = vec2<f32>();
        for (var other = k; other < THREADS; other += WIDTH) {
            below += centres[other];
        }
        workgroupBarrier();
        found = select(found, trial, below <= ranks);
    }
    if lane < WIDTH {
        centres[lane] = vec2(value(bitcast<i32>(found.x ^ 0x80000000u)), value(bitcast<i32>(found.y ^ 0x80000000u)));
    }
}

// Loads the tile of columns at .. at + WIDTH, of which those up to `end` exist, about params.centre at the rows' scales, or about
// params.anchor at those they have about it. All invocations call it.
fn load_tile(at: u32, end: u32, lane: u32, anchored: bool) {
    let about = select(params.centre, params.anchor, anchored);
    if about == MEDIAN {
        find_medians(at, end, lane);
    } else if lane < WIDTH && at + lane < end {
        centres[lane] = vec2(bitcast<f32>(bits_at(about, at + lane)));
    }
    workgroupBarrier();
    for (var turn = 0u; turn < TURNS; turn++) {
        let item = lane + turn * THREADS;
        let k = item % WIDTH;
        if item < QUADS * WIDTH {
            var values = vec4<f32>();
            if at + k < end {
                let i = first_row(item / WIDTH);
                let entries = Entries(entry(i), entry(i + 1u), entry(i + 2u), entry(i + 3u));
                let bits = bits_of_entries(entries, at + k);
                loaded[turn] = max(loaded[turn], bits & vec4(0x7fffffffu));
                values = centred(entries, bits, centres[k], about == MEDIAN, anchored);
            }
            tile[k * QUADS + item / WIDTH] = values;
        }
    }
    workgroupBarrier();
}

// The first of the four rows of a vector.
fn first_row(q: u32) -> u32 {
    return 4u * (q + select(shift.x, shift.y, q >= SPLIT));
}

// Four rows beside each other.
struct Entries {
    a: Row,
    b: Row,
    c: Row,
    d: Row,
}

// A row that takes part; one of zeros beyond the last one.
fn entry(i: u32) -> Row {
    if i < params.rows {
        return rows[i];
    }
    return Row(ORIGIN, 0.0, 0.0, 0.0);
}

// The bits of the rows' values in a column. All are asked for before one is looked at.
fn bits_of_entries(rows: Entries, column: u32) -> vec4<u32> {
    let index = vec4(rows.a.index, rows.b.index, rows.c.index, rows.d.index);
    let is_real = index < vec4(GIVEN);
    let at = params.base + select(vec4<u32>(), index, is_real) * params.stride + column;
    let bits = vec4(x_at(at.x), x_at(at.y), x_at(at.z), x_at(at.w));
    if all(is_real) {
        return bits;
    }
    return select(select(vec4<u32>(), vec4(given[column]), index == vec4(GIVEN)), bits, is_real);
}

// The rows' values, scaled, about one, or about the midpoint of two.
fn centred(rows: Entries, bits: vec4<u32>, about: vec2<f32>, is_between: bool, anchored: bool) -> vec4<f32> {
    // Scaled first: the difference of two huge values would overflow. The midpoint is taken of the differences, where it is rounded to
    // their size.
    var s = vec4(rows.a.scale, rows.b.scale, rows.c.scale, rows.d.scale);
    if anchored {
        s = vec4(rows.a.weight, rows.b.weight, rows.c.weight, rows.d.weight);
    }
    let scaled = bitcast<vec4<f32>>(bits) * s;
    let v = vec4(opaque(scaled.x), opaque(scaled.y), opaque(scaled.z), opaque(scaled.w));
    if is_between {
        return 0.5 * (v - about.x * s) + 0.5 * (v - about.y * s);
    }
    return v - about.x * s;
}

// Hands the largest magnitudes of the group's columns to the host. All invocations call it, after the last tile.
fn note_largest(lane: u32) {
    for (var turn = 0u; turn < TURNS; turn++) {
        let item = lane + turn * THREADS;
        if item < QUADS * WIDTH {
            let i = first_row(item / WIDTH);
            for (var j = 0u; j < 4u; j++) {
                if i + j < params.rows {
                    atomicMax(&top[i + j], loaded[turn][j]);
                }
            }
        }
    }
    workgroupBarrier();
    for (var i = lane; i < params.rows; i += THREADS) {
        atomicMax(&notes[i], atomicLoad(&top[i]));
    }
}
