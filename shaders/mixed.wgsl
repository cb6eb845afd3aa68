// Part of the coordinate kernels whose columns are mixed before they are ordered: z_i = c + sum_j W_ij (x_j - c).
//
// weights  W_ij / scale_j at weights[j * MIXED + i] and what rounding took from it; MIXED is the number of mixed rows, a constant that
//          the host writes
//
// Formed at half scale, where no difference of two finite values overflows.

@group(0) @binding(5) var<storage, read> weights: array<vec2<f32>>;

// Row j of a column at half scale, and the centre as it is subtracted from it; notes the row if it is not finite.
fn scaled(j: u32, column: u32, centre: f32) -> vec2<f32> {
    let bits = bits_at(rows[j].index, column);
    note(j, bits);
    return vec2(at_half(bitcast<f32>(bits), rows[j].scale), at_half(centre, rows[j].scale));
}

// Adds what a mixed row takes of a row.
fn add_mixed(sum: Sum, weight: vec2<f32>, x: vec2<f32>) -> Sum {
    return add_weighted(sum, weight.x, weight.y, x.x, x.y);
}

// Key of a mixed value.
fn mixed(sum: Sum, centre: f32) -> i32 {
    return key(bitcast<u32>(twice(0.5 * centre, sum)));
}
