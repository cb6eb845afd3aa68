//! Squared distances of mixed rows to their coordinate-wise median, in the one read that forms both.

use super::BLOCK;
use super::coordinate::{LANES, Uses, Wire, exchange, load_mixed};
use crate::engines::exact_sum::ExactSum;
use crate::engines::keys::value;
use crate::engines::network::Network;
use crate::geometry::Mixing;
use rayon::prelude::*;

/// For each mixed row z_i = c + Σ_j W_ij (x_j − c) the sum over all columns of (s_i (z_ik − median_k))².
pub(crate) fn deviations(rows: &[&[f32]], mixing: &Mixing, centre: &[f32], sizes: &[f32]) -> Vec<f64> {
    let m = mixing.rows();
    let middle = (m - 1) / 2..m / 2 + 1;
    let network = Network::of_ranks(middle.clone(), m);
    let uses = Uses::new(mixing);
    let zero = || vec![ExactSum::default(); m];
    let blocks = centre.par_chunks(BLOCK).enumerate();
    let sums = blocks.fold(zero, |mut totals, (block, centre)| {
        let (mut wires, mut mixed, mut squares) = (vec![[0; LANES]; m], Vec::new(), vec![[0.0; LANES]; m]);
        // Rows that are mixed are known to be finite.
        let mut flags = vec![false; rows.len()];
        for (t, centre) in centre.chunks(LANES).enumerate() {
            load_mixed(rows, centre, &uses, block * BLOCK + t * LANES, &mut mixed, &mut wires, &mut flags);
            exchange(&network, &mut wires);
            add_squares(&mixed, [&wires[middle.start], &wires[middle.end - 1]], centre, sizes, &mut squares);
        }
        totals.iter_mut().zip(&squares).for_each(|(total, lanes)| total.add(lanes.iter().sum()));
        totals
    });
    let merge = |mut a: Vec<ExactSum>, b: Vec<ExactSum>| {
        a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
        a
    };
    sums.reduce(zero, merge).iter().map(ExactSum::value).collect()
}

simd! {
    /// Adds (s_i ((z_ik − c_k) − (median_k − c_k)))² to the lanes of each row; the median is the midpoint of two keys.
    fn add_squares(mixed: &[[f64; LANES]], [low, high]: [&Wire; 2], centre: &[f32], sizes: &[f32], squares: &mut [[f32; LANES]]) {
        let mut middle = [0.0; LANES];
        for (t, c) in centre.iter().enumerate() {
            middle[t] = 0.5 * (f64::from(value(low[t])) - f64::from(*c)) + 0.5 * (f64::from(value(high[t])) - f64::from(*c));
        }
        for ((mixed, size), squares) in mixed.iter().zip(sizes).zip(squares) {
            for ((square, z), middle) in squares.iter_mut().zip(mixed).zip(&middle).take(centre.len()) {
                let scaled = ((z - middle) * f64::from(*size)) as f32;
                *square += scaled * scaled;
            }
        }
    }
}
