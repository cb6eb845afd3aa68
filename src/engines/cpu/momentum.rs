//! M ← βM + (1−β)G, row by row.

use super::BLOCK;
use crate::dtype::Values;
use crate::engines::keys::{EXPONENT, magnitude};
use rayon::prelude::*;

/// One worker's step: m ← βm + (1−β)g, kept within the finite values.
pub(crate) fn step(momentum: &mut [f32], gradient: Values<'_>, beta: f32) {
    momentum.par_chunks_mut(BLOCK).enumerate().for_each_init(Vec::new, |room, (b, m)| {
        block(m, gradient.slice(b * BLOCK..b * BLOCK + m.len()).f32(room), beta);
    });
}

simd! {
    fn block(momentum: &mut [f32], gradient: &[f32], beta: f32) {
        for (m, g) in momentum.iter_mut().zip(gradient) {
            *m = (beta * *m + (1.0 - beta) * g).clamp(f32::MIN, f32::MAX);
        }
    }
}

/// True when every value is finite.
pub(crate) fn finite(row: Values<'_>) -> bool {
    let block = |b: usize| row.slice(b * BLOCK..row.len().min((b + 1) * BLOCK));
    let blocks = (0..row.len().div_ceil(BLOCK)).into_par_iter();
    blocks.map_init(Vec::new, |room, b| largest(block(b).f32(room))).all(|largest| largest < EXPONENT)
}

simd! {
    fn largest(row: &[f32]) -> u32 {
        row.iter().map(|v| magnitude(v.to_bits())).fold(0, u32::max)
    }
}
