// Equal weights for the rows of least Krum score; equal scores go to the lower row.
//
// table    the rows of the last read, with weights

@group(0) @binding(10) var<storage, read_write> table: array<Row>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    let what = variant(m);
    measure(lane, m);
    find_scores(lane, m, what.x);
    var is_kept = false;
    if lane < m {
        var rank = 0u;
        for (var i = 0u; i < m; i++) {
            rank += select(0u, 1u, scores[i] < scores[lane] || (scores[i] == scores[lane] && i < lane));
        }
        is_kept = rank < what.y;
    }
    let before = place_among(lane, m, is_kept);
    if is_kept {
        table[before] = Row(chosen[lane].index, 1.0, bitcast<f32>(what.z), bitcast<f32>(what.w));
        if before == 0u {
            let_see(m, min(what.y, m), chosen[lane].index);
        }
    }
}
