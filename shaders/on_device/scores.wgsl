// Part of the kernels that look at rows by their distances and sizes: which is central, which is of middle size.
//
// distances m x m squared distances: kept, because the same sum formed twice may be rounded in two ways, and ranks compare them. Read by
//           columns: invocations beside each other read numbers beside each other
//
// There is one group, and memory answers a single warp of it slowly: where rows are few several invocations share one.

@group(0) @binding(11) var<storage, read_write> distances: array<f32>;

// Largest magnitudes of the rows, as bits.
var<workgroup> sizes: array<u32, LANES>;
var<workgroup> middle: u32;
// Krum scores.
var<workgroup> scores: array<f32, LANES>;
var<workgroup> shares_of_scores: array<f32, LANES>;
var<workgroup> central: u32;
var<workgroup> flags: array<u32, LANES>;
var<workgroup> count: u32;

// How many of the invocations before this one hand in true, of the first n; `count` is how many in all. All invocations call it.
fn place_among(lane: u32, n: u32, is_one: bool) -> u32 {
    flags[lane] = select(0u, 1u, is_one);
    workgroupBarrier();
    var before = 0u;
    for (var i = 0u; i < min(lane, n); i++) {
        before += flags[i];
    }
    if lane == LANES - 1u {
        count = before + flags[lane];
    }
    workgroupBarrier();
    return before;
}

// Invocations that share one of m rows: row lane % m, share lane / m.
fn shares(m: u32) -> u32 {
    return LANES / max(m, 1u);
}

// The rank of row j among the m rows by distance to row i: equally near rows go by index. Row i itself comes first, or is left out.
fn rank_near(i: u32, j: u32, m: u32, counts_itself: bool) -> u32 {
    let d = distances[j * m + i];
    var rank = 0u;
    for (var k = 0u; k < m; k++) {
        let other = distances[k * m + i];
        rank += select(0u, 1u, (k != i || counts_itself) && (other < d || (other == d && k < j)));
    }
    return rank;
}

// The scores of m rows: for each the sum of its least squared distances to others. All invocations call it.
fn find_scores(lane: u32, m: u32, neighbours: u32) {
    let i = lane % max(m, 1u);
    var sum = 0.0;
    if lane < shares(m) * m {
        for (var j = lane / m; j < m; j += shares(m)) {
            if j != i {
                sum += select(0.0, distances[j * m + i], rank_near(i, j, m, false) < neighbours);
            }
        }
    }
    shares_of_scores[lane] = sum;
    workgroupBarrier();
    if lane < m {
        var score = 0.0;
        for (var share = 0u; share < shares(m); share++) {
            score += shares_of_scores[share * m + lane];
        }
        scores[lane] = score;
    }
    workgroupBarrier();
}

// The position of the row of least score with half of the others as neighbours. All invocations call it.
fn most_central(lane: u32, m: u32) -> u32 {
    find_scores(lane, m, (m + 1u) / 2u - 1u);
    if lane == 0u {
        for (var i = 1u; i < m; i++) {
            if scores[i] < scores[central] {
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
