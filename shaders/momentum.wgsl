// M <- beta M + (1 - beta) G for the rows that take part. One invocation a value; group.z is the position in rows. G is finite in these
// rows: the host leaves the others out.
//
// x        gradients G, bits
// m        momentums M, bits of f32, the same columns

@group(0) @binding(7) var<storage, read_write> m: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    let row = rows[group.z].index;
    m[momentum_at(row, column)] = stepped(row, column);
}
