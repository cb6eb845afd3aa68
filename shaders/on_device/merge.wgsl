// Adds the inner products of all blocks of columns. A group owns 8 pairs, 32 invocations each; an invocation adds every 32nd block, in
// runs of 64, then the 32 sums are added as a tree: the relative error of a sum of blocks b is at most (64 + b/2048 + 5) 2^-24.
//
// sums      for each block the upper triangle, row by row
// products  their sums

@group(0) @binding(3) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> products: array<f32>;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pairs = params.rows * (params.rows + 1u) / 2u;
    let pair = linear_group(group, groups) * 8u + lane % 8u;
    // Nothing was read: what is there still holds.
    if params.columns == 0u {
        return;
    }
    var sum = 0.0;
    if pair < pairs {
        for (var begin = lane / 8u; begin < params.blocks; begin += 32u * 64u) {
            var run = 0.0;
            for (var block = begin; block < min(begin + 32u * 64u, params.blocks); block += 32u) {
                run += sums[block * pairs + pair];
            }
            sum += run;
        }
    }
    part[lane] = sum;
    workgroupBarrier();
    for (var width = 128u; width >= 8u; width /= 2u) {
        if lane < width {
            part[lane] += part[lane + width];
        }
        workgroupBarrier();
    }
    if lane < 8u && pair < pairs {
        products[pair] = part[lane];
    }
}
