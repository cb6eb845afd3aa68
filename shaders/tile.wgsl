// Part of the kernels that need all rows of some columns at once: a tile in workgroup memory, centred and scaled on load, each
// value read once from memory by a group.
//
// A group owns a block of BLOCK columns and walks it in tiles of WIDTH. Rows are kept four to a vector: tile[k * STRIDE + q] holds
// rows 4p .. 4p + 3 of column k, zero beyond the last row and the last column; p = q + shift.x for q < SPLIT, q + shift.y for the others.
// The values of a tile are asked for before the one before it is computed with, in one frame.
//
// notes    raised to the largest magnitude (as bits) of each row, in the order of rows

const BLOCK = 2048u;
const THREADS = 256u;
// Vectors of four rows: ceil(rows / 4), or as many of them as a group looks at.
override QUADS: u32 = 1u;
// QUADS, or where the second part of a tile begins.
override SPLIT: u32 = 1u;
// Vectors from one column to the next: QUADS, or one more where that is even. Neighbours then are in different banks of the memory.
override STRIDE: u32 = 1u;
// Columns of a tile: a power of two with STRIDE * WIDTH < TILE and WIDTH <= THREADS.
override WIDTH: u32 = 1u;
// Vectors of a tile.
override TILE: u32 = 529u;
// Most rows that are looked at: those of a matrix, and two virtual ones.
const MOST_ENTRIES = 1026u;

@group(0) @binding(4) var<storage, read_write> notes: array<atomic<u32>>;

var<private> shift: vec2<u32>;

// Turns that an invocation takes to fill a tile: each one vector, of the same four rows in every tile. They are written one by one where they
// are taken: a loop over what is in flight would have to wait for it.
const TURNS = 4u;
// The values it asked for in each, and their centre.
var<private> asked: array<vec4<u32>, TURNS>;
var<private> asked_centre: u32;
// The largest magnitudes it loaded in each.
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

// The vector that an invocation fills in a turn; its column is lane % WIDTH.
fn quad_of(lane: u32, turn: u32) -> u32 {
    return lane / WIDTH + turn * (THREADS / WIDTH);
}

// Does any invocation have a vector to fill in this turn? Known when a kernel is compiled.
fn has(turn: u32) -> bool {
    return turn * (THREADS / WIDTH) < QUADS;
}

// Asks for the values of columns at .. at + WIDTH, of which those up to `end` exist, and for their centres.
fn ask(at: u32, end: u32, lane: u32) {
    let column = at + lane % WIDTH;
    if column >= end {
        return;
    }
    if params.centre != MEDIAN {
        asked_centre = bits_at(params.centre, column);
    }
    ask_turn(0u, column, lane);
    ask_turn(1u, column, lane);
    ask_turn(2u, column, lane);
    ask_turn(3u, column, lane);
}

fn ask_turn(turn: u32, column: u32, lane: u32) {
    let q = quad_of(lane, turn);
    if has(turn) && q < QUADS {
        asked[turn] = bits_of_rows(first_row(q), column);
    }
}

// Fills the tile with the values that were asked for, about params.centre at the rows' scales, or about params.anchor at those they have
// about it. All invocations call it, when none needs the tile before.
fn fill(at: u32, end: u32, lane: u32, anchored: bool) {
    let is_between = select(params.centre, params.anchor, anchored) == MEDIAN;
    let k = lane % WIDTH;
    let exists = at + k < end;
    var about = vec2(bitcast<f32>(asked_centre));
    if is_between {
        find_medians(at, end, lane);
        workgroupBarrier();
        about = centres[k];
    } else if anchored && exists {
        about = vec2(bitcast<f32>(bits_at(params.anchor, at + k)));
    }
    let scene = Scene(exists, about, is_between, anchored);
    fill_turn(0u, scene, lane);
    fill_turn(1u, scene, lane);
    fill_turn(2u, scene, lane);
    fill_turn(3u, scene, lane);
    workgroupBarrier();
}

// How an invocation sees its column.
struct Scene {
    exists: bool,
    about: vec2<f32>,
    is_between: bool,
    anchored: bool,
}

fn fill_turn(turn: u32, scene: Scene, lane: u32) {
    let q = quad_of(lane, turn);
    if has(turn) && q < QUADS {
        var values = vec4<f32>();
        if scene.exists {
            loaded[turn] = max(loaded[turn], asked[turn] & vec4(0x7fffffffu));
            values = centred(scales_of(first_row(q), scene.anchored), asked[turn], scene.about, scene.is_between);
        }
        tile[lane % WIDTH * STRIDE + q] = values;
    }
}

// The first of the four rows of a vector.
fn first_row(q: u32) -> u32 {
    return 4u * (q + select(shift.x, shift.y, q >= SPLIT));
}

// The scale of row i, zero beyond the last one.
fn scale_of(i: u32, anchored: bool) -> f32 {
    if i >= params.rows {
        return 0.0;
    }
    if anchored {
        return rows[i].weight;
    }
    return rows[i].scale;
}

fn scales_of(i: u32, anchored: bool) -> vec4<f32> {
    return vec4(scale_of(i, anchored), scale_of(i + 1u, anchored), scale_of(i + 2u, anchored), scale_of(i + 3u, anchored));
}

// The rows' values, scaled, about one, or about the midpoint of two.
fn centred(s: vec4<f32>, bits: vec4<u32>, about: vec2<f32>, is_between: bool) -> vec4<f32> {
    // Scaled first: the difference of two huge values would overflow. The midpoint is taken of the differences, where it is rounded to
    // their size.
    let scaled = bitcast<vec4<f32>>(bits) * s;
    let v = vec4(opaque(scaled.x), opaque(scaled.y), opaque(scaled.z), opaque(scaled.w));
    if is_between {
        return 0.5 * (v - about.x * s) + 0.5 * (v - about.y * s);
    }
    return v - about.x * s;
}

// Hands the largest magnitudes of the group's columns to the host. All invocations call it, after the last tile.
fn note_largest(lane: u32) {
    note_turn(0u, lane);
    note_turn(1u, lane);
    note_turn(2u, lane);
    note_turn(3u, lane);
    workgroupBarrier();
    for (var i = lane; i < params.rows; i += THREADS) {
        atomicMax(&notes[i], atomicLoad(&top[i]));
    }
}

fn note_turn(turn: u32, lane: u32) {
    let q = quad_of(lane, turn);
    if has(turn) && q < QUADS {
        let i = first_row(q);
        note_row(i, loaded[turn].x);
        note_row(i + 1u, loaded[turn].y);
        note_row(i + 2u, loaded[turn].z);
        note_row(i + 3u, loaded[turn].w);
    }
}

fn note_row(i: u32, largest: u32) {
    if i < params.rows {
        atomicMax(&top[i], largest);
    }
}

// Of so many neighbours that share a unit, of which this one is number `share`, all add what they hold to what the first one holds: one
// vector in tile[lane], and one in tile[THREADS + lane]. All invocations call it, those that share no unit as number `shares`.
fn add_shares(lane: u32, share: u32, shares: u32) {
    workgroupBarrier();
    for (var left = shares; left > 1u;) {
        let kept = (left + 7u) / 8u;
        if share < kept {
            var first = tile[lane];
            var second = tile[THREADS + lane];
            for (var other = kept; share + other < left; other += kept) {
                first += tile[lane + other];
                second += tile[THREADS + lane + other];
            }
            tile[lane] = first;
            tile[THREADS + lane] = second;
        }
        left = kept;
        workgroupBarrier();
    }
}
