// Part of the kernels of one group that add up what their invocations have.

const THREADS = 256u;

var<workgroup> part: array<f32, THREADS>;

// The sum of what all invocations hand in, or the greatest, in a fixed order. All invocations call it.
fn gathered(lane: u32, mine: f32, greatest: bool) -> f32 {
    part[lane] = mine;
    workgroupBarrier();
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        if lane < width {
            let other = part[lane + width];
            part[lane] = select(part[lane] + other, max(part[lane], other), greatest);
        }
        workgroupBarrier();
    }
    let result = part[0];
    workgroupBarrier();
    return result;
}
