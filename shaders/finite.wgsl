// Finds the rows that hold a NaN or an infinity. One invocation for VALUES values, neighbours read neighbouring ones; group.z is the
// position in rows.
//
// notes    raised to 1 for each such row, from params.first on

@group(0) @binding(3) var<storage, read_write> notes: array<atomic<u32>>;

override VALUES: u32 = 1u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let begin = linear_group(group, groups) * 64u * VALUES + lane;
    let row = params.base + rows[group.z].index * params.stride;
    var largest = 0u;
    for (var k = 0u; k < VALUES; k++) {
        let column = begin + k * 64u;
        if column < params.columns {
            largest = max(largest, magnitude(x_at(row + column)));
        }
    }
    if largest >= EXPONENT {
        atomicMax(&notes[params.first + group.z], 1u);
    }
}
