// Finds the rows that hold a NaN or an infinity. One invocation for VALUES values, neighbours read neighbouring ones; group.z is the
// position in rows.
//
// notes    raised to 1 for each such row, from params.first on

@group(0) @binding(3) var<storage, read_write> notes: array<atomic<u32>>;

// A multiple of four.
override VALUES: u32 = 4u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let begin = linear_group(group, groups) * 64u * VALUES + lane;
    let row = rows[group.z].index;
    var largest = vec4<u32>();
    for (var k = 0u; k < VALUES; k += 4u) {
        // Four are asked for before one is looked at.
        let c = begin + 64u * (k + vec4(0u, 1u, 2u, 3u));
        let bits = vec4(real_or_zero(row, c.x), real_or_zero(row, c.y), real_or_zero(row, c.z), real_or_zero(row, c.w));
        largest = max(largest, bits & vec4(0x7fffffffu));
    }
    if any(largest >= vec4(EXPONENT)) {
        atomicMax(&notes[params.first + group.z], 1u);
    }
}
