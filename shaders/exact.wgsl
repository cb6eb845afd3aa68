// Part of the kernels that add floats exactly: as fixed-point numbers of 16-bit digits with unit 2^-149. In integers, because WGSL may
// reassociate, fuse and flush float sums.

// The magnitude of a finite number: three digits, and where the first one belongs.
struct Placed {
    at: u32,
    digits: vec3<i32>,
}

fn placed(bits: u32) -> Placed {
    let exponent = (bits >> 23u) & 0xffu;
    let mantissa = (bits & 0x7fffffu) | select(0u, 0x800000u, exponent > 0u);
    let shift = max(exponent, 1u) - 1u;
    let low = mantissa << (shift % 16u);
    let high = (mantissa >> 16u) >> (16u - shift % 16u);
    return Placed(shift / 16u, vec3(i32(low & 0xffffu), i32(low >> 16u), i32(high)));
}

fn is_negative(bits: u32) -> bool {
    return (bits >> 31u) == 1u;
}
