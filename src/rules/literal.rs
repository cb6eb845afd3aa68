//! The few words the literal f64 references are written in. Slow on purpose; used by nothing else.

/// Mean of some of the rows.
pub(crate) fn mean(rows: &[Vec<f64>], of: &[usize]) -> Vec<f64> {
    let m = of.len() as f64;
    (0..rows[0].len()).map(|k| of.iter().map(|&i| rows[i][k] / m).sum()).collect()
}

/// Mean with weights.
pub(crate) fn weighted_mean(rows: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    (0..rows[0].len()).map(|k| rows.iter().zip(weights).map(|(r, w)| r[k] * (w / total)).sum()).collect()
}

/// ⟨a, b⟩.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// ‖a‖.
pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Σ_k (a_k − b_k)².
pub(crate) fn distance2(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// Applies a function of the ordered values of one coordinate to every coordinate. The order is IEEE 754's total order.
pub(crate) fn per_coordinate(rows: &[Vec<f64>], stat: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    (0..rows[0].len())
        .map(|k| {
            let mut column: Vec<f64> = rows.iter().map(|r| r[k]).collect();
            column.sort_by(f64::total_cmp);
            stat(&column)
        })
        .collect()
}

/// [`per_coordinate`] with the weight of its row beside each value; equal values have the order of their rows.
pub(crate) fn per_coordinate_with(rows: &[Vec<f64>], weights: &[f64], stat: impl Fn(&[(f64, f64)]) -> f64) -> Vec<f64> {
    (0..rows[0].len())
        .map(|k| {
            let mut column: Vec<(f64, f64)> = rows.iter().zip(weights).map(|(r, w)| (r[k], *w)).collect();
            column.sort_by(|a, b| a.0.total_cmp(&b.0));
            stat(&column)
        })
        .collect()
}

/// Mean of the `keep` values of a column that are nearest a centre; of equally near ones those of the lower rows. A value that is not finite
/// is farther than any other. `twice` is a list whose exact sum is m times twice the centre.
pub(crate) fn nearest(column: &[f64], m: usize, twice: &[f64], keep: usize) -> f64 {
    let mut twice = expansion(twice);
    twice.retain(|term| *term != 0.0);
    // A product and what its rounding left over.
    let times = |x: f64| {
        let product = m as f64 * x;
        [product, (m as f64).mul_add(x, -product)]
    };
    // |x − c| > |y − c| for x < y exactly when m (x + y) < 2 m c.
    let farther = |x: f64, y: f64| {
        let terms = [&twice[..], &times(-x), &times(-y)].concat();
        exact_sign(&terms) * if x < y { 1 } else { -1 }
    };
    let order = |&i: &usize, &j: &usize| {
        let (x, y) = (column[i], column[j]);
        match (x.is_finite(), y.is_finite()) {
            (true, true) if x == y => i.cmp(&j),
            (true, true) => farther(x, y).cmp(&0).then(i.cmp(&j)),
            (a, b) => b.cmp(&a).then(i.cmp(&j)),
        }
    };
    let mut rows: Vec<usize> = (0..column.len()).collect();
    rows.sort_by(order);
    rows[..keep].iter().map(|&i| column[i] / keep as f64).sum()
}

/// Sign of the exact sum of a few numbers: of the [`expansion`]'s last one that is not 0, the largest.
pub(crate) fn exact_sign(terms: &[f64]) -> i32 {
    match expansion(terms).iter().rev().find(|t| **t != 0.0) {
        None => 0,
        Some(t) if *t > 0.0 => 1,
        Some(_) => -1,
    }
}

/// Numbers of the same exact sum that do not overlap, in order of size but for zeros: repeatedly replaces two of them by their sum and
/// its rounding error until nothing changes.
fn expansion(terms: &[f64]) -> Vec<f64> {
    let mut terms = terms.to_vec();
    loop {
        let before = terms.clone();
        for i in 1..terms.len() {
            let (x, y) = (terms[i - 1], terms[i]);
            let sum = x + y;
            let back = sum - x;
            terms[i - 1] = (x - (sum - back)) + (y - back);
            terms[i] = sum;
        }
        // By their bits, so that NaN is no change.
        if terms.iter().zip(&before).all(|(after, before)| after.to_bits() == before.to_bits()) {
            return terms;
        }
    }
}

/// Mean of what is left of ordered values without the f least and the f greatest.
pub(crate) fn trimmed_mean(ordered: &[f64], f: usize) -> f64 {
    let kept = &ordered[f..ordered.len() - f];
    kept.iter().map(|v| v / kept.len() as f64).sum()
}

/// Median of ordered values; for an even number the midpoint of the two middle ones.
pub(crate) fn median(ordered: &[f64]) -> f64 {
    let n = ordered.len();
    if n % 2 == 1 { ordered[n / 2] } else { 0.5 * (ordered[n / 2 - 1] + ordered[n / 2]) }
}

/// Krum's scores from the rows themselves: sums of distances to this power.
pub(crate) fn krum_scores(rows: &[Vec<f64>], neighbors: usize, power: i32) -> Vec<f64> {
    rows.iter()
        .enumerate()
        .map(|(i, x)| {
            let mut d: Vec<f64> =
                rows.iter().enumerate().filter(|&(j, _)| j != i).map(|(_, y)| distance2(x, y).sqrt().powi(power)).collect();
            d.sort_by(f64::total_cmp);
            d[..neighbors].iter().sum()
        })
        .collect()
}

/// The `m` indices of least value, of equal values the lowest indices; ascending.
pub(crate) fn least(values: &[f64], m: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
    order.truncate(m);
    order.sort_unstable();
    order
}

/// The first subset of `keep` of n rows, in lexicographic order, whose value is least to a relative 1e-12.
pub(crate) fn least_subset(n: usize, keep: usize, value: impl Fn(&[usize]) -> f64) -> Vec<usize> {
    let mut all = vec![(0..keep).collect::<Vec<usize>>()];
    // The next combination: the last index that can grow grows, those behind it follow.
    while let Some(at) = (0..keep).rev().find(|&at| all[all.len() - 1][at] < n - keep + at) {
        let mut next = all[all.len() - 1].clone();
        next[at] += 1;
        (at + 1..keep).for_each(|i| next[i] = next[i - 1] + 1);
        all.push(next);
    }
    let values: Vec<f64> = all.iter().map(|subset| value(subset)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let first = values.iter().position(|v| *v <= least * (1.0 + 1e-12)).unwrap_or(0);
    all.swap_remove(first)
}

/// Top eigenpair of Σ_i s_i x_i x_iᵀ: by Jacobi's rotations of the inner products √s_i √s_j ⟨x_i, x_j⟩, which have the same
/// eigenvalues.
pub(crate) fn top_eigenpair(rows: &[Vec<f64>], shares: &[f64]) -> (f64, Vec<f64>) {
    let n = rows.len();
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| (shares[i] * shares[j]).sqrt() * dot(&rows[i], &rows[j])).collect()).collect();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect();
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].abs()).fold(0.0, f64::max);
        let top = (0..n).map(|i| a[i][i]).fold(0.0, f64::max);
        if off <= 1e-17 * top {
            break;
        }
        for (p, q) in (0..n).flat_map(|q| (0..q).map(move |p| (p, q))) {
            if a[p][q] == 0.0 {
                continue;
            }
            let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
            let (c, s) = (1.0 / t.hypot(1.0), t / t.hypot(1.0));
            for row in a.iter_mut().chain(&mut vectors) {
                (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
            }
            for k in 0..n {
                (a[p][k], a[q][k]) = (c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]);
            }
            // What rounding leaves there would be rotated for ever.
            (a[p][q], a[q][p]) = (0.0, 0.0);
        }
    }
    let top = (0..n).max_by(|&i, &j| a[i][i].total_cmp(&a[j][j])).unwrap_or(0);
    let mut vector = vec![0.0; rows[0].len()];
    for i in 0..n {
        let weight = shares[i].sqrt() * vectors[i][top];
        vector.iter_mut().zip(&rows[i]).for_each(|(v, x)| *v += weight * x);
    }
    let length = norm(&vector);
    if a[top][top] <= 0.0 || length == 0.0 {
        return (0.0, vec![0.0; vector.len()]);
    }
    vector.iter_mut().for_each(|v| *v /= length);
    (a[top][top], vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_sign_sees_below_the_last_bit() {
        assert_eq!(exact_sign(&[1.0, 1e-40, -1.0, 0.0]), 1);
        assert_eq!(exact_sign(&[1e30, -1e-40, -1e30, 0.0]), -1);
        assert_eq!(exact_sign(&[0.5, 0.25, -0.75, 0.0]), 0);
        assert_eq!(exact_sign(&[f64::INFINITY, 1.0, -2.0, f64::NEG_INFINITY]), -1, "an end, if no sign");
    }

    #[test]
    fn subsets_come_in_order() {
        assert_eq!(least_subset(4, 2, |s| f64::from(u8::from(s[0] == 0))), [1, 2]);
        assert_eq!(least_subset(4, 2, |_| 1.0), [0, 1]);
        assert_eq!(least_subset(4, 2, |s| 9.0 - (s[0] + s[1]) as f64), [2, 3]);
        assert_eq!(least_subset(1, 1, |_| f64::NAN), [0]);
    }

    #[test]
    fn eigenpairs_of_known_matrices() {
        let (value, vector) = top_eigenpair(&[vec![3.0, 0.0], vec![0.0, 1.0]], &[1.0, 1.0]);
        assert!((value - 9.0).abs() < 1e-12 && (vector[0].abs() - 1.0).abs() < 1e-12);
        let (value, vector) = top_eigenpair(&[vec![1.0, 1.0], vec![2.0, 2.0], vec![1.0, -1.0]], &[0.5, 0.5, 1.0]);
        assert!((value - 5.0).abs() < 1e-12 && (vector[0] - vector[1]).abs() < 1e-12);
        assert_eq!(top_eigenpair(&[vec![0.0, 0.0]], &[1.0]).0, 0.0);
    }

    /// 3x is rounded in f64, and the rounding decides.
    #[test]
    fn nearest_multiplies_exactly() {
        let x = 1.0 + f64::EPSILON;
        for (below, nearer) in [(f64::EPSILON, x), (-f64::EPSILON, -1.0), (0.0, x)] {
            // Six times the centre: 3 (x − 1), and a little more or less.
            let twice = [x, x, x, -3.0, below / 2.0];
            assert_eq!(nearest(&[x, -1.0], 3, &twice, 1), nearer, "{below:e}");
        }
    }

    #[test]
    fn nearest_breaks_ties_by_rows() {
        // Centre 3: 1 and 5 are equally near.
        assert_eq!(nearest(&[5.0, 3.0, 1.0], 1, &[3.0, 3.0], 2), 4.0);
        assert_eq!(nearest(&[1.0, 3.0, 5.0], 1, &[3.0, 3.0], 2), 2.0);
        assert_eq!(nearest(&[f64::NAN, 3.0, 5.0, f64::INFINITY], 1, &[3.0, 3.0], 2), 4.0);
    }
}
