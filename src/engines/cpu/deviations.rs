//! Squared distances of mixed rows to their coordinate-wise median, in the one read that forms both.

use super::BLOCK;
use super::coordinate::{LANES, Order, Wire};
use super::mixed::{self, MixedRows, store, store_rounded};
use crate::dtype::Values;
use crate::engines::exact_sum::ExactSum;
use crate::engines::keys::value;
use crate::engines::network::Network;
use crate::geometry::Mixing;
use fearless_simd::{Level, Simd, dispatch};
use rayon::prelude::*;

/// For each mixed row z_i = Σ_j W_ij x_j the sum over all d columns of (s_i (z_ik − median_k))². The rows are finite.
pub(crate) fn deviations(level: Level, rows: &[Values<'_>], mixing: &Mixing, d: usize, sizes: &[f32]) -> Vec<ExactSum> {
    let m = mixing.rows();
    let middle = [(m - 1) / 2, m / 2];
    let order = Order::new(level, Network::of_ranks(middle[0]..middle[1] + 1, m));
    let pass = Pass { mixed: MixedRows::new(mixing), order, middle, sizes };
    let zero = || vec![ExactSum::default(); m];
    let blocks = (0..d.div_ceil(BLOCK)).into_par_iter();
    let sums = blocks.fold(zero, |mut totals, block| {
        let mut squares = vec![[0.0; LANES]; m];
        let mut room = mixed::Room::default();
        let mut sums = vec![[0.0; LANES]; m];
        for at in (block * BLOCK..d.min((block + 1) * BLOCK)).step_by(LANES) {
            // Beyond the last column rows are zero, and so are their squares.
            let tile = |row: Values<'_>| {
                let (mut tile, width) = ([0.0; LANES], LANES.min(d - at));
                row.slice(at..at + width).copy_to(&mut tile[..width]);
                tile
            };
            let rows: Vec<[f32; LANES]> = rows.iter().map(|row| tile(*row)).collect();
            dispatch!(level, simd => pass.tile(simd, &rows, &mut room, &mut sums, &mut squares));
        }
        totals.iter_mut().zip(&squares).for_each(|(total, lanes)| total.add(lanes.iter().sum()));
        totals
    });
    let merge = |mut a: Vec<ExactSum>, b: Vec<ExactSum>| {
        a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
        a
    };
    sums.reduce(zero, merge)
}

struct Pass<'a> {
    mixed: MixedRows,
    order: Order,
    /// The ranks whose midpoint is the median.
    middle: [usize; 2],
    sizes: &'a [f32],
}

impl Pass<'_> {
    /// Adds (s_i (z_ik − median_k))² to the lanes of each mixed row.
    #[inline(always)]
    fn tile<S: Simd>(
        &self,
        simd: S,
        rows: &[[f32; LANES]],
        room: &mut mixed::Room,
        sums: &mut [[f64; LANES]],
        squares: &mut [[f32; LANES]],
    ) {
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let mut values = vec![[0.0; LANES]; sums.len()];
        self.mixed.tile(
            simd,
            &rows,
            0,
            room,
            || (),
            #[inline(always)]
            |i, at, z| {
                store(z, &mut sums[i][at..]);
                store_rounded::<S>(z, &mut values[i][at..]);
            },
        );
        let values: Vec<&[f32]> = values.iter().map(|values| &values[..]).collect();
        let mut wires = vec![Wire::of(0); values.len()];
        self.order.load(simd, &values, &mut wires, 0);
        self.order.merge(simd, &mut wires);
        let [low, high] = self.middle.map(|rank| &wires[rank]);
        let middle: [f64; LANES] = std::array::from_fn(|t| 0.5 * f64::from(value(low[t])) + 0.5 * f64::from(value(high[t])));
        for ((sum, size), squares) in sums.iter().zip(self.sizes).zip(squares) {
            for ((square, z), middle) in squares.iter_mut().zip(sum.iter()).zip(&middle) {
                let scaled = ((z - middle) * f64::from(*size)) as f32;
                *square += scaled * scaled;
            }
        }
    }
}
