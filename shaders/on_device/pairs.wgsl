// Part of the kernels that look at inner products of rows: their squared distances, in units of the largest scale.
//
// made      parameters of the last pass
// chosen    its rows: scale s_i
// products  upper triangle of <s_i (x_i - c), s_j (x_j - c)>, row by row

@group(0) @binding(3) var<storage, read_write> made: Params;
@group(0) @binding(4) var<storage, read_write> chosen: array<Row>;
@group(0) @binding(5) var<storage, read> products: array<f32>;
@group(0) @binding(8) var<storage, read_write> status: array<u32>;

// The distance of rows that are too far for f32.
const FAR = 1e36f;

// By its bits: scales are positive.
var<workgroup> most_scale: atomic<u32>;
var<workgroup> largest_scale: f32;

fn product(i: u32, j: u32) -> f32 {
    let a = min(i, j);
    let b = max(i, j);
    return products[a * made.rows - a * (a + 1u) / 2u + b];
}

// s_i relative to the largest scale: a power of two, at most 1.
fn relative(i: u32) -> f32 {
    return chosen[i].scale / largest_scale;
}

// Would the square of row i be out of f32's range in the common unit?
fn is_far(i: u32) -> bool {
    return exponent(bitcast<u32>(abs(product(i, i)))) - 2 * exponent(bitcast<u32>(relative(i))) > 100;
}

fn distance2(i: u32, j: u32) -> f32 {
    if i == j {
        return 0.0;
    }
    if is_far(i) || is_far(j) {
        return FAR;
    }
    let a = relative(i);
    let b = relative(j);
    return max(product(i, i) / a / a + product(j, j) / b / b - 2.0 * product(i, j) / a / b, 0.0);
}

// Forms the distances of m rows. All invocations call it.
fn measure(lane: u32, m: u32) {
    if lane < m {
        atomicMax(&most_scale, bitcast<u32>(chosen[lane].scale));
    }
    workgroupBarrier();
    if lane == 0u {
        largest_scale = bitcast<f32>(atomicLoad(&most_scale));
    }
    workgroupBarrier();
    for (var pair = lane; pair < m * m; pair += LANES) {
        let i = pair / m;
        let j = pair % m;
        if i <= j {
            let d = distance2(i, j);
            distances[i * m + j] = d;
            distances[j * m + i] = d;
        }
    }
    // Seen by all invocations of the only group.
    storageBarrier();
}
