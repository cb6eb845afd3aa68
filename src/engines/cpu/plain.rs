//! Reading and copying the rows without any arithmetic: what kernels are measured against.

use rayon::prelude::*;

/// Values a thread takes at a time.
const PIECE: usize = 1 << 18;

/// Places in a piece that are read side by side: one alone leaves memory waiting.
const STREAMS: usize = 4;

/// Reads every value once; the exclusive or of their bits.
pub(crate) fn read(rows: &[&[f32]]) -> u32 {
    rows.par_iter().flat_map(|row| row.par_chunks(PIECE)).map(fold).reduce(|| 0, |a, b| a ^ b)
}

simd! {
    fn fold(values: &[f32]) -> u32 {
        let (a, rest) = values.split_at(values.len() / STREAMS);
        let (b, rest) = rest.split_at(a.len());
        let (c, rest) = rest.split_at(a.len());
        let (d, rest) = rest.split_at(a.len());
        let left = rest.iter().fold(0, |all, v| all ^ v.to_bits());
        let streams = a.iter().zip(b).zip(c).zip(d);
        streams.fold(left, |all, (((a, b), c), d)| all ^ a.to_bits() ^ b.to_bits() ^ c.to_bits() ^ d.to_bits())
    }
}

/// Copies every value once.
pub(crate) fn copy(rows: &[&[f32]], room: &mut [f32]) -> u32 {
    let d = rows.first().map_or(1, |row| row.len().max(1));
    let pieces = room.par_chunks_mut(d).zip(rows).flat_map(|(to, row)| to.par_chunks_mut(PIECE).zip(row.par_chunks(PIECE)));
    pieces.for_each(|(to, from)| to.copy_from_slice(from));
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_and_copied() {
        let values: Vec<f32> = (0..3 * 70_001).map(|i| (i as f32).sqrt()).collect();
        let rows: Vec<&[f32]> = values.chunks(70_001).collect();
        assert_eq!(read(&rows), values.iter().fold(0, |all, v| all ^ v.to_bits()));
        let mut room = vec![0.0; values.len()];
        copy(&rows, &mut room);
        assert_eq!(room, values);
    }
}
