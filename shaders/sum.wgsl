// Part of the kernels that form weighted sums: rounding errors are carried along, because far rows of opposite sign may cancel, and
// because a mixed value near zero may come from rows that are not. A compiler that reassociates floats loses that, and nothing else; one
// that fuses does not.

// A number as the sum of two: the rounded one and what rounding took.
struct Sum {
    high: f32,
    low: f32,
}

// a + b and what rounding took (Knuth).
fn two_sum(a: f32, b: f32) -> Sum {
    let high = a + b;
    let back = high - a;
    return Sum(high, (a - (high - back)) + (b - back));
}

// Half of a scaled value. Scaled first: half of the least scale is a denormal number, which a device may take for zero.
fn at_half(x: f32, scale: f32) -> f32 {
    return 0.5 * (scale * x);
}

// Adds (w + w_low) (a - b).
fn add_weighted(sum: Sum, w: f32, w_low: f32, a: f32, b: f32) -> Sum {
    // The scale is not to be factored out of the difference, which would overflow, nor the product fused into the sum, whose error would be
    // that of another sum.
    let d = two_sum(opaque(a), -b);
    let p = opaque(w * d.high);
    let p_low = fma(w, d.high, -p) + w * d.low + w_low * d.high;
    let total = two_sum(sum.high, p);
    return Sum(total.high, sum.low + (total.low + p_low));
}

// 2 (c + sum), kept within the finite values, for c and sum at half scale.
fn twice(c: f32, sum: Sum) -> f32 {
    let total = two_sum(c, sum.high);
    let bits = bitcast<u32>(total.high);
    if magnitude(bits) >= EXPONENT {
        // What rounding took from an infinity is no number.
        return select(LARGEST, -LARGEST, (bits >> 31u) == 1u);
    }
    return 2.0 * clamp(total.high + (total.low + sum.low), -0.5 * LARGEST, 0.5 * LARGEST);
}
