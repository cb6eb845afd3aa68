// Inner products of all pairs of rows over one block of columns, g_ij = sum_k s_i (x_ik - c_k) s_j (x_jk - c_k), summed in f32
// over at most BLOCK columns; the sums of blocks are added exactly (add.wgsl, or the host). In one frame (params.centre, scale), or in the
// same read in a second one (params.anchor, weight).
//
// One group a block of columns. Each invocation owns one square of 8 x 8 pairs, of which those on the diagonal leave out a quarter, and
// every LANES-th column of the tile. Of more rows than one group owns it takes two stripes of SPLIT quads, group.z counts the pairs of
// stripes, and its invocations own the squares between the two.
//
// sums     for each block and frame the upper triangle, row by row

// Squares of a group: those of the upper triangle, or those between two stripes.
override SQUARES: u32 = 1u;
// Invocations that share a square: THREADS / SQUARES, at least 1.
override LANES: u32 = 1u;
// 1 or 2.
override FRAMES: u32 = 1u;

@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

// Sums of the 4 x 4 pairs of two quads, row by row.
struct Quarter {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
}

// Those of the quads 2a, 2a + 1 with 2b, 2b + 1.
struct Square {
    left: Quarter,
    right: Quarter,
    lower_left: Quarter,
    lower_right: Quarter,
}

// Which square, and which of its columns.
struct Task {
    // Where the two quads of its rows begin in a column of the tile, and those of its columns.
    down: u32,
    across: u32,
    // LANES where there is no square.
    share: u32,
}

fn products(before: Quarter, u: vec4<f32>, v: vec4<f32>) -> Quarter {
    return Quarter(before.r0 + u.x * v, before.r1 + u.y * v, before.r2 + u.z * v, before.r3 + u.w * v);
}

// Adds the products of the tile's columns share, share + LANES, ... . Behind the last of an odd number of quads stands the next
// column: what is made of it is not written.
fn multiplied(before: Square, task: Task) -> Square {
    var sum = before;
    if task.share == LANES {
        return sum;
    }
    for (var k = task.share; k < WIDTH; k += LANES) {
        let u0 = tile[k * STRIDE + task.down];
        let u1 = tile[k * STRIDE + task.down + 1u];
        var v0 = u0;
        var v1 = u1;
        if task.down != task.across {
            v0 = tile[k * STRIDE + task.across];
            v1 = tile[k * STRIDE + task.across + 1u];
            sum.lower_left = products(sum.lower_left, u1, v0);
        }
        sum.left = products(sum.left, u0, v0);
        sum.right = products(sum.right, u0, v1);
        sum.lower_right = products(sum.lower_right, u1, v1);
    }
    return sum;
}

// Adds the shares of each square, two rows of pairs at a time, and writes what is in the upper triangle at `first`. All invocations call it.
fn write(sum: Square, task: Task, lane: u32, first: u32) {
    let m = params.rows;
    var quarters = array<vec4<f32>, 16>(
        sum.left.r0, sum.left.r1, sum.left.r2, sum.left.r3,
        sum.right.r0, sum.right.r1, sum.right.r2, sum.right.r3,
        sum.lower_left.r0, sum.lower_left.r1, sum.lower_left.r2, sum.lower_left.r3,
        sum.lower_right.r0, sum.lower_right.r1, sum.lower_right.r2, sum.lower_right.r3,
    );
    for (var part = 0u; part < select(8u, 2u, QUADS == 1u); part++) {
        tile[lane] = quarters[2u * part];
        tile[THREADS + lane] = quarters[2u * part + 1u];
        add_shares(lane, task.share, LANES);
        if task.share == 0u {
            for (var k = 0u; k < 8u; k++) {
                let i = first_row(task.down) + 4u * (part / 4u) + 2u * (part % 2u) + k / 4u;
                let j = first_row(task.across) + 4u * (part / 2u % 2u) + k % 4u;
                if i <= j && j < m {
                    sums[first + i * m - i * (i + 1u) / 2u + j] = tile[k / 4u * THREADS + lane][k % 4u];
                }
            }
        }
        workgroupBarrier();
    }
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
    // Invocations of a square are neighbours: they read neighbouring columns.
    let local = lane / LANES;
    var square = place(local, (QUADS + 1u) / 2u);
    if QUADS > SPLIT {
        let side = max(1u, SPLIT / 2u);
        square = vec2(local / side, side + local % side);
        let stripes = place(group.z, ((params.rows + 3u) / 4u + SPLIT - 1u) / SPLIT);
        // The second stripe stands behind the first.
        shift = vec2(stripes.x, stripes.y - 1u) * SPLIT;
    }
    let task = Task(2u * square.x, 2u * square.y, select(LANES, lane % LANES, local < SQUARES));

    var central = Square();
    var anchored = Square();
    for (var at = begin;; at += WIDTH) {
        ask(at, end, lane);
        if FRAMES == 1u && at > begin {
            central = multiplied(central, task);
        }
        workgroupBarrier();
        if at >= end {
            break;
        }
        fill(at, end, lane, false);
        if FRAMES > 1u {
            central = multiplied(central, task);
            workgroupBarrier();
            fill(at, end, lane, true);
            anchored = multiplied(anchored, task);
        }
    }
    note_largest(lane);

    let pairs = params.rows * (params.rows + 1u) / 2u;
    let first = params.first + block * FRAMES * pairs;
    write(central, task, lane, first);
    if FRAMES > 1u {
        write(anchored, task, lane, first + pairs);
    }
}
