// Body of the coordinate kernel for the sign majority of many rows: -1, 0 or 1, the sign of the sum of the signs. N, DIAGNOSE and `ordered` as
// in coordinate_sort.wgsl.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    var sum = 0;
    for (var i = 0u; i < N; i++) {
        sum += sign_of(ordered(i, column));
    }
    y[column] = bitcast<u32>(f32(sign(sum)));
    if DIAGNOSE {
        let side = side_of(sum);
        for (var i = 0u; i < N; i++) {
            diagnose(i, ordered(i, column), side.x, side.y);
        }
    }
}
