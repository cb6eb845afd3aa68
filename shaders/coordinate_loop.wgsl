// Body of the coordinate kernel for many rows: they are sorted in a private array.
//
// N, FROM, TO, KEEP, SIGNS, BY_ROW, MIXING and DIAGNOSE are constants that the host writes before this text, and `ordered`, the key of
// one of the N values. KEEP is 0 for a mean of ranks FROM..TO, else the number of values nearest the mean of those ranks; BY_ROW leaves
// ties to the order of rows.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    var k = array<i32, N>();
    for (var i = 0u; i < N; i++) {
        k[i] = ordered(i, column);
    }
    sort(&k);
    if KEEP == 0u && TO - FROM == 1u {
        y[column] = bits_of(k[FROM]);
        if DIAGNOSE {
            for (var i = 0u; i < N; i++) {
                diagnose(i, ordered(i, column), k[FROM], k[FROM]);
            }
        }
        return;
    }
    var first = FROM;
    var count = TO - FROM;
    let centre = mean_of(&k, FROM, TO - FROM);
    if KEEP == 0u {
        y[column] = bitcast<u32>(centre.x);
    } else {
        // The centre of one or two values is exact.
        var a = 0.25 * centre.x;
        var b = a;
        var slack = 0.5 * f32(TO - FROM + 8u) * 0x1p-24f * centre.y;
        if TO - FROM <= 2u {
            a = 0.25 * value(k[FROM]);
            b = 0.25 * value(k[TO - 1u]);
            slack = 0.0;
        }
        first = 0u;
        count = KEEP;
        var tied = false;
        var tie = vec2<i32>();
        for (var s = 0u; s < N - KEEP; s++) {
            let low = k[s];
            let high = k[s + KEEP];
            var verdict = compare(a, b, slack, low, high);
            if verdict == UNSURE {
                var digits = array<i32, 19>();
                for (var i = FROM; i < TO; i++) {
                    add_exactly(&digits, k[i], 2);
                }
                add_exactly(&digits, low, -i32(TO - FROM));
                add_exactly(&digits, high, -i32(TO - FROM));
                let sign = exact_sign(digits);
                verdict = select(NEARER, FARTHER, sign > 0);
                if sign == 0 && !tied {
                    tied = true;
                    tie = vec2(low, high);
                }
            }
            first += verdict;
        }
        let low = k[first];
        let high = k[first + KEEP - 1u];
        if BY_ROW && tied {
            nearest_by_row(&k, column, tie);
            first = 0u;
        }
        y[column] = bitcast<u32>(mean_of(&k, first, KEEP).x);
        if DIAGNOSE {
            for (var i = 0u; i < N; i++) {
                diagnose(i, ordered(i, column), low, high);
            }
        }
        return;
    }
    if DIAGNOSE {
        for (var i = 0u; i < N; i++) {
            diagnose(i, ordered(i, column), k[FROM], k[TO - 1u]);
        }
    }
}

// The mean of some ranks, and their largest magnitude.
fn mean_of(k: ptr<function, array<i32, N>>, first: u32, count: u32) -> vec2<f32> {
    var largest = 0.0;
    for (var i = first; i < first + count; i++) {
        largest = larger(largest, (*k)[i]);
    }
    let s = shrink(largest);
    let c = value((*k)[first + (count - 1u) / 2u]);
    var sum = 0.0;
    for (var i = first; i < first + count; i++) {
        sum += term((*k)[i], c, s);
    }
    return vec2(mean(sum, f32(count), c, s), largest);
}

// Moves the KEEP values strictly between two tied ones or, of those that equal one of them, of the first rows, to the front.
fn nearest_by_row(k: ptr<function, array<i32, N>>, column: u32, tie: vec2<i32>) {
    let low = canonical(tie.x);
    let high = canonical(tie.y);
    var left = KEEP;
    for (var i = 0u; i < N; i++) {
        let key = canonical((*k)[i]);
        left -= select(0u, 1u, key > low && key < high);
    }
    var at = 0u;
    for (var i = 0u; i < N; i++) {
        let key = canonical(ordered(i, column));
        let tied = key == low || key == high;
        if (key > low && key < high) || (tied && left > 0u) {
            left -= select(0u, 1u, tied);
            (*k)[at] = key;
            at++;
        }
    }
}
