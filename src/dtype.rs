//! The types that the values of a matrix may have. Halves are widened to f32 where they are loaded; that is exact, and all arithmetic is
//! that of f32.

use crate::error::Error;
use crate::pieces::Pieces;
use half::vec::HalfFloatVecExt;
use half::{bf16, f16};
use prefetch_index::prefetch_index;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Runs of values that are asked for before they are copied.
const SOON: usize = 8;

/// Type of the values of a matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Dtype {
    /// IEEE 754 single precision.
    #[default]
    F32,
    /// IEEE 754 half precision: 11 bits of mantissa, up to 65504.
    F16,
    /// The upper half of an f32: 8 bits of mantissa, f32's range.
    Bf16,
}

impl Dtype {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// Values rounded to this type, in [words](Values::words).
    pub(crate) fn rounded(self, values: &[f32]) -> Vec<u32> {
        match self {
            Dtype::F32 => Values::F32(values).words(),
            Dtype::F16 => Values::F16(&Vec::from_f32_slice(values)).words(),
            Dtype::Bf16 => Values::Bf16(&Vec::from_f32_slice(values)).words(),
        }
    }

    /// The first so many values that stand in these [words](Values::words).
    pub(crate) fn of_words(self, words: &[u32], values: usize) -> Values<'_> {
        self.values(&bytemuck::cast_slice(words)[..values * self.size()])
    }

    /// The values that stand in these bytes.
    pub(crate) fn values(self, bytes: &[u8]) -> Values<'_> {
        match self {
            Dtype::F32 => Values::F32(bytemuck::cast_slice(bytes)),
            Dtype::F16 => Values::F16(bytemuck::cast_slice(bytes)),
            Dtype::Bf16 => Values::Bf16(bytemuck::cast_slice(bytes)),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        })
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [Dtype::F32, Dtype::F16, Dtype::Bf16];
        let found = all.into_iter().find(|dtype| dtype.to_string() == name);
        found.ok_or_else(|| Error::parameter("rows", "dtype", name, "f32, f16 or bf16"))
    }
}

/// A type that the values of a matrix may have: f32, [`f16`](struct@f16) or [`bf16`].
pub trait Element: sealed::Element {}

mod sealed {
    pub trait Element: Copy + Send + Sync + 'static {
        fn values(slice: &[Self]) -> super::Values<'_>;
        /// The nearest value.
        fn rounded(value: f32) -> Self;
    }
}

macro_rules! element {
    ($type:ty, $variant:ident, $rounded:expr) => {
        impl Element for $type {}
        impl sealed::Element for $type {
            fn values(slice: &[Self]) -> Values<'_> {
                Values::$variant(slice)
            }
            fn rounded(value: f32) -> Self {
                $rounded(value)
            }
        }
    };
}
element!(f32, F32, std::convert::identity);
element!(f16, F16, f16::from_f32);
element!(bf16, Bf16, bf16::from_f32);

/// Some values of a row.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    /// In several slices.
    Pieces(Pieces<'a>),
}

impl<'a, T: Element> From<&'a [T]> for Values<'a> {
    fn from(slice: &'a [T]) -> Self {
        T::values(slice)
    }
}

/// The same for a slice of each type, and something else for pieces.
macro_rules! each {
    ($values:expr, $slice:ident => $result:expr, $pieces:ident => $of_pieces:expr) => {
        match $values {
            Values::F32($slice) => $result,
            Values::F16($slice) => $result,
            Values::Bf16($slice) => $result,
            Values::Pieces($pieces) => $of_pieces,
        }
    };
}

impl<'a> Values<'a> {
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Values::F32(_) => Dtype::F32,
            Values::F16(_) => Dtype::F16,
            Values::Bf16(_) => Dtype::Bf16,
            Values::Pieces(pieces) => pieces.any().dtype(),
        }
    }

    pub(crate) fn len(self) -> usize {
        each!(self, values => values.len(), pieces => pieces.len())
    }

    /// Bytes of all of them.
    pub(crate) fn size(self) -> usize {
        self.len() * self.dtype().size()
    }

    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        each!(self, values => Self::from(&values[range]), pieces => pieces.slice(range))
    }

    /// Their bits, where they lie in one slice.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        each!(self, values => Some(bytemuck::cast_slice(values)), _pieces => None)
    }

    /// Their bits: where they lie, or gathered in `room`.
    pub(crate) fn gathered<'b>(self, room: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        self.bytes().unwrap_or_else(|| {
            room.resize(self.size(), 0);
            self.copy_bits(room);
            room
        })
    }

    /// Their bits, into a slice of as many bytes.
    fn copy_bits(self, out: &mut [u8]) {
        each!(self, values => out.copy_from_slice(bytemuck::cast_slice(values)), pieces => {
            in_turn(pieces, out, Values::size, Values::copy_bits);
        });
    }

    /// Asks the processor for the cache lines of some values, which need not be there.
    #[inline(always)]
    pub(crate) fn ask(self, places: impl Iterator<Item = usize>) {
        each!(self, values => places.for_each(|k| prefetch_index(values, k)), _pieces => ());
    }

    /// Value k.
    pub(crate) fn at(self, k: usize) -> f32 {
        match self {
            Values::F32(values) => values[k],
            Values::F16(values) => values[k].to_f32(),
            Values::Bf16(values) => values[k].to_f32(),
            Values::Pieces(pieces) => pieces.slice(k..k + 1).at(0),
        }
    }

    /// Those of some runs of neighbours, into a slice of as many. Runs are asked for [`SOON`] before they are copied: each lies in a page of its own,
    /// which takes long to find.
    pub(crate) fn gather(self, runs: &[&[usize]], out: &mut [f32]) {
        fn each<T: Copy>(values: &[T], runs: &[&[usize]], mut out: &mut [f32], widen: impl Fn(T) -> f32) {
            for (i, run) in runs.iter().enumerate() {
                if let Some(soon) = runs.get(i + SOON) {
                    prefetch_index(values, soon[0]);
                    prefetch_index(values, soon[soon.len() - 1]);
                }
                let some = out.split_off_mut(..run.len()).unwrap_or_default();
                some.iter_mut().zip(&values[run[0]..]).for_each(|(y, x)| *y = widen(*x));
            }
        }
        match self {
            Values::F32(values) => each(values, runs, out, std::convert::identity),
            Values::F16(values) => each(values, runs, out, f16::to_f32),
            Values::Bf16(values) => each(values, runs, out, bf16::to_f32),
            Values::Pieces(_) => out.iter_mut().zip(runs.iter().copied().flatten()).for_each(|(y, &k)| *y = self.at(k)),
        }
    }

    /// All of them, into a slice of the same length.
    pub(crate) fn copy_to(self, out: &mut [f32]) {
        match self {
            Values::F32(values) => out.copy_from_slice(values),
            Values::F16(values) => widen_f16(values, out),
            Values::Bf16(values) => widen_bf16(values, out),
            Values::Pieces(pieces) => in_turn(pieces, out, Values::len, Values::copy_to),
        }
    }

    /// All of them as f32: where they lie, or gathered and widened in `room`.
    pub(crate) fn f32<'b>(self, room: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Values::F32(values) => values,
            _ => {
                room.resize(self.len(), 0.0);
                self.copy_to(room);
                room
            }
        }
    }

    /// Some of them as [`Values::f32`]: the usual case is no more than slicing, even for a tile.
    #[inline(always)]
    pub(crate) fn some_f32<'b>(self, range: Range<usize>, room: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Values::F32(values) => &values[range],
            _ => self.slice(range).f32(room),
        }
    }

    /// All of them, with room of its own.
    pub(crate) fn widened(self) -> Cow<'a, [f32]> {
        match self {
            Values::F32(values) => Cow::Borrowed(values),
            _ => {
                let mut room = Vec::new();
                self.f32(&mut room);
                Cow::Owned(room)
            }
        }
    }

    /// Their bits in words of 32, with zeros behind them in the last one.
    pub(crate) fn words(self) -> Vec<u32> {
        let mut words = vec![0; self.size().div_ceil(size_of::<u32>())];
        self.copy_bits(&mut bytemuck::cast_slice_mut(&mut words)[..self.size()]);
        words
    }
}

/// Copies the parts of a row one behind the other.
fn in_turn<'a, T>(pieces: Pieces<'a>, mut out: &mut [T], room: fn(Values<'a>) -> usize, copy: fn(Values<'a>, &mut [T])) {
    for part in pieces.parts() {
        let to = out.split_off_mut(..room(part)).unwrap_or_default();
        copy(part, to);
    }
}

simd! {
    fn widen_bf16(values: &[bf16], out: &mut [f32]) {
        out.iter_mut().zip(values).for_each(|(y, x)| *y = x.to_f32());
    }
}

simd! {
    /// In integers: whole vectors at a time on any processor, where `half` converts eight values a call.
    fn widen_f16(values: &[f16], out: &mut [f32]) {
        for (y, x) in out.iter_mut().zip(values) {
            let size = i32::from(x.to_bits() & 0x7fff);
            let bits = match size {
                // A denormal half is size · 2⁻²⁴, in f32 a normal number.
                0..0x0400 => (size as f32 * 2f32.powi(-24)).to_bits(),
                // The exponent's bias is 127, not 15.
                0x0400..0x7c00 => (size as u32 + (112 << 10)) << 13,
                // The greatest exponent stays the greatest; a NaN is made quiet.
                _ => (size as u32 + (224 << 10)) << 13 | u32::from(size > 0x7c00) << 22,
            };
            *y = f32::from_bits(bits | u32::from(x.to_bits() >> 15) << 31);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a half with so many bits of exponent and mantissa, by the definition of the format.
    fn defined(bits: u16, exponent_bits: i32, mantissa_bits: i32) -> f64 {
        let most = (1 << exponent_bits) - 1;
        let bias = most / 2;
        let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(bits >> mantissa_bits) & most;
        let fraction = f64::from(bits & ((1 << mantissa_bits) - 1)) * 2f64.powi(-mantissa_bits);
        sign * match exponent {
            0 => fraction * 2f64.powi(1 - bias),
            _ if exponent < most => (1.0 + fraction) * 2f64.powi(exponent - bias),
            _ if fraction == 0.0 => f64::INFINITY,
            _ => f64::NAN,
        }
    }

    /// All bit patterns, in slices of lengths that leave a rest to every width of vectors, and one by one.
    #[test]
    fn widening_is_exact() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for (dtype, exponent, mantissa) in [(Dtype::F16, 5, 10), (Dtype::Bf16, 8, 7)] {
            for length in [all.len(), 31] {
                for piece in all.chunks(length) {
                    let values = dtype.values(bytemuck::cast_slice(piece));
                    let mut room = vec![f32::NAN; 3];
                    let widened = values.f32(&mut room);
                    assert_eq!((values.dtype(), values.len(), widened.len()), (dtype, piece.len(), piece.len()));
                    for (k, (bits, got)) in piece.iter().zip(widened).enumerate() {
                        let want = defined(*bits, exponent, mantissa);
                        let same = |got: f32| if want.is_nan() { got.is_nan() } else { f64::from(got).to_bits() == want.to_bits() };
                        assert!(same(*got) && same(values.at(k)), "{dtype} {bits:04x}: {got:e}, expected {want:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn words_hold_all_bits() {
        let values: Vec<u16> = (1..=5).collect();
        let halves = Dtype::F16.values(bytemuck::cast_slice(&values));
        assert_eq!(bytemuck::cast_slice::<u32, u16>(&halves.words()), [1, 2, 3, 4, 5, 0]);
        assert_eq!(Values::from(&[1.0f32, -0.0][..]).words(), [0x3f80_0000, 0x8000_0000]);
    }

    #[test]
    fn names_are_read() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        assert!(matches!("f64".parse::<Dtype>(), Err(Error::Parameter { .. })));
    }
}
