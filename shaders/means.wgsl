// Part of the coordinate kernels that order plain means of rows: z_i = w_i (the sum of the rows that mixed row i takes), by 2 ROWS MIXED
// multiply-adds and no compensation.
//
// means    vectors of four mixed rows: w_i, what rounding took from it, then for each row 1 where it is taken and 0 where it is not. Behind
//          them vectors of four rows: 1 where a row is common, taken by most mixed rows (or all are, if none is)
//
// Every value of a column is cut at one binary place, set by the largest of the common rows. Sums of upper parts are exact in any order
// while no value is larger, and lower parts are then less than 2^(LOG - 24) of it: z_i is rounded once (twice where a device does not fuse
// products into sums), whatever is in the rows that it leaves out. If it takes a row that is not common and larger, its error is that
// of a plain sum, (3/8 taken + 1) 2^-24 of the largest value taken. Denormal numbers may be lost: 2^-123.
//
// ROWS, LOG (log2 ROWS rounded up, at least 2), QUADS (vectors of mixed rows) and MEANS (vectors in all) are constants that the host writes.

@group(0) @binding(12) var<uniform> means: array<vec4<f32>, MEANS>;

// Do sums in two parts serve, where the largest value has these bits? Larger ones could overflow.
fn serves(most: u32) -> bool {
    return most < 0x70000000u;
}

// A number that values up to the one with these bits vanish beside but for their upper parts.
fn cut_at(usual: u32) -> f32 {
    return 1.5 * bitcast<f32>((usual & EXPONENT) + (LOG << 23u));
}

// The upper and the lower part of a value.
fn parts(bits: u32, cut: f32) -> vec2<f32> {
    let x = bitcast<f32>(bits);
    let high = opaque(opaque(x + cut) - cut);
    return vec2(high, opaque(x - high));
}

// Key of the mean from the sums of both parts.
fn mean_of_parts(high: f32, low: f32, weight: f32, weight_low: f32) -> i32 {
    // Factored, the weights would be added first.
    return key(bitcast<u32>(fma(high, weight, opaque(fma(high, weight_low, low * weight)))));
}
