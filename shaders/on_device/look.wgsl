// A look at a few columns, before the data is read: which rows are finite there, which is central, how large they are. It writes the
// parameters and the rows of the pass that follows.
//
// columns    the columns looked at
// made       parameters of the pass
// chosen     its rows, with scales
//
// Values are cut at 2^57 times the middle row's size. Memory is asked for each value twice: for the sizes of rows, and for a tile of columns in
// which all pairs of rows are compared.

@group(0) @binding(3) var<storage, read_write> made: Params;
@group(0) @binding(4) var<storage, read_write> chosen: array<Row>;
@group(0) @binding(5) var<storage, read> columns: array<u32>;
@group(0) @binding(8) var<storage, read_write> status: array<u32>;

// Columns looked at stand in runs of as many, each in a cache line: invocations beside each other look at columns of one row, the others at
// other rows.
const ACROSS = 16u;
const ROWS = LANES / ACROSS;
// Values of a tile: 16 columns of 128 rows, more of fewer.
const TILE = 2064u;

var<workgroup> top: array<atomic<u32>, LANES>;
var<workgroup> members: array<u32, LANES>;
var<workgroup> tile: array<f32, TILE>;

// The largest magnitudes of the n rows in the columns looked at.
fn find_sizes(lane: u32, n: u32) {
    for (var i = lane / ACROSS; i < n; i += ROWS) {
        var largest = 0u;
        for (var k = lane % ACROSS; k < arrayLength(&columns); k += ACROSS) {
            largest = max(largest, magnitude(bits_at(i, columns[k])));
        }
        atomicMax(&top[i], largest);
    }
}

// Squared distances of all pairs of m of the n rows in the columns looked at, cut and scaled. All invocations call it.
fn compare_pairs(lane: u32, n: u32, m: u32, most: f32, scale: f32) {
    let looked_at = arrayLength(&columns);
    // Odd, so that columns of a row are in different banks of memory.
    let stride = n | 1u;
    let width = TILE / stride / ACROSS * ACROSS;
    // Each row with those up to half way round the circle behind it.
    let pairs = m * (m / 2u);
    for (var begin = 0u; begin < looked_at; begin += width) {
        let some = min(width, looked_at - begin);
        for (var i = lane / ACROSS; i < m; i += ROWS) {
            for (var k = lane % ACROSS; k < some; k += ACROSS) {
                let value = bitcast<f32>(bits_at(members[i], columns[begin + k]));
                // Cut before it is scaled, where nothing overflows.
                tile[k * stride + i] = clamp(value, -most, most) * scale;
            }
        }
        workgroupBarrier();
        for (var pair = lane; pair < pairs; pair += LANES) {
            let i = pair % m;
            let step = pair / m + 1u;
            let j = (i + step) % m;
            if 2u * step < m || i < j {
                var sum = 0.0;
                for (var k = 0u; k < some; k++) {
                    let difference = tile[k * stride + i] - tile[k * stride + j];
                    sum += difference * difference;
                }
                if begin > 0u {
                    sum += distances[i * m + j];
                }
                distances[i * m + j] = sum;
                distances[j * m + i] = sum;
            }
        }
        workgroupBarrier();
    }
    // Seen by all invocations of the only group.
    storageBarrier();
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let n = params.rows;
    find_sizes(lane, n);
    workgroupBarrier();
    let is_member = lane < n && atomicLoad(&top[lane]) < EXPONENT;
    let position = place_among(lane, n, is_member);
    if is_member {
        members[position] = lane;
        sizes[position] = atomicLoad(&top[lane]);
    }
    workgroupBarrier();
    let m = count;
    let size = middle_size(lane, m);
    let s = scale_for(size);
    let most = select(LARGEST, 0x1p+57f / s, s > 0x1p-60f);
    compare_pairs(lane, n, m, most, s);
    let pivot = most_central(lane, m);
    if lane == 0u {
        made = params;
        made.rows = m;
        made.voters = m;
        // Some rules are about a point of their own.
        if params.centre == MEDIAN {
            made.centre = members[pivot];
        }
        if m == 0u {
            made.columns = 0u;
        }
        for (var at = 0u; at < FLAGS; at++) {
            status[at] = 0u;
        }
    }
    if lane < m {
        // A tiny row in the middle is no measure of the others: weights of an iteration begin with the inverse of a row's size.
        chosen[lane] = Row(members[lane], scale_for(max(sizes[lane], max(sizes[pivot], size))), 0.0, 0.0);
    }
}
