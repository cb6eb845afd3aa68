// Part of the kernels that turn inner products into weights, one for each kind of solve. They write the parameters of the last read.
//
// last       parameters of the pass that makes the result: one, or one for each number of bad rows, of which all but one see no columns
// variants   for each number of bad rows: neighbours, rows kept, and 1 / kept as a rounded number and what rounding took (bits)
// whole      parameters of the whole matrix

struct Padded {
    params: Params,
    // To 256 bytes, where a binding may begin.
    padding: array<vec4<u32>, 13>,
}

@group(0) @binding(1) var<storage, read_write> last: array<Padded>;
@group(0) @binding(7) var<storage, read> variants: array<vec4<u32>>;
@group(0) @binding(9) var<uniform> whole: Params;

var<workgroup> central_scores: array<f32, LANES>;
var<workgroup> central: u32;

// The row of least Krum score with half of the others as neighbours. All invocations call it.
fn central_row(lane: u32, m: u32) -> u32 {
    if lane < m {
        central_scores[lane] = krum_score(lane, m, (m + 1u) / 2u - 1u);
    }
    workgroupBarrier();
    if lane == 0u {
        for (var i = 1u; i < m; i++) {
            if central_scores[i] < central_scores[central] {
                central = i;
            }
        }
    }
    workgroupBarrier();
    return chosen[central].index;
}

// Lets the pass for this number of bad rows see the columns of `taken` rows about this one. One invocation calls it.
fn let_see(m: u32, taken: u32, centre: u32) {
    for (var k = 0u; k < arrayLength(&last); k++) {
        last[k].params = whole;
        last[k].params.rows = taken;
        last[k].params.centre = centre;
        if status[CODE] != 0u || (arrayLength(&last) > 1u && k != whole.rows - m) {
            last[k].params.columns = 0u;
        }
    }
}
