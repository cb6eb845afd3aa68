// y = NaN in every column if there was an error, else nothing. One invocation a column.
//
// status   first number: 0, or what went wrong

@group(0) @binding(3) var<storage, read_write> y: array<u32>;
@group(0) @binding(4) var<storage, read> status: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column < params.columns && status[0] != 0u {
        y[column] = 0x7fc00000u;
    }
}
