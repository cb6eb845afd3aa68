// Inner products of all pairs of rows over one block of columns, g_ij = sum_k s_i (x_ik - c_k) s_j (x_jk - c_k), summed in f32
// over at most BLOCK columns; the host adds the blocks exactly.
//
// One group a block of columns (and a slice of the pairs, group.z, when there are more than 256 squares of 4 x 4 pairs). Each
// invocation owns one square and every LANES-th column of the tile.
//
// sums     for each block the upper triangle, row by row

// Squares of 4 x 4 pairs: QUADS (QUADS + 1) / 2.
override SQUARES: u32 = 1u;
// Invocations that share a square: THREADS / SQUARES, at least 1.
override LANES: u32 = 1u;

@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = linear_group(group, groups);
    let begin = block * BLOCK;
    if begin >= params.columns {
        return;
    }
    let end = min(params.columns, begin + BLOCK);
    let per_slice = min(SQUARES, THREADS);
    let local = lane % per_slice;
    let share = lane / per_slice;
    let square = group.z * THREADS + local;
    let works = square < SQUARES && share < LANES;
    // The square's place (a, b), a <= b, in the upper triangle, row by row.
    var a = 0u;
    var left = square;
    while a + 1u < QUADS && left >= QUADS - a {
        left -= QUADS - a;
        a++;
    }
    let b = min(a + left, QUADS - 1u);

    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var at = begin; at < end; at += WIDTH) {
        load_tile(at, end, lane);
        if works {
            for (var k = share; k < WIDTH; k += LANES) {
                let u = tile[k * QUADS + a];
                let v = tile[k * QUADS + b];
                s0 += u.x * v;
                s1 += u.y * v;
                s2 += u.z * v;
                s3 += u.w * v;
            }
        }
        workgroupBarrier();
    }
    note_largest(lane);

    // The shares of a square are added in order, in the tile's memory.
    for (var turn = 0u; turn < LANES; turn++) {
        if works && share == turn {
            let at = local * 4u;
            if turn > 0u {
                s0 += tile[at];
                s1 += tile[at + 1u];
                s2 += tile[at + 2u];
                s3 += tile[at + 3u];
            }
            tile[at] = s0;
            tile[at + 1u] = s1;
            tile[at + 2u] = s2;
            tile[at + 3u] = s3;
        }
        workgroupBarrier();
    }
    if !works || share != LANES - 1u {
        return;
    }
    let m = params.rows;
    let first = params.first + block * (m * (m + 1u) / 2u);
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = 4u * a + r;
            let j = 4u * b + c;
            if i <= j && j < m {
                sums[first + i * m - i * (i + 1u) / 2u + j] = tile[local * 4u + r][c];
            }
        }
    }
}
