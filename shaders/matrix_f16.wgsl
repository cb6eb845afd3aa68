// Part of every kernel over a matrix of f16: two values a word, the first in its lower half. In integers, because a device may take
// denormal halves for zero.

fn x_at(at: u32) -> u32 {
    let half = x[at / 2u] >> (16u * (at % 2u));
    let sign = (half & 0x8000u) << 16u;
    let size = half & 0x7fffu;
    if size >= 0x0400u {
        // The exponent's bias is 127, not 15; that of NaN and infinities stays the greatest.
        return sign | ((size << 13u) + select(0x38000000u, 0x70000000u, size >= 0x7c00u));
    }
    if size == 0u {
        return sign;
    }
    // A denormal half is size * 2^-24, in f32 a normal number.
    let top = firstLeadingBit(size);
    return sign | ((top + 103u) << 23u) | ((size << (23u - top)) & 0x007fffffu);
}
