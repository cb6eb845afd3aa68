// Reads a slab and does nothing else with it: what a kernel that looks at all of the data is measured against. folded[g] = exclusive
// or of the words of group g, so that no compiler can leave out a read. One group for 8192 vectors of four words; neighbours
// read neighbouring vectors.
//
// x        bits of the slab, padding included
// folded   one number for each group

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> folded: array<u32>;

const THREADS = 256u;
const READ_VECTORS = 8192u;

var<workgroup> parts: array<u32, THREADS>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // A dispatch has at most 65535 groups a side.
    let block = group.y * groups.x + group.x;
    let begin = block * READ_VECTORS;
    let end = min(arrayLength(&x), begin + READ_VECTORS);
    var all = vec4<u32>();
    for (var at = begin + lane; at < end; at += THREADS) {
        all ^= x[at];
    }
    parts[lane] = all.x ^ all.y ^ all.z ^ all.w;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            parts[lane] ^= parts[lane + half];
        }
    }
    if lane == 0u && block < arrayLength(&folded) {
        folded[block] = parts[0];
    }
}
