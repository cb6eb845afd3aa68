// Inner products of all pairs of rows over one block of columns, g_ij = sum_k s_i (x_ik - c_k) s_j (x_jk - c_k), summed in f32
// over at most BLOCK columns; the sums of blocks are added exactly (add.wgsl, or the host). In one frame (params.centre, scale), or in the
// same read in a second one (params.anchor, weight).
//
// One group a block of columns. Each invocation owns one square of 4 x 4 pairs and every LANES-th column of the tile. Where there are more
// than 256 squares a group takes two stripes of SPLIT quads of rows, group.z counts the pairs of stripes, and its invocations own the
// squares between the two.
//
// sums     for each block and frame the upper triangle, row by row

// Squares of a group: QUADS (QUADS + 1) / 2, or those between two stripes.
override SQUARES: u32 = 1u;
// Invocations that share a square: THREADS / SQUARES, at least 1.
override LANES: u32 = 1u;
// 1 or 2.
override FRAMES: u32 = 1u;

@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

// Sums of a square, row by row.
struct Square {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
}

// Adds the products of the tile's columns share, share + LANES, ... to the square at (a, b).
fn multiplied(before: Square, a: u32, b: u32, share: u32) -> Square {
    var sum = before;
    for (var k = share; k < WIDTH; k += LANES) {
        let u = tile[k * QUADS + a];
        let v = tile[k * QUADS + b];
        sum.r0 += u.x * v;
        sum.r1 += u.y * v;
        sum.r2 += u.z * v;
        sum.r3 += u.w * v;
    }
    return sum;
}

// Adds the shares of every square in order, in the tile's memory, and writes what is in the upper triangle at `first`. All invocations
// call it.
fn finish(share_of: Square, quads: vec2<u32>, local: u32, share: u32, works: bool, first: u32) {
    var sum = share_of;
    let at = local * 4u;
    for (var turn = 0u; turn < LANES; turn++) {
        if works && share == turn {
            if turn > 0u {
                sum.r0 += tile[at];
                sum.r1 += tile[at + 1u];
                sum.r2 += tile[at + 2u];
                sum.r3 += tile[at + 3u];
            }
            tile[at] = sum.r0;
            tile[at + 1u] = sum.r1;
            tile[at + 2u] = sum.r2;
            tile[at + 3u] = sum.r3;
        }
        workgroupBarrier();
    }
    if works && share == LANES - 1u {
        let m = params.rows;
        for (var r = 0u; r < 4u; r++) {
            for (var c = 0u; c < 4u; c++) {
                let i = 4u * quads.x + r;
                let j = 4u * quads.y + c;
                if i <= j && j < m {
                    sums[first + i * m - i * (i + 1u) / 2u + j] = tile[at + r][c];
                }
            }
        }
    }
    workgroupBarrier();
}

// The place (a, b), a <= b, of a number in the upper triangle of side x side, row by row.
fn place(number: u32, side: u32) -> vec2<u32> {
    var a = 0u;
    var left = number;
    while a + 1u < side && left >= side - a {
        left -= side - a;
        a++;
    }
    return vec2(a, min(a + left, side - 1u));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = linear_group(group, groups);
    let begin = block * BLOCK;
    if begin >= params.columns {
        return;
    }
    let end = min(params.columns, begin + BLOCK);
    let local = lane % SQUARES;
    let share = lane / SQUARES;
    let works = share < LANES;
    var at_tile = vec2(local / SPLIT, SPLIT + local % SPLIT);
    if QUADS == SPLIT {
        at_tile = place(local, QUADS);
    } else {
        let stripes = place(group.z, ((params.rows + 3u) / 4u + SPLIT - 1u) / SPLIT);
        // The second stripe stands behind the first.
        shift = vec2(stripes.x, stripes.y - 1u) * SPLIT;
    }
    let a = at_tile.x;
    let b = at_tile.y;

    var central = Square();
    var anchored = Square();
    for (var at = begin; at < end; at += WIDTH) {
        load_tile(at, end, lane, false);
        if works {
            central = multiplied(central, a, b, share);
        }
        workgroupBarrier();
        if FRAMES > 1u {
            load_tile(at, end, lane, true);
            if works {
                anchored = multiplied(anchored, a, b, share);
            }
            workgroupBarrier();
        }
    }
    note_largest(lane);

    let pairs = params.rows * (params.rows + 1u) / 2u;
    let first = params.first + block * FRAMES * pairs;
    let quads = vec2(a + shift.x, b + select(shift.x, shift.y, b >= SPLIT));
    finish(central, quads, local, share, works, first);
    if FRAMES > 1u {
        finish(anchored, quads, local, share, works, first + pairs);
    }
}
