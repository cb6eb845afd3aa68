// Body of the coordinate kernel for many rows: a whole odd-even merge sort over a private array.
//
// N, FROM, TO and KEEP are constants that the host writes before this text; KEEP is 0 for a mean of ranks FROM..TO, else the
// number of values nearest the median.

fn sort(k: ptr<function, array<i32, N>>) {
    var top = 1u;
    while top < N {
        top *= 2u;
    }
    for (var p = top / 2u; p > 0u; p /= 2u) {
        var q = top / 2u;
        var r = 0u;
        var d = p;
        loop {
            for (var i = 0u; i + d < N; i++) {
                if (i & p) == r {
                    let low = (*k)[i];
                    let high = (*k)[i + d];
                    (*k)[i] = min(low, high);
                    (*k)[i + d] = max(low, high);
                }
            }
            if q == p {
                break;
            }
            d = q - p;
            q /= 2u;
            r = p;
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    var k = array<i32, N>();
    for (var i = 0u; i < N; i++) {
        k[i] = load(i, column);
    }
    sort(&k);
    let middle = (N - 1u) / 2u;
    if KEEP == 0u && TO - FROM == 1u {
        y[column] = bits_of(k[FROM]);
        return;
    }
    // The values of the mean are moved to FIRST..FIRST + COUNT.
    let first = select(FROM, N - KEEP, KEEP > 0u);
    let count = select(TO - FROM, KEEP, KEEP > 0u);
    let a = k[middle];
    let b = k[N / 2u];
    if KEEP > 0u {
        for (var s = 0u; s < N - KEEP; s++) {
            let verdict = compare(a, b, k[s], k[s + KEEP]);
            if verdict == NEARER || (verdict == UNSURE && exact_sign(a, b, k[s], k[s + KEEP]) <= 0) {
                k[s + KEEP] = k[s];
            }
        }
    }
    var largest = 0.0;
    for (var i = first; i < first + count; i++) {
        largest = larger(largest, k[i]);
    }
    let s = shrink(largest);
    let c = value(a);
    var sum = 0.0;
    for (var i = first; i < first + count; i++) {
        sum += term(k[i], c, s);
    }
    y[column] = bitcast<u32>(mean(sum, f32(count), c, s));
}
