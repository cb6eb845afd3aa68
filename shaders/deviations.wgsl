// For each mixed row z_i = c + sum_j W_ij (x_j - c), i < N, the sum over one block of columns of (s_i (z_ik - y_k))^2, where y_k is the
// median of the z_ik. One group a block, one invocation a column. The rows are finite.
//
// sums     for each block the N sums
// sizes    s_i, powers of two that bring the differences near 1
//
// N is a constant that the host writes before this text.

const THREADS = 64u;

@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(7) var<storage, read> sizes: array<f32>;

var<workgroup> part: array<f32, THREADS>;

// The key of that rank, found bit by bit from the highest.
fn ranked(k: ptr<function, array<i32, N>>, rank: u32) -> i32 {
    var found = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        let trial = found | bit;
        var below = 0u;
        for (var i = 0u; i < N; i++) {
            // Unsigned order: the sign bit of the key flipped.
            below += select(0u, 1u, (bitcast<u32>((*k)[i]) ^ 0x80000000u) < trial);
        }
        if below <= rank {
            found = trial;
        }
    }
    return bitcast<i32>(found ^ 0x80000000u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = linear_group(group, groups);
    let column = block * THREADS + lane;
    var squares = array<f32, N>();
    if column < params.columns {
        let c = bitcast<f32>(bits_at(params.centre, column));
        var z = array<Sum, N>();
        for (var j = 0u; j < params.rows; j++) {
            let x = scaled(j, column, c);
            for (var i = 0u; i < N; i++) {
                z[i] = add_mixed(z[i], weights[j * MIXED + i], x);
            }
        }
        var k = array<i32, N>();
        for (var i = 0u; i < N; i++) {
            k[i] = mixed(z[i], c);
        }
        // The median less c, at the half scale of the sums.
        let low = 0.5 * value(ranked(&k, (N - 1u) / 2u)) - 0.5 * c;
        let high = 0.5 * value(ranked(&k, N / 2u)) - 0.5 * c;
        let middle = 0.5 * low + 0.5 * high;
        for (var i = 0u; i < N; i++) {
            let difference = 2.0 * (sizes[i] * ((z[i].high - middle) + z[i].low));
            squares[i] = difference * difference;
        }
    }
    for (var i = 0u; i < N; i++) {
        part[lane] = squares[i];
        workgroupBarrier();
        for (var width = THREADS / 2u; width > 0u; width /= 2u) {
            if lane < width {
                part[lane] += part[lane + width];
            }
            workgroupBarrier();
        }
        if lane == 0u && block * THREADS < params.columns {
            sums[params.first + block * N + i] = part[0];
        }
        workgroupBarrier();
    }
}
