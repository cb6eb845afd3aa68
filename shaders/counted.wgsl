// Bodies of the coordinate kernels whose rows count differently: the counted median, and the weighted trimmed mean. N, TRIM, MEDIANS and
// DIAGNOSE are constants that the host writes before this text, and `ordered`, the key of a row's value.
//
// counts   how often each row counts, in sum less than 2^31; for the trimmed mean the bits of its weight, between 2^-60 and 2^60

@group(0) @binding(5) var<storage, read> counts: array<u32>;

// The greatest t such that the counts (or the numbers) of the keys below t sum to no more than `limit`; found bit by bit.
fn search(limit: u32, counted: bool, column: u32) -> i32 {
    var found = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        let trial = found | bit;
        var below = 0u;
        for (var i = 0u; i < N; i++) {
            // Unsigned order: the sign bit of the key flipped.
            let k = bitcast<u32>(ordered(i, column)) ^ 0x80000000u;
            below += select(0u, select(1u, counts[i], counted), k < trial);
        }
        if below <= limit {
            found = trial;
        }
    }
    return bitcast<i32>(found ^ 0x80000000u);
}

// The midpoint of two values, without overflow.
fn midpoint(a: f32, b: f32) -> f32 {
    return 0.5 * a + 0.5 * b;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    var total = 0u;
    for (var i = 0u; i < N; i++) {
        let k = load(i, column);
        total += counts[i];
    }
    var low = 0;
    var high = 0;
    if MEDIANS {
        low = search((total - 1u) / 2u, true, column);
        high = low;
        if total % 2u == 0u {
            high = search(total / 2u, true, column);
        }
        if low == high {
            y[column] = bits_of(low);
        } else {
            y[column] = bitcast<u32>(midpoint(value(low), value(high)));
        }
    } else {
        low = search(TRIM, false, column);
        high = search(N - TRIM - 1u, false, column);
        var low_rank = 0u;
        var high_rank = 0u;
        var largest = 0.0;
        for (var i = 0u; i < N; i++) {
            let k = ordered(i, column);
            low_rank += select(0u, 1u, k < low);
            high_rank += select(0u, 1u, k < high);
            if k >= low && k <= high {
                largest = larger(largest, k);
            }
        }
        // Equal keys have the order of their rows.
        let s = shrink(largest);
        let c = value(low);
        var sum = 0.0;
        var most = 0.0;
        var weight = 0.0;
        // The largest weight that is kept, then the sum of all in units of that.
        for (var summed = 0u; summed < 2u; summed++) {
            var low_at = low_rank;
            var high_at = high_rank;
            for (var i = 0u; i < N; i++) {
                let k = ordered(i, column);
                var kept = k >= low && k <= high;
                if k == low {
                    kept = kept && low_at >= TRIM;
                    low_at++;
                }
                if k == high {
                    kept = kept && high_at < N - TRIM;
                    high_at++;
                }
                if kept {
                    let own = bitcast<f32>(counts[i]);
                    if summed == 0u {
                        most = max(most, own);
                    } else {
                        let w = own / most;
                        sum += w * term(k, c, s);
                        weight += w;
                    }
                }
            }
        }
        y[column] = bitcast<u32>(mean(sum, weight, c, s));
    }
    if DIAGNOSE {
        for (var i = 0u; i < N; i++) {
            diagnose(i, ordered(i, column), low, high);
        }
    }
}
