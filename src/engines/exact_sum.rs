//! Sums of f32 values that are exact, hence independent of the order of the terms.
//!
//! Block sums of a Gram matrix arrive in whatever order threads, chunks or ranks finish. Added as integers they give the
//! same bits in every order, and the integers of two shards can simply be added.

/// 32-bit digits, least significant first, of a fixed-point number whose unit is 2⁻¹⁴⁹, the smallest f32. Each is kept in
/// an i64, so 2³¹ terms fit before a carry is needed.
const DIGITS: usize = 9;

/// Integers that hold a sum: its digits, and whether a term was not finite.
pub(crate) const WORDS: usize = DIGITS + 1;

/// Numbers that hold a sum of a GPU's: 16-bit digits, and whether a term was not finite. As in `shaders/add.wgsl`.
pub(crate) const ADDED: usize = 2 * DIGITS + 1;

/// An exact running sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExactSum {
    digits: [i64; DIGITS],
    /// A term was NaN or infinite; the sum is then NaN.
    non_finite: bool,
}

impl ExactSum {
    /// Adds one term.
    #[inline]
    pub(crate) fn add(&mut self, term: f32) {
        let bits = term.to_bits();
        let exponent = bits >> 23 & 0xff;
        let fraction = i64::from(bits & 0x7f_ffff);
        // Denormals have the exponent of the smallest normal number and no hidden bit.
        let (shift, mantissa) = if exponent == 0 { (0, fraction) } else { (exponent - 1, fraction | 0x80_0000) };
        self.non_finite |= exponent == 0xff;
        let shift = shift.min(253);
        let wide = mantissa << (shift % 32);
        let at = (shift / 32) as usize;
        let sign = 1 - 2 * i64::from(bits >> 31);
        self.digits[at] += sign * (wide & 0xffff_ffff);
        self.digits[at + 1] += sign * (wide >> 32);
    }

    /// Adds the terms of another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.digits.iter_mut().zip(&other.digits).for_each(|(a, b)| *a += b);
        self.non_finite |= other.non_finite;
    }

    /// Adds the terms of a sum that a GPU added.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) fn add_digits(&mut self, added: &[u32; ADDED]) {
        let wide = |k: usize| i64::from(added[k] as i32);
        self.digits.iter_mut().enumerate().for_each(|(k, digit)| *digit += wide(2 * k) + (wide(2 * k + 1) << 16));
        self.non_finite |= added[ADDED - 1] != 0;
    }

    /// The sum as integers: those of a sum of all terms are the sums of those of its parts, as long as there are no more than 2³¹ terms.
    pub(crate) fn words(&self) -> [i64; WORDS] {
        let mut words = [0; WORDS];
        words[..DIGITS].copy_from_slice(&self.digits);
        words[DIGITS] = i64::from(self.non_finite);
        words
    }

    /// The sum that these [`words`](Self::words), or sums of such, stand for.
    pub(crate) fn of_words(words: &[i64; WORDS]) -> Self {
        Self { digits: std::array::from_fn(|k| words[k]), non_finite: words[DIGITS] != 0 }
    }

    /// The sum as f64, correct to a relative 2⁻⁵² of itself.
    pub(crate) fn value(&self) -> f64 {
        if self.non_finite {
            return f64::NAN;
        }
        let mut digits = self.digits;
        for k in 0..DIGITS - 1 {
            let carry = digits[k] >> 32;
            digits[k] -= carry << 32;
            digits[k + 1] += carry;
        }
        // All digits but the last are now in 0..2³²: from the top, so that what is small is added last.
        if digits[DIGITS - 1] < 0 {
            let negated = Self { digits: self.digits.map(|d| -d), non_finite: false };
            return -negated.value();
        }
        digits.iter().enumerate().rev().map(|(k, &d)| d as f64 * 2f64.powi(32 * k as i32 - 149)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_where_floats_are_not() {
        let mut s = ExactSum::default();
        for t in [1e30, 1.0, -1e30, 1e-40, -1.0] {
            s.add(t);
        }
        assert_eq!(s.value(), f64::from(1e-40f32));
        s.add(f32::MAX);
        s.add(-1e-40);
        assert_eq!(s.value(), f64::from(f32::MAX));
        s.add(f32::NAN);
        assert!(s.value().is_nan());
    }

    proptest::proptest! {
        /// Terms with few bits and close exponents add up exactly in f64 as well.
        #[test]
        fn sums_that_f64_holds_are_the_same(terms in proptest::collection::vec(-1_000_000i32..1_000_000, 0..200), scale in -60i32..60) {
            let unit = 2f32.powi(scale);
            let mut sum = ExactSum::default();
            terms.iter().for_each(|t| sum.add(*t as f32 * unit));
            let expected = terms.iter().map(|t| i64::from(*t)).sum::<i64>() as f64 * f64::from(unit);
            proptest::prop_assert_eq!(sum.value(), expected);
        }
    }

    #[test]
    fn any_order_gives_the_same_bits() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut terms: Vec<f32> =
            (0..5000).map(|_| f32::from_bits(random.u32(..) & 0xbfff_ffff)).filter(|t| t.is_finite()).collect();
        let forward = terms.iter().fold(ExactSum::default(), |mut s, t| {
            s.add(*t);
            s
        });
        random.shuffle(&mut terms);
        let (mut a, mut b) = (ExactSum::default(), ExactSum::default());
        terms[..777].iter().for_each(|t| a.add(*t));
        terms[777..].iter().for_each(|t| b.add(*t));
        let (x, y) = (a.words(), b.words());
        b.merge(&a);
        assert_eq!(b, ExactSum::of_words(&std::array::from_fn(|k| x[k] + y[k])));
        assert_eq!(forward.value().to_bits(), b.value().to_bits());
        let plain: f64 = terms.iter().map(|t| f64::from(*t)).sum();
        approx::assert_relative_eq!(forward.value(), plain, max_relative = 1e-9);
    }
}
