// Copies a slab: what a kernel that reads and writes all of the data is measured against. One invocation for a vector of four words.
//
// x        bits of the slab, padding included
// y        the copy

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // A dispatch has at most 65535 groups a side.
    let at = (group.y * groups.x + group.x) * 256u + lane;
    if at < arrayLength(&x) {
        y[at] = x[at];
    }
}
