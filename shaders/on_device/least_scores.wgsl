// Equal weights for the rows of least Krum score; equal scores go to the lower row.
//
// table    the rows of the last read, with weights

@group(0) @binding(10) var<storage, read_write> table: array<Row>;

var<workgroup> scores: array<f32, LANES>;
var<workgroup> kept: array<u32, LANES>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    let what = variant(m);
    measure(lane, m);
    if lane < m {
        scores[lane] = krum_score(lane, m, what.x);
    }
    workgroupBarrier();
    if lane < m {
        var rank = 0u;
        for (var i = 0u; i < m; i++) {
            rank += select(0u, 1u, scores[i] < scores[lane] || (scores[i] == scores[lane] && i < lane));
        }
        kept[lane] = select(0u, 1u, rank < what.y);
    }
    workgroupBarrier();
    if lane < m && kept[lane] == 1u {
        var before = 0u;
        for (var i = 0u; i < lane; i++) {
            before += kept[i];
        }
        table[before] = Row(chosen[lane].index, 1.0, bitcast<f32>(what.z), bitcast<f32>(what.w));
        if before == 0u {
            let_see(m, min(what.y, m), chosen[lane].index);
        }
    }
}
