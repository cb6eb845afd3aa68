// One round of Weiszfeld's iteration over one block of columns: with all values of a tile at hand, z = c + sum_i w_i (x_i - c)
// and then sum_k (s_i (x_ik - z_k))^2 for each row, in the same read. weiszfeld_step turns the sums into the next weights.
//
// rows     weight is q_i = s_i / S, S the largest scale: z - c is formed at scale S, a row's distance to it at scale s_i
// state    rounds, done, residual (bits), unused, then the weights of the scaled rows, w_i / q_i (bits)
// sums     for each block the rows' sums, four to a vector
//
// One group a block of columns; when the iteration is done, a round does nothing.

@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> state: array<u32>;

var<workgroup> z: array<f32, THREADS>;
var<workgroup> done: u32;

// Weights of the scaled rows of a vector; zero beyond the last row.
fn weights_of(quad: u32) -> vec4<f32> {
    let i = 4u * quad;
    let bits = vec4(state[4u + i], state[5u + i], state[6u + i], state[7u + i]);
    return select(vec4<f32>(), bitcast<vec4<f32>>(bits), vec4(i) + vec4(0u, 1u, 2u, 3u) < vec4(params.rows));
}

fn weight_of(i: u32) -> f32 {
    if i < params.rows {
        return rows[i].weight;
    }
    return 0.0;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = linear_group(group, groups);
    let begin = block * BLOCK;
    if begin >= params.columns {
        return;
    }
    if lane == 0u {
        done = state[1];
    }
    if workgroupUniformLoad(&done) != 0u {
        return;
    }
    let end = min(params.columns, begin + BLOCK);
    // Every invocation owns four rows and every shares-th column of the tile.
    let shares = max(1u, THREADS / QUADS);
    let q = lane / shares;
    let works = q < QUADS;
    let share = select(shares, lane % shares, works);
    let shrink = vec4(weight_of(4u * q), weight_of(4u * q + 1u), weight_of(4u * q + 2u), weight_of(4u * q + 3u));
    var total = vec4<f32>();
    for (var at = begin;; at += WIDTH) {
        ask(at, end, lane);
        if at > begin {
            // All invocations of a column take a share of its rows.
            var part = 0.0;
            for (var quad = lane / WIDTH; quad < QUADS; quad += THREADS / WIDTH) {
                part += dot(weights_of(quad), tile[lane % WIDTH * STRIDE + quad]);
            }
            z[lane] = part;
            workgroupBarrier();
            for (var half = THREADS / 2u; half >= WIDTH; half /= 2u) {
                if lane < half {
                    z[lane] += z[lane + half];
                }
                workgroupBarrier();
            }
            if works {
                for (var k = share; k < WIDTH && at - WIDTH + k < end; k += shares) {
                    let r = tile[k * STRIDE + q] - shrink * z[k];
                    total += r * r;
                }
            }
        }
        workgroupBarrier();
        if at >= end {
            break;
        }
        fill(at, end, lane, false);
    }
    note_largest(lane);
    tile[lane] = total;
    add_shares(lane, share, shares);
    if share == 0u {
        sums[params.first + block * QUADS + q] = tile[lane];
    }
}
