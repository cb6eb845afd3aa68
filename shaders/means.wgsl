// Part of the coordinate kernels that order plain means of rows: z_i = w_i (the sum of the rows that mixed row i takes), by 2 ROWS MIXED
// multiply-adds and no compensation.
//
// means    vectors of four mixed rows: w_i, what rounding took from it, then for each row 1 where it is taken and 0 where it is not
//
// Every value of a column is cut at one binary place, set by the largest. Sums of the upper parts are exact in any order. Lower parts are no
// larger than their values, and no larger than 2^(LOG - 23) of the largest: where values are of like size, z_i is rounded once; where rows
// that it leaves out are far larger, its error is that of a plain sum, (taken / 4 + 1) 2^-24 of the largest value taken. Denormal numbers
// may be lost: 2^-124.
//
// ROWS, LOG (log2 ROWS rounded up, at least 2), QUADS (vectors of mixed rows) and MEANS (vectors in all) are constants that the host writes.

@group(0) @binding(12) var<uniform> means: array<vec4<f32>, MEANS>;

// Do sums in two parts serve, where the largest value has these bits? Larger ones could overflow.
fn serves(most: u32) -> bool {
    return most < 0x70000000u;
}

// A number that all values vanish beside but for their upper parts.
fn cut_at(most: u32) -> f32 {
    return 1.5 * bitcast<f32>((most & EXPONENT) + (LOG << 23u));
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
