//! Reading and copying the rows without any arithmetic: what kernels are measured against.

use rayon::prelude::*;

/// Pieces of 16 bits a thread takes at a time.
const PIECE: usize = 1 << 19;

/// Places in a piece that are read side by side: one alone leaves memory waiting.
const STREAMS: usize = 4;

/// Reads all bits once; the exclusive or of every 16 of them.
pub(crate) fn read(rows: &[&[u16]]) -> u16 {
    rows.par_iter().flat_map(|row| row.par_chunks(PIECE)).map(fold).reduce(|| 0, |a, b| a ^ b)
}

fn fold(values: &[u16]) -> u16 {
    let (before, words, after) = bytemuck::pod_align_to(values);
    let all = fold_words(words);
    before.iter().chain(after).fold((all ^ all >> 16) as u16, |all, v| all ^ v)
}

simd! {
    fn fold_words(values: &[u32]) -> u32 {
        let (a, rest) = values.split_at(values.len() / STREAMS);
        let (b, rest) = rest.split_at(a.len());
        let (c, rest) = rest.split_at(a.len());
        let (d, rest) = rest.split_at(a.len());
        let left = rest.iter().fold(0, |all, v| all ^ v);
        let streams = a.iter().zip(b).zip(c).zip(d);
        streams.fold(left, |all, (((a, b), c), d)| all ^ a ^ b ^ c ^ d)
    }
}

/// Copies all bits once.
pub(crate) fn copy(rows: &[&[u16]], mut room: &mut [u16]) -> u16 {
    let rooms: Vec<&mut [u16]> = rows.iter().filter_map(|row| room.split_off_mut(..row.len())).collect();
    let pieces = rooms.into_par_iter().zip(rows).flat_map(|(to, row)| to.par_chunks_mut(PIECE).zip(row.par_chunks(PIECE)));
    pieces.for_each(|(to, from)| to.copy_from_slice(from));
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_and_copied() {
        let values: Vec<u16> = (0..3 * 70_001).map(|i| (i as f32).sqrt().to_bits() as u16).collect();
        let rows: Vec<&[u16]> = values.chunks(70_001).collect();
        assert_eq!(read(&rows), values.iter().fold(0, |all, v| all ^ v));
        let mut room = vec![0; values.len()];
        copy(&rows, &mut room);
        assert_eq!(room, values);
    }
}
