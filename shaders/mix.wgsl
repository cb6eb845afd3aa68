// y = c + sum_i w_i (x_i - c), one invocation a column; c is row params.centre, w_i x_i = weight * (scale * x_i).
//
// y        bits of the result
//
// Formed at half scale, where no difference of two finite values overflows. A column with values that are not finite gives NaN
// if one is NaN or both infinities meet, else that infinity; decided on bits.

@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = linear_group(group, groups) * 64u + lane;
    if column >= params.columns {
        return;
    }
    let centre = bitcast<f32>(bits_at(params.centre, column));
    var sum = Sum(0.0, 0.0);
    var nan = false;
    var above = false;
    var below = false;
    for (var i = 0u; i < params.rows; i++) {
        let row = rows[i];
        let bits = bits_at(row.index, column);
        if magnitude(bits) >= EXPONENT {
            note(i, bits);
            nan |= magnitude(bits) > EXPONENT;
            above |= bits == EXPONENT;
            below |= bits == (EXPONENT | 0x80000000u);
        } else {
            sum = add_weighted(sum, row.weight, row.weight_low, at_half(bitcast<f32>(bits), row.scale), at_half(centre, row.scale));
        }
    }
    if nan || (above && below) {
        y[column] = 0x7fc00000u;
    } else if above {
        y[column] = EXPONENT;
    } else if below {
        y[column] = EXPONENT | 0x80000000u;
    } else {
        y[column] = bitcast<u32>(twice(0.5 * centre, sum));
    }
}
