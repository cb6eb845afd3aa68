// Part of the kernels that step momentums: m <- beta m + (1 - beta) g, kept within the finite values, for finite m and g. They have the same
// rows and columns, and strides of their own.

fn stepped(m: u32, g: u32) -> u32 {
    // At half scale no rounding leaves the finite range.
    let half = params.beta * (0.5 * bitcast<f32>(m)) + (1.0 - params.beta) * (0.5 * bitcast<f32>(g));
    return bitcast<u32>(2.0 * clamp(half, -0.5 * LARGEST, 0.5 * LARGEST));
}

// The momentum's bits after its step.
fn step(row: u32, column: u32) -> u32 {
    let at = row * params.momentum_stride + column;
    m[at] = stepped(m[at], x_at(params.base + row * params.stride + column));
    return m[at];
}
