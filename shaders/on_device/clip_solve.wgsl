// Centered clipping from inner products: rounds of v <- v + 1/m sum_i (x_i - v) min(1, tau / ||x_i - v||). It begins at the point that the rows
// are centred on, whose weight is what is left of 1.
//
// variants   rounds, tau (bits)

var<workgroup> beyond: atomic<u32>;
var<workgroup> rounds: u32;

fn mantissa(x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0x7fffffu) | 0x3f800000u);
}

// a s / b for normal positive numbers, s a power of two: neither product nor quotient leaves the range of f32.
fn ratio(a: f32, s: f32, b: f32) -> f32 {
    let e = exponent(bitcast<u32>(a)) + exponent(bitcast<u32>(s)) - exponent(bitcast<u32>(b));
    return mantissa(a) / mantissa(b) * bitcast<f32>(u32(clamp(e, -126, 126) + 127) << 23u);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let m = made.rows;
    measure(lane, m);
    let works = lane < m;
    let row = min(lane, max(m, 1u) - 1u);
    let how = variant(m);
    let tau = bitcast<f32>(how.y);
    let share = 1.0 / f32(max(m, 1u));
    // Of the scaled row. Huge rows have an ordinary one, where v in their units is less than any f32.
    var weight = 0.0;
    v[lane] = 0.0;
    if lane == 0u {
        rounds = how.x;
    }
    let bound = workgroupUniformLoad(&rounds);
    for (var round = 0u; round < bound; round++) {
        let r2 = distance2_to_combination(lane, m).x;
        var taken = select(0.0, share, works);
        var step = select(0.0, share / chosen[row].scale, works);
        // From far away, in a near row's units.
        if magnitude(bitcast<u32>(r2)) >= EXPONENT {
            atomicStore(&beyond, 1u);
        }
        if works && r2 > 0x1p-126f {
            let clip = ratio(tau, chosen[row].scale, sqrt(r2));
            if clip < 1.0 {
                taken = share * clip;
                step = share * ratio(tau, 1.0, sqrt(r2));
            }
        }
        let left = 1.0 - gathered(lane, taken, false);
        weight = weight * left + step;
        v[lane] = weight * largest_scale;
        workgroupBarrier();
    }
    if magnitude(bitcast<u32>(v[lane])) >= EXPONENT {
        atomicStore(&beyond, 1u);
    }
    workgroupBarrier();
    if lane == 0u {
        status[ROUNDS] = bound;
        if status[CODE] == 0u && atomicLoad(&beyond) != 0u {
            status[CODE] = NO_SCALES;
        }
        if status[START] != 0u {
            status[CODE] = START_NOT_FINITE;
        }
    }
    take_combination(lane, m, weight, whole.centre);
}
