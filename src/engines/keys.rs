//! Integer order of f32 values by their bits: −NaN < −∞ < … < −0 < +0 < … < +∞ < +NaN.
//!
//! Integer comparisons are exact on every device; float ones are not (WGSL may assume NaN away and flush denormals).

/// Bits of an exponent that only NaN and infinities have.
pub(crate) const EXPONENT: u32 = 0x7f80_0000;

/// The key of a value's bits, and the bits of a key: the map is its own inverse.
#[inline(always)]
pub(crate) const fn key(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The value with that key.
#[inline(always)]
pub(crate) fn value(k: i32) -> f32 {
    f32::from_bits(key(k) as u32)
}

/// |bits|: the magnitude of a value as an integer of the same order. NaN and infinities are at least [`EXPONENT`].
#[inline(always)]
pub(crate) const fn magnitude(bits: u32) -> u32 {
    bits & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_the_total_order_and_the_map_an_involution() {
        let mut values =
            vec![-f32::NAN, f32::NEG_INFINITY, f32::MIN, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, f32::MAX, f32::INFINITY, f32::NAN];
        values.extend((0..10_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9))));
        for pair in values.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|v| key(v.to_bits() as i32));
            assert_eq!(a.cmp(&b), pair[0].total_cmp(&pair[1]));
            assert_eq!(value(a).to_bits(), pair[0].to_bits());
        }
    }
}
