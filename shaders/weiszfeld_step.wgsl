// From the sums of all blocks to the next weights, w_i ~ 1 / ||x_i - z||, in one group.
//
// state    rounds, done, residual (bits), unused, then the weights of the scaled rows, w_i / q_i (bits), with q_i = rows[i].weight
// sums     for each block the rows' sums of squares, rows padded to a multiple of four

@group(0) @binding(3) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> state: array<u32>;

// Least squared distance told from zero, in units of the scaled rows.
const LEAST = 1e-30f;
// Most rows of an invocation.
const MOST_SHARE = 4u;

// The sums of invocations that share a row. Not in the memory of `gathered`, which begins to write there while these are read.
var<workgroup> shared_sums: array<f32, THREADS>;

// The sum over every step-th block from the first on. Sums of 64 blocks are summed: an error of some 64 + blocks / 64 roundings, not of all
// blocks.
fn sum_of_blocks(i: u32, first: u32, step: u32) -> f32 {
    let padded = (params.rows + 3u) / 4u * 4u;
    var square = 0.0;
    for (var begin = first; begin < params.blocks; begin += 64u * step) {
        var some = 0.0;
        for (var block = begin; block < min(begin + 64u * step, params.blocks); block += step) {
            some += sums[block * padded + i];
        }
        square += some;
    }
    return square;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    // Rounds after the last one needed do nothing: they see no rows, for all invocations must come to the barriers.
    let many = select(params.rows, 0u, state[1] != 0u);
    var pulls = 0.0;
    var change = 0.0;
    var inverse: array<f32, MOST_SHARE>;
    // Where rows are few several invocations share one: a few that take all blocks one after another would wait for memory most of the time.
    let shares = max(1u, THREADS / max(many, 1u));
    if shares > 1u && lane < shares * many {
        shared_sums[lane] = sum_of_blocks(lane % many, lane / many, shares);
    }
    workgroupBarrier();
    for (var i = lane; i < many; i += THREADS) {
        var square = 0.0;
        if shares > 1u {
            for (var share = 0u; share < shares; share++) {
                square += shared_sums[share * many + i];
            }
        } else {
            square = sum_of_blocks(i, 0u, 1u);
        }
        inverse[i / THREADS] = inverseSqrt(max(square, LEAST));
        pulls += rows[i].weight * inverse[i / THREADS];
    }
    let total = gathered(lane, pulls, false);
    for (var i = lane; i < many; i += THREADS) {
        let next = inverse[i / THREADS] / total;
        let before = bitcast<f32>(state[4u + i]);
        change = max(change, abs(next - before) / max(next, 0x1p-126f));
        state[4u + i] = bitcast<u32>(next);
    }
    let residual = gathered(lane, change, true);
    if lane == 0u && many > 0u {
        state[0] += 1u;
        state[1] = select(0u, 1u, residual <= params.tolerance);
        state[2] = bitcast<u32>(residual);
    }
}
