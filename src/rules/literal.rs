//! The few words the literal f64 references are written in. Slow on purpose; used by nothing else.

/// Mean of some of the rows.
pub(crate) fn mean(rows: &[Vec<f64>], of: &[usize]) -> Vec<f64> {
    let m = of.len() as f64;
    (0..rows[0].len()).map(|k| of.iter().map(|&i| rows[i][k] / m).sum()).collect()
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

/// Median of ordered values; for an even number the midpoint of the two middle ones.
pub(crate) fn median(ordered: &[f64]) -> f64 {
    let n = ordered.len();
    if n % 2 == 1 { ordered[n / 2] } else { 0.5 * (ordered[n / 2 - 1] + ordered[n / 2]) }
}

/// Krum's scores from the rows themselves.
pub(crate) fn krum_scores(rows: &[Vec<f64>], neighbors: usize) -> Vec<f64> {
    rows.iter()
        .enumerate()
        .map(|(i, x)| {
            let mut d: Vec<f64> = rows.iter().enumerate().filter(|&(j, _)| j != i).map(|(_, y)| distance2(x, y)).collect();
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
