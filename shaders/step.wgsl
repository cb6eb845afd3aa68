// Part of the kernels that step momentums: m <- beta m + (1 - beta) g, kept within the finite values, for finite m and g.

fn stepped(m: u32, g: u32) -> u32 {
    // At half scale no rounding leaves the finite range.
    let half = params.beta * (0.5 * bitcast<f32>(m)) + (1.0 - params.beta) * (0.5 * bitcast<f32>(g));
    return bitcast<u32>(2.0 * clamp(half, -0.5 * LARGEST, 0.5 * LARGEST));
}
