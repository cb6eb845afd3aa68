// Part of the kernels that iterate on a combination z of the rows. With X_i = s_i (x_i - c), S the largest scale, q_i = s_i / S, w_i the weight of
// row i and v_i = w_i / q_i: S (z - c) = sum v_i X_i and s_i^2 ||x_i - z||^2 = G_ii - 2 q_i (G v)_i + q_i^2 v'Gv, where nothing leaves the
// range of f32. Behind `pairs` and `gathered`.
//
// table    the rows of the last read, with weights

@group(0) @binding(10) var<storage, read_write> table: array<Row>;

var<workgroup> v: array<f32, LANES>;

// s_i^2 ||x_i - z||^2 of the invocation's own row, and about how much rounding may have left of zero. All invocations call it.
fn distance2_to_combination(lane: u32, m: u32) -> vec2<f32> {
    let works = lane < m;
    let i = min(lane, max(m, 1u) - 1u);
    let q = select(0.0, relative(i), works);
    let g = select(0.0, product(i, i), works);
    var gv = 0.0;
    if works {
        for (var j = 0u; j < m; j++) {
            gv += product(lane, j) * v[j];
        }
    }
    let square = gathered(lane, v[lane] * gv, false);
    // Rounding leaves an error of about 1e-7 of the terms.
    return vec2(g - 2.0 * q * gv + q * q * square, 1e-7f * (abs(g) + q * q * abs(square)));
}

// Lets the last read take the combination of all rows about this one, by weights of the scaled rows, w_i / s_i = v_i / S.
fn take_combination(lane: u32, m: u32, weight: f32, centre: u32) {
    if lane < m {
        table[lane] = Row(chosen[lane].index, chosen[lane].scale, weight, 0.0);
    }
    if lane == 0u {
        let_see(m, m, centre);
    }
}
