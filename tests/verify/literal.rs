//! What the tests know of the definitions on their own: kept values in exact arithmetic, distances in f64. Shares nothing with
//! the crate.

use std::cmp::Ordering;

/// An exact sum of f32 values: fixed point with unit 2⁻¹⁴⁹, 32 bits a limb.
#[derive(Default, Clone)]
pub struct Exact([i64; 11]);

impl Exact {
    /// Adds a small multiple.
    pub fn add(mut self, sign: i64, x: f32) -> Self {
        assert!(x.is_finite());
        let bits = x.to_bits();
        let (exponent, fraction) = ((bits >> 23) & 0xff, bits & 0x7f_ffff);
        let mantissa = if exponent == 0 { fraction } else { fraction | 0x80_0000 };
        let shift = exponent.max(1) as usize - 1;
        let wide = u64::from(mantissa) << (shift % 32);
        let sign = if x.is_sign_negative() { -sign } else { sign };
        self.0[shift / 32] += sign * (wide & 0xffff_ffff) as i64;
        self.0[shift / 32 + 1] += sign * (wide >> 32) as i64;
        self
    }

    /// Its sign.
    pub fn sign(mut self) -> Ordering {
        for limb in 0..10 {
            let carry = self.0[limb].div_euclid(1 << 32);
            self.0[limb] -= carry << 32;
            self.0[limb + 1] += carry;
        }
        match self.0[10].cmp(&0) {
            Ordering::Equal if self.0[..10].iter().any(|l| *l != 0) => Ordering::Greater,
            other => other,
        }
    }
}

/// Values of one column in total order.
pub fn ordered(mut column: Vec<f32>) -> Vec<f32> {
    column.sort_by(f32::total_cmp);
    column
}

/// The `keep` values nearest the median, ties to the lower value, decided exactly.
pub fn nearest_median(column: Vec<f32>, keep: usize) -> Vec<f32> {
    let mut kept = ordered(column);
    let n = kept.len();
    let (a, b) = (kept[(n - 1) / 2], kept[n / 2]);
    while kept.len() > keep {
        let (low, high) = (kept[0], kept[kept.len() - 1]);
        // c − low > high − c with 2c = a + b.
        let low_is_farther = if !low.is_finite() || !high.is_finite() {
            !low.is_finite()
        } else {
            Exact::default().add(1, a).add(1, b).add(-1, low).add(-1, high).sign() == Ordering::Greater
        };
        if low_is_farther {
            kept.remove(0);
        } else {
            kept.pop();
        }
    }
    kept
}

/// The `keep` values of a column nearest the mean of some ranks, ties to the lower row, decided exactly: |x − c| < |y − c| for x < y
/// exactly when 2 S < m (x + y), with S the sum of the m ranks.
pub fn nearest_by_row(column: &[f32], ranks: std::ops::Range<usize>, keep: usize) -> Vec<f32> {
    let middle = ordered(column.to_vec())[ranks].to_vec();
    let twice = middle.iter().fold(Exact::default(), |sum, v| sum.add(2, *v));
    let m = middle.len() as i64;
    let nearer = |x: f32, y: f32| {
        let sign = twice.clone().add(-m, x).add(-m, y).sign();
        if x < y { sign } else { sign.reverse() }
    };
    let mut rows: Vec<usize> = (0..column.len()).collect();
    rows.sort_by(|&i, &j| {
        let (x, y) = (column[i], column[j]);
        match (x.is_finite(), y.is_finite()) {
            (true, true) if x == y => i.cmp(&j),
            (true, true) => nearer(x, y).then(i.cmp(&j)),
            (a, b) => b.cmp(&a).then(i.cmp(&j)),
        }
    });
    rows[..keep].iter().map(|&i| column[i]).collect()
}

/// The top eigenvalue of the covariance of some rows, by power steps on their inner products.
pub fn top_eigenvalue(rows: &[&[f32]]) -> f64 {
    let (m, d) = (rows.len(), rows[0].len());
    let means: Vec<f64> = (0..d).map(|k| mean(rows.iter().map(|r| f64::from(r[k])))).collect();
    let centred: Vec<Vec<f64>> = rows.iter().map(|r| r.iter().zip(&means).map(|(x, c)| f64::from(*x) - c).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let gram: Vec<Vec<f64>> = centred.iter().map(|a| centred.iter().map(|b| dot(a, b) / m as f64).collect()).collect();
    // From each axis: one of them is not orthogonal to the top vector.
    let from = |i: usize| {
        let mut v: Vec<f64> = (0..m).map(|j| f64::from(i == j)).collect();
        let mut value = 0.0;
        for _ in 0..300 {
            let next: Vec<f64> = gram.iter().map(|row| dot(row, &v)).collect();
            value = dot(&next, &next).sqrt();
            if value == 0.0 {
                break;
            }
            v = next.iter().map(|x| x / value).collect();
        }
        value
    };
    (0..m).map(from).fold(0.0, f64::max)
}

/// Mean in f64; an error far below that of one f32 rounding.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.map(|v| v / count).sum()
}

/// Squared distances between all rows, straight from the differences, in f64.
pub fn distances2(rows: &[&[f32]]) -> Vec<Vec<f64>> {
    let n = rows.len();
    let mut all = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in i + 1..n {
            let d2 = rows[i].iter().zip(rows[j]).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            all[i][j] = d2;
            all[j][i] = d2;
        }
    }
    all
}

/// For each row the sum of its `neighbors` least distances to other rows.
pub fn scores(d2: &[Vec<f64>], neighbors: usize) -> Vec<f64> {
    let score = |i: usize| {
        let mut others: Vec<f64> = (0..d2.len()).filter(|&j| j != i).map(|j| d2[i][j]).collect();
        others.sort_by(f64::total_cmp);
        others[..neighbors].iter().sum()
    };
    (0..d2.len()).map(score).collect()
}

/// The `m` rows of least score, ascending; of equal scores the lower rows.
pub fn least(scores: &[f64], m: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    order.truncate(m);
    order.sort_unstable();
    order
}

/// Largest squared distance among some rows.
pub fn diameter2(d2: &[Vec<f64>], rows: &[usize]) -> f64 {
    rows.iter().flat_map(|&i| rows.iter().map(move |&j| d2[i][j])).fold(0.0, f64::max)
}

/// All subsets of `size` of 0..n.
pub fn subsets(n: usize, size: usize) -> Vec<Vec<usize>> {
    (0u32..1 << n)
        .filter(|mask| mask.count_ones() as usize == size)
        .map(|mask| (0..n).filter(|i| mask >> i & 1 == 1).collect())
        .collect()
}

#[test]
fn exact_sums_are_exact() {
    let sign = |plus: &[f32], minus: &[f32]| {
        let sum = plus.iter().fold(Exact::default(), |s, x| s.add(1, *x));
        minus.iter().fold(sum, |s, x| s.add(-1, *x)).sign()
    };
    assert_eq!(sign(&[1.0, 1e-45], &[1.0]), Ordering::Greater);
    assert_eq!(sign(&[3e38, -1e-45], &[3e38]), Ordering::Less);
    assert_eq!(sign(&[f32::MAX, f32::MAX], &[f32::MAX, f32::MAX]), Ordering::Equal);
    assert_eq!(sign(&[f32::MIN, f32::MIN], &[f32::MAX, f32::MAX]), Ordering::Less);
    assert_eq!(
        sign(&[0.1, -0.3], &[-0.2]),
        0.1f64.total_cmp(&0.1).then_with(|| (f64::from(0.1f32) - f64::from(0.3f32)).total_cmp(&-f64::from(0.2f32)))
    );
    assert_eq!(nearest_median(vec![5.0, 1.0, 3.0], 2), [1.0, 3.0]);
    assert_eq!(nearest_median(vec![1.0, f32::NAN, 3.0, -9.0, 2.0], 3), [1.0, 2.0, 3.0]);
}
