// Body of the coordinate kernel for many rows: a group sorts the keys of COLUMNS columns in its memory, LANES invocations a column.
//
// N, SIZE (N rounded up to a power of two), FROM, TO, KEEP, BY_ROW, MIXED and DIAGNOSE are constants that the host writes before this
// text, and `ordered`, the key of one of the N values. KEEP is 0 for a mean of ranks FROM..TO, else the number of values nearest the
// mean of those ranks; BY_ROW leaves ties to the order of rows.

const THREADS = 256u;
// Keys that a group sorts: a multiple of SIZE.
override KEYS: u32 = 2048u;
override COLUMNS: u32 = KEYS / SIZE;
override LANES: u32 = THREADS / COLUMNS;

// The key of rank r in column c at r * COLUMNS + c; those beyond N are the greatest.
var<workgroup> keys: array<i32, KEYS>;
// What each invocation hands to the others of its column, LANES of them side by side.
var<workgroup> floats: array<f32, THREADS>;
var<workgroup> counts: array<u32, THREADS>;

// Batcher's bitonic sort of all columns at once.
fn sort(lane: u32) {
    for (var size = 2u; size <= SIZE; size *= 2u) {
        for (var step = size / 2u; step > 0u; step /= 2u) {
            workgroupBarrier();
            for (var e = lane; e < KEYS / 2u; e += THREADS) {
                let pair = e / COLUMNS;
                let i = 2u * step * (pair / step) + pair % step;
                let low = i * COLUMNS + e % COLUMNS;
                let high = low + step * COLUMNS;
                let a = keys[low];
                let b = keys[high];
                let ascends = (i & size) == 0u;
                keys[low] = select(max(a, b), min(a, b), ascends);
                keys[high] = select(min(a, b), max(a, b), ascends);
            }
        }
    }
    workgroupBarrier();
}

// The sum of what the invocations of a column hand in, or the greatest.
fn gathered(lane: u32, mine: f32, greatest: bool) -> f32 {
    floats[lane] = mine;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane % LANES < width {
            let other = floats[lane + width];
            floats[lane] = select(floats[lane] + other, max(floats[lane], other), greatest);
        }
        workgroupBarrier();
    }
    let result = floats[lane / LANES * LANES];
    workgroupBarrier();
    return result;
}

// The same for counts, of which the least is found.
fn counted(lane: u32, mine: u32, least: bool) -> u32 {
    counts[lane] = mine;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane % LANES < width {
            let other = counts[lane + width];
            counts[lane] = select(counts[lane] + other, min(counts[lane], other), least);
        }
        workgroupBarrier();
    }
    let result = counts[lane / LANES * LANES];
    workgroupBarrier();
    return result;
}

// The mean of some ranks of the invocation's column, and their largest magnitude.
fn mean_of(lane: u32, first: u32, count: u32) -> vec2<f32> {
    let c = lane / LANES;
    var mine = 0.0;
    for (var r = first + lane % LANES; r < first + count; r += LANES) {
        mine = larger(mine, keys[r * COLUMNS + c]);
    }
    let largest = gathered(lane, mine, true);
    let s = shrink(largest);
    let centre = value(keys[(first + (count - 1u) / 2u) * COLUMNS + c]);
    var sum = 0.0;
    for (var r = first + lane % LANES; r < first + count; r += LANES) {
        sum += term(keys[r * COLUMNS + c], centre, s);
    }
    return vec2(mean(gathered(lane, sum, false), f32(count), centre, s), largest);
}

// The mean of the KEEP values strictly between two tied ones or, of those that equal one of them, of the first rows.
fn nearest_by_row(column: u32, tied_low: i32, tied_high: i32) -> f32 {
    let low = canonical(tied_low);
    let high = canonical(tied_high);
    var left = KEEP;
    var largest = larger(larger(0.0, low), high);
    for (var i = 0u; i < N; i++) {
        let k = canonical(ordered(i, column));
        left -= select(0u, 1u, k > low && k < high);
    }
    let s = shrink(largest);
    let centre = value(low);
    var sum = 0.0;
    for (var i = 0u; i < N; i++) {
        let k = canonical(ordered(i, column));
        let tied = k == low || k == high;
        if (k > low && k < high) || (tied && left > 0u) {
            left -= select(0u, 1u, tied);
            sum += term(k, centre, s);
        }
    }
    return mean(sum, f32(KEEP), centre, s);
}

// The sign of 2 sum of the ranks FROM..TO - (TO - FROM) (low + high) in column c, exactly.
fn balance(c: u32, low: i32, high: i32) -> i32 {
    var digits = array<i32, 19>();
    for (var r = FROM; r < TO; r++) {
        add_exactly(&digits, keys[r * COLUMNS + c], 2);
    }
    add_exactly(&digits, low, -i32(TO - FROM));
    add_exactly(&digits, high, -i32(TO - FROM));
    return exact_sign(digits);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let begin = linear_group(group, groups) * COLUMNS;
    for (var e = lane; e < KEYS; e += THREADS) {
        let i = e / COLUMNS;
        let column = begin + e % COLUMNS;
        var k = 0x7fffffff;
        if i < N && column < params.columns {
            k = ordered(i, column);
        }
        keys[e] = k;
    }
    sort(lane);

    let c = lane / LANES;
    let column = begin + c;
    let exists = column < params.columns;
    var first = FROM;
    var last = TO - 1u;
    var bits = bits_of(keys[FROM * COLUMNS + c]);
    if KEEP > 0u || TO - FROM > 1u {
        let centre = mean_of(lane, FROM, TO - FROM);
        bits = bitcast<u32>(centre.x);
        if KEEP > 0u {
            // The centre of one or two values is exact.
            var a = 0.25 * centre.x;
            var b = a;
            var slack = 0.5 * f32(TO - FROM + 8u) * 0x1p-24f * centre.y;
            if TO - FROM <= 2u {
                a = 0.25 * value(keys[FROM * COLUMNS + c]);
                b = 0.25 * value(keys[(TO - 1u) * COLUMNS + c]);
                slack = 0.0;
            }
            // The kept values are consecutive: of the ranks s and s + KEEP not both are kept, and the lower one goes when it is farther.
            var farther = 0u;
            var tie = N;
            for (var s = lane % LANES; s < N - KEEP; s += LANES) {
                let low = keys[s * COLUMNS + c];
                let high = keys[(s + KEEP) * COLUMNS + c];
                var verdict = compare(a, b, slack, low, high);
                if verdict == UNSURE {
                    let sign = balance(c, low, high);
                    verdict = select(NEARER, FARTHER, sign > 0);
                    tie = select(tie, min(tie, s), sign == 0);
                }
                farther += verdict;
            }
            first = counted(lane, farther, false);
            tie = counted(lane, tie, true);
            last = first + KEEP - 1u;
            bits = bitcast<u32>(mean_of(lane, first, KEEP).x);
            if BY_ROW && tie < N && lane % LANES == 0u && exists {
                bits = bitcast<u32>(nearest_by_row(column, keys[tie * COLUMNS + c], keys[(tie + KEEP) * COLUMNS + c]));
            }
        }
    }
    if exists && lane % LANES == 0u {
        y[column] = bits;
    }
    if DIAGNOSE && exists {
        let low = keys[first * COLUMNS + c];
        let high = keys[last * COLUMNS + c];
        for (var i = lane % LANES; i < N; i += LANES) {
            diagnose(i, ordered(i, column), low, high);
        }
    }
}
