// Part of the kernels of a rule that never leaves the device: what becomes of the rows, one group of 256 invocations, one for each row.
//
// status   [CODE]      0, or why there is no result
//          [BAD]       rows with NaN or infinite values
//          [HIDDEN]    1 if a row hid from the sample, and the data was read once more
//          [ROUNDS]    rounds of an iterative solver
//          [RESIDUAL]  what its stopping test measured last, bits of f32
//          [DONE]      1 when the inner products serve
//          [START]     1 if the point that a rule begins at is not finite
//          [FLAGS + i] 1 if row i is bad

const CODE = 0u;
const BAD = 1u;
const HIDDEN = 2u;
const ROUNDS = 3u;
const RESIDUAL = 4u;
const DONE = 5u;
const START = 6u;
const FLAGS = 8u;

// More rows than f are bad; rows are of such different sizes that no scales serve.
const TOO_MANY_BAD = 1u;
const NO_SCALES = 2u;
// The point that a rule begins at is not finite.
const START_NOT_FINITE = 3u;

const LANES = 256u;

// Exponent of a positive number by its bits; that of denormal numbers is the least.
fn exponent(bits: u32) -> i32 {
    return max(i32(bits >> 23u), 1) - 127;
}

// A power of two that brings a row of this largest magnitude near 1; 1 for ordinary rows.
fn scale_for(largest: u32) -> f32 {
    let e = exponent(largest);
    if largest == 0u || largest >= EXPONENT || abs(e) <= 30 {
        return 1.0;
    }
    return bitcast<f32>(u32(127 - clamp(e, -126, 126)) << 23u);
}
