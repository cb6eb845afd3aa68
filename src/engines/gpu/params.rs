//! The host's side of the structs that kernels read; a test holds their layout against naga's.

use super::layout::Chunk;
use super::shader::{means_vectors, quads};
use crate::engines::passes::Term;
use crate::geometry::Mixing;

/// `Row` of `matrix.wgsl`.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct RowEntry {
    pub(crate) index: u32,
    pub(crate) scale: f32,
    pub(crate) weight: f32,
    pub(crate) weight_low: f32,
}

impl RowEntry {
    pub(crate) fn plain(rows: &[usize]) -> Vec<Self> {
        Self::scaled(rows, &vec![1.0; rows.len()])
    }

    pub(crate) fn scaled(rows: &[usize], scales: &[f32]) -> Vec<Self> {
        rows.iter().zip(scales).map(|(&i, &scale)| Self { index: i as u32, scale, weight: 0.0, weight_low: 0.0 }).collect()
    }

    /// Terms of a weighted sum.
    pub(crate) fn weighted(terms: &[Term]) -> Vec<Self> {
        let entry = |t: &Term| Self { index: t.row as u32, scale: t.scale, weight: t.weight, weight_low: t.weight_low };
        terms.iter().map(entry).collect()
    }

    /// With two scales: the second one stands where other kernels have a weight.
    pub(crate) fn scaled_twice(rows: &[usize], scales: &[f32], second: &[f32]) -> Vec<Self> {
        Self::scaled(rows, scales).into_iter().zip(second).map(|(entry, &weight)| Self { weight, ..entry }).collect()
    }
}

/// `Params` of `matrix.wgsl`.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub(crate) columns: u32,
    pub(crate) stride: u32,
    pub(crate) rows: u32,
    pub(crate) centre: u32,
    pub(crate) first: u32,
    pub(crate) beta: f32,
    pub(crate) blocks: u32,
    pub(crate) tolerance: f32,
    pub(crate) voters: u32,
    pub(crate) anchor: u32,
    pub(crate) base: u32,
    pub(crate) momentum_stride: u32,
    pub(crate) zero: u32,
}

/// `MEDIAN` of `matrix.wgsl`.
pub(crate) const MEDIAN: u32 = u32::MAX;

impl Params {
    pub(crate) fn new(chunk: &Chunk, rows: usize) -> Self {
        Self {
            columns: chunk.columns as u32,
            stride: chunk.stride as u32,
            rows: rows as u32,
            centre: MEDIAN,
            first: 0,
            beta: 0.0,
            blocks: 0,
            tolerance: 0.0,
            voters: rows as u32,
            anchor: MEDIAN,
            base: chunk.base as u32,
            momentum_stride: chunk.own_stride() as u32,
            zero: 0,
        }
    }
}

/// `means` of `means.wgsl`, for mixed rows that are plain means, with what each row they take weighs.
pub(crate) fn means(mixing: &Mixing, weights: &[f64]) -> Vec<f32> {
    let (rows, values) = (mixing.width(), mixing.rows());
    let width = 4 * quads(values);
    let mut table = vec![0.0; 4 * means_vectors(rows, values)];
    for (i, weight) in weights.iter().enumerate() {
        let Term { weight, weight_low, .. } = Term::new(0, *weight);
        (table[i], table[width + i]) = (weight, weight_low);
        for j in 0..rows {
            table[(2 + j) * width + i] = if mixing.weights(i)[j] == 0.0 { 0.0 } else { 1.0 };
        }
    }
    let uses = |j: &usize| (0..values).filter(|&i| mixing.weights(i)[*j] != 0.0).count();
    let common: Vec<usize> = (0..rows).filter(|j| 2 * uses(j) > values).collect();
    let all = if common.is_empty() { (0..rows).collect() } else { common };
    all.into_iter().for_each(|j| table[(2 + rows) * width + j] = 1.0);
    table
}

/// Groups over x and y: at most 65535 a side.
pub(crate) fn groups(count: usize) -> [u32; 3] {
    let x = count.clamp(1, 65_535);
    [x as u32, count.div_ceil(x).max(1) as u32, 1]
}
