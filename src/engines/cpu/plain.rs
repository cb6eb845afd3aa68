//! Reading and copying the rows without any arithmetic: what kernels are measured against.

use rayon::prelude::*;

/// Values a thread takes at a time.
const PIECE: usize = 1 << 16;

/// Reads every value once; the exclusive or of their bits.
pub(crate) fn read(rows: &[&[f32]]) -> u32 {
    rows.par_iter().flat_map(|row| row.par_chunks(PIECE)).map(fold).reduce(|| 0, |a, b| a ^ b)
}

simd! {
    fn fold(values: &[f32]) -> u32 {
        values.iter().fold(0, |all, v| all ^ v.to_bits())
    }
}

/// Copies every value once.
pub(crate) fn copy(rows: &[&[f32]], room: &mut [f32]) -> u32 {
    let d = rows.first().map_or(1, |row| row.len().max(1));
    let pieces = room.par_chunks_mut(d).zip(rows).flat_map(|(to, row)| to.par_chunks_mut(PIECE).zip(row.par_chunks(PIECE)));
    pieces.for_each(|(to, from)| to.copy_from_slice(from));
    0
}
