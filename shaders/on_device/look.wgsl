// A look at a few columns, before the data is read: which rows are finite there, which is central, how large they are. It writes the
// parameters and the rows of the pass that follows.
//
// columns    the columns looked at
// made       parameters of the pass
// chosen     its rows, with scales
//
// Values are cut at 2^57 times the middle row's size.

@group(0) @binding(3) var<storage, read_write> made: Params;
@group(0) @binding(4) var<storage, read_write> chosen: array<Row>;
@group(0) @binding(5) var<storage, read> columns: array<u32>;
@group(0) @binding(8) var<storage, read_write> status: array<u32>;

var<workgroup> top: array<atomic<u32>, LANES>;
var<workgroup> members: array<u32, LANES>;
var<workgroup> count: u32;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let n = params.rows;
    for (var i = 0u; i < n; i++) {
        var largest = 0u;
        for (var j = lane; j < arrayLength(&columns); j += LANES) {
            largest = max(largest, magnitude(bits_at(i, columns[j])));
        }
        atomicMax(&top[i], largest);
    }
    workgroupBarrier();
    if lane == 0u {
        for (var i = 0u; i < n; i++) {
            if atomicLoad(&top[i]) < EXPONENT {
                members[count] = i;
                count++;
            }
        }
    }
    workgroupBarrier();
    let m = count;
    if lane < m {
        sizes[lane] = atomicLoad(&top[members[lane]]);
    }
    workgroupBarrier();
    let size = middle_size(lane, m);
    let s = scale_for(size);
    // Cut before they are scaled, where nothing overflows.
    let most = select(LARGEST, 0x1p+57f / s, s > 0x1p-60f);
    for (var pair = lane; pair < m * m; pair += LANES) {
        let i = pair / m;
        let j = pair % m;
        if i < j {
            var sum = 0.0;
            for (var k = 0u; k < arrayLength(&columns); k++) {
                let a = clamp(bitcast<f32>(bits_at(members[i], columns[k])), -most, most) * s;
                let b = clamp(bitcast<f32>(bits_at(members[j], columns[k])), -most, most) * s;
                sum += (a - b) * (a - b);
            }
            distances[i * m + j] = sum;
            distances[j * m + i] = sum;
        }
    }
    // Seen by all invocations of the only group.
    storageBarrier();
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
