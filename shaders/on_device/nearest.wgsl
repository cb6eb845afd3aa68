// Nearest-neighbour mixing: each row becomes the mean of the rows nearest it, itself included; equally near rows go by index.
//
// weights  of row j in the mixed row i, for the scaled row, at j * m + i, and what rounding took

@group(0) @binding(10) var<storage, read_write> weights: array<vec2<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    let what = variant(m);
    measure(lane, m);
    if lane < m {
        for (var j = 0u; j < m; j++) {
            let d = distances[j * m + lane];
            var rank = 0u;
            for (var k = 0u; k < m; k++) {
                let other = distances[k * m + lane];
                rank += select(0u, 1u, other < d || (other == d && k < j));
            }
            let weight = vec2(bitcast<f32>(what.z), bitcast<f32>(what.w)) / chosen[j].scale;
            weights[j * m + lane] = select(vec2<f32>(), weight, rank < what.y);
        }
    }
    let centre = chosen[most_central(lane, m)].index;
    if lane == 0u {
        let_see(m, m, centre);
    }
}
