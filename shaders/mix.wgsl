// y = c + sum_i w_i (x_i - c), one invocation a column; c is row params.centre, w_i x_i = weight * (scale * x_i).
//
// y        bits of the result
//
// Formed at half scale, where no difference of two finite values overflows. A column with values that are not finite gives NaN
// if one is NaN or both infinities meet, else that infinity; decided on bits.

@group(0) @binding(3) var<storage, read_write> y: array<u32>;

// What is known of a column.
struct Column {
    sum: Sum,
    nan: bool,
    above: bool,
    below: bool,
}

fn with_row(before: Column, i: u32, bits: u32, centre: f32) -> Column {
    var column = before;
    if i >= params.rows {
        return column;
    }
    if magnitude(bits) >= EXPONENT {
        note(i, bits);
        column.nan |= magnitude(bits) > EXPONENT;
        column.above |= bits == EXPONENT;
        column.below |= bits == (EXPONENT | 0x80000000u);
    } else {
        let row = rows[i];
        let value = at_half(bitcast<f32>(bits), row.scale);
        column.sum = add_weighted(column.sum, row.weight, row.weight_low, value, at_half(centre, row.scale));
    }
    return column;
}

fn with_rows(before: Column, i: u32, bits: vec4<u32>, centre: f32) -> Column {
    let two = with_row(with_row(before, i, bits.x, centre), i + 1u, bits.y, centre);
    return with_row(with_row(two, i + 2u, bits.z, centre), i + 3u, bits.w, centre);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups) * 64u + lane;
    if at >= params.columns {
        return;
    }
    let centre = bitcast<f32>(bits_at(params.centre, at));
    var column = Column();
    // Eight rows are asked for before one is looked at.
    for (var i = 0u; i < params.rows; i += 8u) {
        let first = bits_of_rows(i, at);
        var second = vec4<u32>();
        if i + 4u < params.rows {
            second = bits_of_rows(i + 4u, at);
        }
        column = with_rows(with_rows(column, i, first, centre), i + 4u, second, centre);
    }
    if column.nan || (column.above && column.below) {
        y[at] = 0x7fc00000u;
    } else if column.above {
        y[at] = EXPONENT;
    } else if column.below {
        y[at] = EXPONENT | 0x80000000u;
    } else {
        y[at] = bitcast<u32>(twice(0.5 * centre, column.sum));
    }
}
