// Part of the coordinate kernels: y_k = stat(x_1k, ..., x_nk), one invocation a column.
//
// y        bits of the result, one a column of the slab
// notes    as in note.wgsl; behind those of the rows, when diagnosing, for each ordered value the number of columns in which it is outside of
//          those kept
//
// The body orders the keys of one column, either as straight-line text with the keys in registers (up to 64 rows) or as loops
// over a private array, and hands them to the functions below. Sums stay within (n + 2) 2^-24 max|kept| + 2^-126.

@group(0) @binding(3) var<storage, read_write> y: array<u32>;

// Key of a row's value; notes the row if it is not finite.
fn load(i: u32, column: u32) -> i32 {
    let bits = fetch(i, column);
    note(i, bits);
    return key(bits);
}

// Counts a value outside of those kept, between low and high.
fn diagnose(i: u32, k: i32, low: i32, high: i32) {
    if k < low || k > high {
        atomicAdd(&notes[params.rows + i], 1u);
    }
}

// -1, 0 or 1. The key of -0 is -1, that of +0 is 0.
fn sign_of(k: i32) -> i32 {
    return select(0, 1, k > 0) - select(0, 1, k < -1);
}

// The least and the greatest key on the side of a majority of signs.
fn side_of(majority: i32) -> vec2<i32> {
    return vec2(select(bitcast<i32>(0x80000000u), 1, majority > 0), select(0x7fffffff, -2, majority < 0));
}

// Equal keys for equal values: zeros have two.
fn canonical(k: i32) -> i32 {
    return select(k, 0, k == -1);
}

// Largest magnitude of two.
fn larger(a: f32, k: i32) -> f32 {
    return max(a, abs(value(k)));
}

// Sums of huge values are formed at a 4096th of their size.
fn shrink(largest: f32) -> f32 {
    return select(1.0, 0x1p-12f, largest > 0x1p+100f);
}

// One term of a mean, relative to the centre c.
fn term(k: i32, c: f32, s: f32) -> f32 {
    return opaque(value(k) * s) - c * s;
}

// The mean from the sum of its terms.
fn mean(sum: f32, count: f32, c: f32, s: f32) -> f32 {
    let m = c * s + sum / count;
    return clamp(m, -LARGEST * s, LARGEST * s) / s;
}

const NEARER = 0u;
const FARTHER = 1u;
const UNSURE = 2u;

// Is the value at the lower of two ranks nearer to a centre than the one at the higher, or equally near? A value that is not
// finite is farther than any other. The centre is the midpoint of 4 a and 4 b, known to `slack`. Clearly different distances are told
// apart in floats, at a quarter of their size so that none overflows; the rest is for exact numbers.
fn compare(a: f32, b: f32, slack: f32, low: i32, high: i32) -> u32 {
    if magnitude(bits_of(low)) >= EXPONENT {
        return FARTHER;
    }
    if magnitude(bits_of(high)) >= EXPONENT {
        return NEARER;
    }
    let below = a - value(low) * 0.25;
    let above = value(high) * 0.25 - b;
    let most = max(below, above);
    if most > 0x1p-60f && abs(below - above) > most * 0x1p-16f + slack {
        return select(NEARER, FARTHER, below > above);
    }
    return select(UNSURE, NEARER, low == high);
}

// Adds a multiple of a value to a fixed-point number (exact.wgsl).
fn add_exactly(digits: ptr<function, array<i32, 19>>, k: i32, times: i32) {
    let bits = bits_of(k);
    let term = placed(bits);
    let sign = select(times, -times, is_negative(bits));
    (*digits)[term.at] += sign * term.digits.x;
    (*digits)[term.at + 1u] += sign * term.digits.y;
    (*digits)[term.at + 2u] += sign * term.digits.z;
}

// The sign of such a number.
fn exact_sign(number: array<i32, 19>) -> i32 {
    var digits = number;
    var any = 0;
    for (var i = 0u; i < 18u; i++) {
        let carry = digits[i] >> 16u;
        any |= digits[i] & 0xffff;
        digits[i + 1u] += carry;
    }
    return select(select(0, 1, digits[18] > 0 || any != 0), -1, digits[18] < 0);
}
