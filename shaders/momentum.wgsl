// M <- beta M + (1 - beta) G for the rows that take part. One invocation for four values, neighbours read
// neighbouring ones; group.z is the position in rows. G is finite in these rows: the host leaves the others out.
//
// x        gradients G, bits
// m        momentums M, bits of f32, the same columns

@group(0) @binding(7) var<storage, read_write> m: array<u32>;

// Values of an invocation.
const STEPPED = 4u;

fn momentum_or_zero(row: u32, column: u32) -> u32 {
    if column < params.columns {
        return m[momentum_at(row, column)];
    }
    return 0u;
}

fn keep(row: u32, column: u32, momentum: u32, gradient: u32) {
    if column < params.columns {
        m[momentum_at(row, column)] = step(momentum, gradient);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = linear_group(group, groups) * 64u * STEPPED + lane + vec4(0u, 64u, 128u, 192u);
    let row = rows[group.z].index;
    // All are asked for before one is stepped.
    let g = vec4(real_or_zero(row, c.x), real_or_zero(row, c.y), real_or_zero(row, c.z), real_or_zero(row, c.w));
    let before = vec4(momentum_or_zero(row, c.x), momentum_or_zero(row, c.y), momentum_or_zero(row, c.z), momentum_or_zero(row, c.w));
    keep(row, c.x, before.x, g.x);
    keep(row, c.y, before.y, g.y);
    keep(row, c.z, before.z, g.z);
    keep(row, c.w, before.w, g.w);
}
