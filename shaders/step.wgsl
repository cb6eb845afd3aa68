// Part of the kernels that step momentums: m <- beta m + (1 - beta) g, kept within the finite values, for finite m and g. They have the same
// rows and columns, and strides of their own.

fn step(m: u32, g: u32) -> u32 {
    // At half scale no rounding leaves the finite range.
    let half = params.beta * (0.5 * bitcast<f32>(m)) + (1.0 - params.beta) * (0.5 * bitcast<f32>(g));
    return bitcast<u32>(2.0 * clamp(half, -0.5 * LARGEST, 0.5 * LARGEST));
}

fn momentum_at(row: u32, column: u32) -> u32 {
    return row * params.momentum_stride + column;
}

// The momentum's bits after its step.
fn stepped(row: u32, column: u32) -> u32 {
    return step(m[momentum_at(row, column)], real_at(row, column));
}
