//! M ← βM + (1−β)G, row by row.

use crate::engines::keys::{EXPONENT, magnitude};
use rayon::prelude::*;

use super::BLOCK;

/// One worker's step: m ← βm + (1−β)g, kept within the finite values.
pub(crate) fn step(momentum: &mut [f32], gradient: &[f32], beta: f32) {
    momentum.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).for_each(|(m, g)| block(m, g, beta));
}

simd! {
    fn block(momentum: &mut [f32], gradient: &[f32], beta: f32) {
        for (m, g) in momentum.iter_mut().zip(gradient) {
            *m = (beta * *m + (1.0 - beta) * g).clamp(f32::MIN, f32::MAX);
        }
    }
}

/// True when every value is finite.
pub(crate) fn finite(row: &[f32]) -> bool {
    row.par_chunks(BLOCK).all(|block| largest(block) < EXPONENT)
}

simd! {
    fn largest(row: &[f32]) -> u32 {
        row.iter().map(|v| magnitude(v.to_bits())).fold(0, u32::max)
    }
}
