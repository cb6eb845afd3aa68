// Body of the coordinate kernel for the sign majority: -1, 0 or 1, the sign of the sum of the signs. N, DIAGNOSE and `ordered` as in
// coordinate_sort.wgsl.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    var sum = 0;
    for (var i = 0u; i < N; i++) {
        // The key of -0 is -1, that of +0 is 0.
        let k = ordered(i, column);
        sum += select(0, 1, k > 0) - select(0, 1, k < -1);
    }
    y[column] = bitcast<u32>(f32(sign(sum)));
    if DIAGNOSE {
        let low = select(bitcast<i32>(0x80000000u), 1, sum > 0);
        let high = select(0x7fffffff, -2, sum < 0);
        for (var i = 0u; i < N; i++) {
            diagnose(i, ordered(i, column), low, high);
        }
    }
}
