// Part of the kernels that look at rows by their distances and sizes: which is central, which is of middle size.
//
// distances m x m squared distances: kept, because the same sum formed twice may be rounded in two ways, and ranks compare them. Read by
//           columns: invocations beside each other read numbers beside each other

@group(0) @binding(11) var<storage, read_write> distances: array<f32>;

// Largest magnitudes of the rows, as bits.
var<workgroup> sizes: array<u32, LANES>;
var<workgroup> middle: u32;
var<workgroup> central_scores: array<f32, LANES>;
var<workgroup> central: u32;

// Sum of the least squared distances of row i of m to others.
fn krum_score(i: u32, m: u32, neighbours: u32) -> f32 {
    var score = 0.0;
    for (var j = 0u; j < m; j++) {
        if j != i {
            let d = distances[j * m + i];
            var rank = 0u;
            for (var k = 0u; k < m; k++) {
                let other = distances[k * m + i];
                rank += select(0u, 1u, k != i && (other < d || (other == d && k < j)));
            }
            score += select(0.0, d, rank < neighbours);
        }
    }
    return score;
}

// The position of the row of least Krum score with half of the others as neighbours. All invocations call it.
fn most_central(lane: u32, m: u32) -> u32 {
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
    return central;
}

// The ceil(m / 2)-th largest of m sizes. All invocations call it.
fn middle_size(lane: u32, m: u32) -> u32 {
    if lane < m {
        var rank = 0u;
        for (var i = 0u; i < m; i++) {
            rank += select(0u, 1u, sizes[i] > sizes[lane] || (sizes[i] == sizes[lane] && i < lane));
        }
        if rank == (m + 1u) / 2u - 1u {
            middle = sizes[lane];
        }
    }
    workgroupBarrier();
    return middle;
}
