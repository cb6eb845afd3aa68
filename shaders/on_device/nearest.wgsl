// Nearest-neighbour mixing: each row becomes the mean of the rows nearest it, itself included; equally near rows go by index.
//
// weights  of row j in the mixed row i, for the scaled row, in two numbers at 2 (j * m + i): what rounding took behind it. Behind all of them, at a
//          multiple of 64, the table of `means.wgsl`

@group(0) @binding(10) var<storage, read_write> weights: array<f32>;

// How many mixed rows take each row; at most MOST_ROWS of the host.
var<workgroup> uses: array<atomic<u32>, 128>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    let what = variant(m);
    let w = vec2(bitcast<f32>(what.z), bitcast<f32>(what.w));
    // Four to a vector.
    let width = (m + 3u) / 4u * 4u;
    let means = (2u * whole.rows * whole.rows + 63u) / 64u * 64u;
    measure(lane, m);
    if lane < shares(m) * m {
        let i = lane % m;
        for (var j = lane / m; j < m; j += shares(m)) {
            let taken = rank_near(i, j, m, true) < what.y;
            let weight = select(vec2<f32>(), w / chosen[j].scale, taken);
            weights[2u * (j * m + i)] = weight.x;
            weights[2u * (j * m + i) + 1u] = weight.y;
            weights[means + (2u + j) * width + i] = select(0.0, 1.0, taken);
            atomicAdd(&uses[j], select(0u, 1u, taken));
        }
    }
    if lane < m {
        weights[means + lane] = w.x;
        weights[means + width + lane] = w.y;
    }
    workgroupBarrier();
    // Most mixed rows take more than half of the rows, so there are some that most take.
    if lane < m {
        weights[means + (2u + m) * width + lane] = select(0.0, 1.0, 2u * atomicLoad(&uses[lane]) > m);
    }
    let centre = chosen[most_central(lane, m)].index;
    if lane == 0u {
        let_see(m, m, centre);
    }
}
