// A few columns of the slab, for the host to choose a pivot row: out[first + i * total + j] = row i at columns[j]. One invocation
// a value; group.z is the position in rows. params.columns counts the columns wanted from this slab, params.blocks those of
// all slabs.
//
// columns  columns wanted, relative to the slab

@group(0) @binding(3) var<storage, read_write> out: array<u32>;
@group(0) @binding(5) var<storage, read> columns: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = linear_group(group, groups) * 64u + lane;
    if j >= params.columns {
        return;
    }
    out[params.first + group.z * params.blocks + j] = bits_at(rows[group.z].index, columns[j]);
}
