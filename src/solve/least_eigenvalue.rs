//! The `keep` rows whose covariance has the least top eigenvalue (SMEA), exactly.
//!
//! With m = `keep`, the covariance of S is Σ_S (x − μ_S)(x − μ_S)ᵀ / m, and its top eigenvalue λ(S) is the largest variance of
//! the rows along any direction. So any unit vector v is a lower bound, λ(S) ≥ var_S(v), and the least variance along v that
//! a node of the search allows is easy to find: the rows left to choose are consecutive in the order of their positions along v.
//!
//! The search keeps a list of such directions. At a node it takes the subset that the most demanding direction asks for. Either
//! another direction already shows it to be too wide, or its top eigenvector is computed and is a new one, or it is a better
//! subset. The node is then split on the row farthest out along the direction that rules the subset out: dropped, or
//! kept, which makes that direction demand more. The rows kept so far are a lower bound too, for the scatter of a subset exceeds that
//! of its parts; where all rows are as far from each other, few kept rows end the search.
//!
//! Far rows: two rows of S show λ(S) ≥ D_ij / 2m, so rows too far from too many others are left out first, by means of a good
//! subset. Inner products are then taken relative to one of its rows.
//!
//! Cost: a node takes n − m operations a direction, and at most two eigenpairs of m × m matrices. The number of nodes is exponential
//! in the worst case.

use super::diameter::{DiameterSubset, least_diameter};
use super::eigen::{lanczos, mixed, pseudo_random};
use super::fates::{Fate, TIE, first_in_order, lower_twins, twins};
use super::least_variance::first_subset;
use super::principal::{centre_on_mean, principal};
use super::vectors::product;
use crate::gram::Gram;

/// Most directions kept.
const DIRECTIONS: usize = 256;

/// Most kept rows whose own eigenvalue is worth its cost at a node.
const FEW: usize = 32;

/// The rows kept and their eigenvalue.
#[derive(Debug, Clone, PartialEq)]
pub struct EigenSubset {
    /// The rows kept, ascending.
    pub rows: Vec<usize>,
    /// The largest eigenvalue of their covariance (divided by their number); NaN where inner products are not finite.
    pub eigenvalue: f64,
    /// Nodes of the search; for [`greedy_eigenvalue`] the rows taken out.
    pub nodes: u64,
    /// Whether the rows are proven the best, and the first of the best. False where the search was cut short or inner
    /// products are not finite, and for [`greedy_eigenvalue`] unless all rows are kept.
    pub exact: bool,
}

/// Finds the `keep` rows with the least top eigenvalue of their covariance.
///
/// - Ties: among subsets within 1e-12, relatively, of the least, the lexicographically smallest ascending list.
/// - `keep` is taken as at least 1 and at most n.
/// - `most_nodes` bounds the search. What it has then found is no worse than [`greedy_eigenvalue`].
pub fn least_eigenvalue(gram: &Gram, keep: usize, most_nodes: u64) -> EigenSubset {
    let n = gram.n();
    let m = keep.clamp(n.min(1), n);
    let greedy = greedy_eigenvalue(gram, m);
    if m == n || !greedy.eigenvalue.is_finite() {
        return greedy;
    }
    if m == 1 {
        return EigenSubset { rows: vec![0], eigenvalue: 0.0, nodes: 0, exact: true };
    }
    let d2 = gram.distances2();
    let ball = first_subset(&d2, n, m);
    let ball = EigenSubset { eigenvalue: value(gram, &ball), rows: ball, nodes: 0, exact: false };
    let known = if ball.eigenvalue < greedy.eigenvalue { ball } else { greedy };
    if known.eigenvalue <= 0.0 {
        let DiameterSubset { rows, nodes, exact, .. } = least_diameter(&d2, n, m, most_nodes);
        let rows = if exact { rows } else { known.rows };
        return EigenSubset { eigenvalue: value(gram, &rows), rows, nodes, exact };
    }
    let mut known = known;
    let mut nodes = 0;
    loop {
        let rows = possible(gram, m, known.eigenvalue);
        let inner: Vec<usize> = known.rows.iter().filter_map(|i| rows.binary_search(i).ok()).collect();
        if inner.len() < m {
            return EigenSubset { nodes, ..known };
        }
        let mut search = Search::new(gram, &rows, &known, nodes, most_nodes);
        let (best, least) = search.best(inner, known.eigenvalue);
        nodes = search.nodes;
        let outer = |rows_inside: Vec<usize>| rows_inside.into_iter().map(|k| rows[k]).collect::<Vec<usize>>();
        // A much better subset leaves out more rows, and with them their rounding.
        if least < 0.5 * known.eigenvalue && !search.cut_short() {
            known = EigenSubset { rows: outer(best), eigenvalue: least, ..known };
            continue;
        }
        let rows = outer(search.first(best, least));
        return EigenSubset {
            eigenvalue: value(gram, &rows),
            rows,
            nodes: search.nodes,
            exact: search.sure && !search.cut_short(),
        };
    }
}

/// The rows that a subset with an eigenvalue of at most `most` can hold: those with enough others near them.
fn possible(gram: &Gram, m: usize, most: f64) -> Vec<usize> {
    let farthest = 2.0 * m as f64 * most * (1.0 + 1e-9);
    // A distance may be wrong by the rounding of the inner products it comes from.
    let close = |i: usize, j: usize| gram.distance2(i, j) <= farthest + 1e-15 * (gram.at(i, i) + gram.at(j, j));
    let mut rows: Vec<usize> = (0..gram.n()).collect();
    loop {
        let near = |i: usize| rows.iter().filter(|&&j| close(i, j)).count();
        let left: Vec<usize> = rows.iter().copied().filter(|&i| near(i) >= m).collect();
        if left.len() == rows.len() {
            return rows;
        }
        rows = left;
    }
}

/// A heuristic for [`least_eigenvalue`]: takes out, one after another, the row with the largest squared projection on the top
/// eigenvector of the covariance of the rows left.
///
/// - Ties: of projections within 1e-12 of the largest, the lowest row goes.
/// - Cost: one eigenpair for each row taken out.
pub fn greedy_eigenvalue(gram: &Gram, keep: usize) -> EigenSubset {
    let n = gram.n();
    let m = keep.clamp(n.min(1), n);
    let mut rows: Vec<usize> = (0..n).collect();
    loop {
        let top = principal(gram, &rows, &vec![1.0 / rows.len() as f64; rows.len()]);
        if rows.len() <= m {
            let exact = m == n && (top.value.is_finite() || n == 0);
            return EigenSubset { rows, eigenvalue: top.value.max(0.0) + 0.0 * top.value, nodes: (n - m) as u64, exact };
        }
        let largest = top.along.iter().fold(0.0f64, |l, a| l.max(a.abs()));
        let out = top.along.iter().position(|a| a.abs() >= largest * (1.0 - 0.5 * TIE)).unwrap_or(0);
        rows.remove(out);
    }
}

/// λ(S), computed from the rows alone.
fn value(gram: &Gram, rows: &[usize]) -> f64 {
    principal(gram, rows, &vec![1.0 / rows.len() as f64; rows.len()]).value.max(0.0)
}

/// Positions of the rows along a unit vector, the rows in their order, and the sums over all rows.
struct Direction {
    at: Vec<f64>,
    order: Vec<usize>,
    all: Moments,
}

#[derive(Clone)]
struct Node {
    fates: Vec<Fate>,
    dropped: Vec<usize>,
    /// How many more rows are to be dropped.
    left: usize,
}

struct Search {
    n: usize,
    m: usize,
    /// Inner products relative to a row.
    products: Vec<f64>,
    twins: Vec<Option<usize>>,
    /// The one that helped last comes first.
    directions: Vec<Direction>,
    seed: u64,
    /// An eigenvalue that may be rounding.
    negligible: f64,
    /// Whether every eigenvalue that mattered was found to full accuracy.
    sure: bool,
    nodes: u64,
    most_nodes: u64,
}

/// Sums of values, for their variance.
#[derive(Clone, Copy, Default)]
struct Moments(f64, f64);

impl Moments {
    fn add(&mut self, x: f64) {
        self.0 += x;
        self.1 += x * x;
    }
    fn subtract(&mut self, x: f64) {
        self.0 -= x;
        self.1 -= x * x;
    }
    fn variance(self, m: f64) -> f64 {
        (self.1 - self.0 * self.0 / m) / m
    }
}

impl Search {
    /// A search among `rows`, which hold those of `known`, for as many rows.
    fn new(gram: &Gram, rows: &[usize], known: &EigenSubset, nodes: u64, most_nodes: u64) -> Self {
        let (n, m) = (rows.len(), known.rows.len());
        let negligible = 1e-9 * known.eigenvalue;
        // Of the known rows the nearest to the centre of the inner products: equal rows then leave exact zeros.
        let c = known.rows.iter().copied().min_by(|&a, &b| gram.at(a, a).total_cmp(&gram.at(b, b))).unwrap_or(0);
        let to_c = gram.row(c);
        let product_at = |i: usize, j: usize| (gram.at(i, j) - (to_c[i] + to_c[j])) + to_c[c];
        let products: Vec<f64> = rows.iter().flat_map(|&i| rows.iter().map(move |&j| product_at(i, j))).collect();
        let row = |i: usize| &products[i * n..(i + 1) * n];
        let twins = twins(n, |i, j| row(i)[i] == row(i)[j] && row(i) == row(j));
        let seed = (0..n).fold(0, |seed, i| mixed(seed ^ row(i)[i].to_bits()));
        Self { n, m, twins, products, directions: Vec::new(), seed, negligible, sure: true, nodes, most_nodes }
    }

    fn cut_short(&self) -> bool {
        self.nodes > self.most_nodes
    }

    fn root(&self) -> Node {
        Node { fates: vec![Fate::Open; self.n], dropped: Vec::new(), left: self.n - self.m }
    }

    /// A subset of least value and that value; `known` is a good one, with its own.
    fn best(&mut self, known: Vec<usize>, value: f64) -> (Vec<usize>, f64) {
        let mut best = (known, value);
        self.evaluate(&best.0, 0.0);
        let mut limit = value * (1.0 - TIE);
        self.descend(self.root(), &mut limit, &mut |rows, value, limit| {
            best = (rows, value);
            *limit = value * (1.0 - TIE);
            false
        });
        best
    }

    /// The first subset in order of the value of `known`.
    fn first(&mut self, known: Vec<usize>, value: f64) -> Vec<usize> {
        first_in_order(self.n, lower_twins(&known, &self.twins), |fates| {
            let mut node = self.root();
            for u in 0..self.n {
                match fates[u] {
                    Fate::Open => {}
                    fate => self.fix(&mut node, u, fate)?,
                }
            }
            let mut answer = None;
            self.descend(node, &mut (value * (1.0 + TIE)), &mut |rows, _, _| {
                answer = Some(rows);
                true
            });
            answer.map(|rows| lower_twins(&rows, &self.twins))
        })
    }

    /// Gives a row its fate, and with it the higher rows equal to one dropped, the lower rows equal to one kept. `None` if that
    /// cannot be.
    fn fix(&self, node: &mut Node, u: usize, fate: Fate) -> Option<()> {
        if node.fates[u] != Fate::Open {
            return (node.fates[u] == fate).then_some(());
        }
        node.fates[u] = fate;
        if fate == Fate::Dropped {
            node.left = node.left.checked_sub(1)?;
            node.dropped.push(u);
            self.twins[u].map_or(Some(()), |v| self.fix(node, v, fate))
        } else {
            (0..u).filter(|&v| self.twins[v] == Some(u)).try_for_each(|v| self.fix(node, v, fate))
        }
    }

    /// The largest eigenvalue of Σ (x − μ)(x − μ)ᵀ / m over some rows, which for m rows is λ(S). The eigenvector, a rough one
    /// if the value exceeds the limit, joins the directions.
    fn evaluate(&mut self, rows: &[usize], limit: f64) -> f64 {
        let (n, k) = (self.n, rows.len());
        let products = &self.products;
        let scale = 1.0 / self.m as f64;
        let mut inner: Vec<f64> = rows.iter().flat_map(|&i| rows.iter().map(move |&j| products[i * n + j] * scale)).collect();
        centre_on_mean(&mut inner, &vec![1.0 / k as f64; k]);
        let top = lanczos(k, pseudo_random(k, self.seed), self.seed, limit, |x, y| product(&inner, x, y));
        self.sure &= k < self.m || top.converged || top.value > limit;
        // Its entries sum to 0, but for rounding.
        let mean = top.vector.iter().sum::<f64>() / k as f64;
        let mut spread = vec![0.0; n];
        rows.iter().zip(&top.vector).for_each(|(&i, u)| spread[i] = u - mean);
        let mut at = vec![0.0; n];
        product(&self.products, &spread, &mut at);
        let size = at.iter().zip(&spread).map(|(a, u)| a * u).sum::<f64>().sqrt();
        // The eigenvector of rounding is no direction.
        if !(top.value > self.negligible && size > 0.0) {
            return top.value.max(0.0);
        }
        let mean = rows.iter().map(|&i| at[i]).sum::<f64>() / k as f64;
        at.iter_mut().for_each(|a| *a = (*a - mean) / size);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_unstable_by(|&a, &b| at[a].total_cmp(&at[b]));
        let mut all = Moments::default();
        at.iter().for_each(|&x| all.add(x));
        self.directions.truncate(DIRECTIONS - 1);
        self.directions.insert(0, Direction { at, order, all });
        top.value
    }

    /// The least variance along a direction that a node allows: some of the first open rows in its order are dropped and some of
    /// the last. Also how many of the first.
    fn least_along(&self, direction: &Direction, node: &Node, ends: &mut Vec<f64>) -> (f64, usize) {
        let m = self.m as f64;
        let mut moments = direction.all;
        node.dropped.iter().for_each(|&u| moments.subtract(direction.at[u]));
        let open = |u: &&usize| node.fates[**u] == Fate::Open;
        ends.clear();
        ends.extend(direction.order.iter().rev().filter(open).take(node.left).map(|&u| direction.at[u]));
        ends.iter().for_each(|&x| moments.subtract(x));
        let mut best = (moments.variance(m), 0);
        for (k, u) in direction.order.iter().filter(open).take(node.left).enumerate() {
            moments.subtract(direction.at[*u]);
            moments.add(ends[node.left - 1 - k]);
            let variance = moments.variance(m);
            if variance < best.0 {
                best = (variance, k + 1);
            }
        }
        best
    }

    /// Searches below a node for subsets of a value of at most the limit. `found` takes each, may lower the limit and ends the search
    /// by returning true; so does this.
    fn descend(&mut self, node: Node, limit: &mut f64, found: &mut dyn FnMut(Vec<usize>, f64, &mut f64) -> bool) -> bool {
        self.nodes += 1;
        if self.cut_short() {
            return true;
        }
        let open = node.fates.iter().filter(|&&f| f == Fate::Open).count();
        if open < node.left {
            return false;
        }
        // The most demanding direction and the subset it asks for.
        let mut ends = Vec::with_capacity(node.left);
        let mut asked = (f64::NEG_INFINITY, 0, 0);
        for k in 0..self.directions.len() {
            let (bound, first) = self.least_along(&self.directions[k], &node, &mut ends);
            if bound > *limit {
                self.directions[..=k].rotate_right(1);
                return false;
            }
            if bound > asked.0 {
                asked = (bound, k, first);
            }
        }
        let dropped = self.asked_for(&node, asked.1, asked.2);
        let mut ruling = self.rules_out(&dropped, *limit);
        if ruling.is_none() {
            let rows: Vec<usize> = (0..self.n).filter(|u| !dropped.contains(u)).collect();
            let value = self.evaluate(&rows, *limit);
            if value <= *limit && found(rows, value, limit) {
                return true;
            }
            // The direction just found, if any was.
            ruling = Some(0);
        }
        if node.left == 0 || open == node.left {
            return false;
        }
        let at = ruling.and_then(|k| self.directions.get(k)).map(|direction| &direction.at);
        let far = |u: usize| at.map_or(0.0, |at| at[u].abs());
        let choices = (0..self.n).filter(|u| node.fates[*u] == Fate::Open && !dropped.contains(u));
        let Some(u) = choices.max_by(|&a, &b| far(a).total_cmp(&far(b))) else { return false };
        for fate in [Fate::Dropped, Fate::Kept] {
            let mut child = node.clone();
            if self.fix(&mut child, u, fate).is_none() {
                continue;
            }
            // More rows widen a scatter: the rows kept are a lower bound by themselves.
            let kept: Vec<usize> = (0..self.n).filter(|&u| child.fates[u] == Fate::Kept).collect();
            if fate == Fate::Kept && (2..=FEW).contains(&kept.len()) && self.evaluate(&kept, 0.0) > *limit {
                continue;
            }
            if self.descend(child, limit, found) {
                return true;
            }
        }
        false
    }

    /// The rows dropped by the subset that direction k asks for: of the open ones the first few and the last.
    fn asked_for(&self, node: &Node, k: usize, first: usize) -> Vec<usize> {
        let all: Vec<usize> = (0..self.n).collect();
        let order = self.directions.get(k).map_or(&all, |direction| &direction.order);
        let open = |u: &usize| node.fates[*u] == Fate::Open;
        let mut dropped = node.dropped.clone();
        dropped.extend(order.iter().copied().filter(open).take(first));
        dropped.extend(order.iter().copied().rev().filter(open).take(node.left - first));
        dropped
    }

    /// The direction along which the rows left vary most, if by more than the limit.
    fn rules_out(&self, dropped: &[usize], limit: f64) -> Option<usize> {
        let variance = |direction: &Direction| {
            let mut moments = direction.all;
            dropped.iter().for_each(|&u| moments.subtract(direction.at[u]));
            moments.variance(self.m as f64)
        };
        let variances = self.directions.iter().map(variance).enumerate();
        variances.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|widest| widest.1 > limit).map(|widest| widest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FAMILIES, SplitMix64, family, first_of_least, gram, jacobi};
    use super::*;

    /// By the definition, from the rows: the largest eigenvalue of Σ (x − mean)(x − mean)ᵀ / m, in the smaller of the two spaces.
    fn literal(rows: &[Vec<f64>], of: &[usize]) -> f64 {
        let (m, d) = (of.len(), rows[0].len());
        let mean: Vec<f64> = (0..d).map(|k| of.iter().map(|&i| rows[i][k] / m as f64).sum()).collect();
        let z: Vec<Vec<f64>> = of.iter().map(|&i| rows[i].iter().zip(&mean).map(|(x, y)| x - y).collect()).collect();
        let entry = |a: usize, b: usize| -> f64 {
            if d < m { z.iter().map(|z| z[a] * z[b]).sum() } else { z[a].iter().zip(&z[b]).map(|(x, y)| x * y).sum() }
        };
        let size = d.min(m);
        let matrix: Vec<f64> = (0..size * size).map(|k| entry(k / size, k % size) / m as f64).collect();
        let value = jacobi(&matrix, size)[size - 1];
        // Equal rows leave the rounding of their mean.
        if value < 1e-25 { 0.0 } else { value }
    }

    fn check(rows: &[Vec<f64>], keep: usize) {
        let n = rows.len();
        let found = least_eigenvalue(&gram(rows), keep, 1_000_000);
        let (first, least) = first_of_least(n, keep, |s| literal(rows, s));
        assert!(found.exact && (found.eigenvalue - least).abs() <= 1e-11 * least + 1e-28, "{} for {least}", found.eigenvalue);
        assert_eq!(found.rows, first);
        let greedy = greedy_eigenvalue(&gram(rows), keep);
        assert!(greedy.rows.len() == keep && greedy.eigenvalue >= least * (1.0 - 1e-11));
        assert!((greedy.eigenvalue - literal(rows, &greedy.rows)).abs() <= 1e-11 * greedy.eigenvalue + 1e-28);
    }

    #[test]
    fn agrees_with_enumeration() {
        for (k, name) in FAMILIES.into_iter().enumerate() {
            for (n, f) in [(1, 0), (2, 1), (3, 1), (5, 2), (8, 3), (9, 4), (11, 5)] {
                for d in [1, 3, 40] {
                    check(&family(name, 10 * n as u64 + k as u64, n, f, d), n - f);
                }
            }
        }
    }

    /// Many rows of nearly equal eigenvalues: the hard case for directions and for the eigenvalue itself.
    #[test]
    fn agrees_with_enumeration_in_many_dimensions() {
        for (seed, (n, f)) in [(14, 5), (16, 3), (22, 2), (26, 2)].into_iter().enumerate() {
            for name in ["iid", "foe", "clusters", "simplex"] {
                check(&family(name, seed as u64, n, f, 200), n - f);
            }
        }
    }

    #[test]
    fn ties_and_duplicates() {
        // Four corners of a square and its centre, twice: keeping all but one corner of either kind is the same.
        let corners = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]];
        let rows: Vec<Vec<f64>> = corners.iter().chain(&corners).map(|x| x.to_vec()).collect();
        for keep in 1..=10 {
            check(&rows, keep);
        }
        let found = least_eigenvalue(&gram(&vec![vec![0.3, 0.1]; 30]), 17, 10);
        assert!(found.exact && found.rows == (0..17).collect::<Vec<_>>() && found.eigenvalue == 0.0);
        // All rows as far from each other: every subset is the best.
        let found = least_eigenvalue(&gram(&family("simplex", 0, 40, 0, 0)), 25, 10_000);
        assert!(found.exact && found.rows == (0..25).collect::<Vec<_>>(), "{found:?}");
    }

    #[test]
    fn far_rows() {
        for far in [1e7, 1e15, 1e30, 1e70] {
            let mut rows = family("iid", 6, 13, 3, 4);
            let expected = least_eigenvalue(&gram(&rows), 9, 100_000);
            let dropped: Vec<usize> = (0..13).filter(|i| !expected.rows.contains(i)).collect();
            for (k, &i) in dropped.iter().enumerate() {
                rows[i] = [vec![far; 4], vec![-far; 4], vec![far, 0.0, 0.0, -far], vec![far; 4]][k].clone();
            }
            let found = least_eigenvalue(&gram(&rows), 9, 100_000);
            assert!(found.exact && found.rows == expected.rows, "{far}");
            assert!((found.eigenvalue - expected.eigenvalue).abs() <= 1e-11 * expected.eigenvalue);
            assert_eq!(greedy_eigenvalue(&gram(&rows), 9).rows, expected.rows);
            // More far rows than are dropped.
            let found = least_eigenvalue(&gram(&rows), 11, 100_000);
            assert!(found.exact && found.eigenvalue > 0.01 * far * far / 11.0, "{found:?}");
        }
    }

    /// Two rows near each other and far from the centre: their distance has lost digits.
    #[test]
    fn rows_far_from_the_centre() {
        let x = [24.7711, 0.0, -4.2345, 24.7687];
        let rows: Vec<Vec<f64>> = x.map(|x| vec![x]).to_vec();
        let found = least_eigenvalue(&gram(&rows), 2, 1000);
        assert!(found.exact && found.rows == [0, 3], "{found:?}");
        for k in 0..100 {
            let rows: Vec<Vec<f64>> = x.map(|x| vec![x + 0.01 * f64::from(k), f64::from(k)]).to_vec();
            let found = least_eigenvalue(&gram(&rows), 2, 1000);
            assert!(found.exact && found.rows == [0, 3], "{found:?}");
        }
    }

    #[test]
    fn cut_short_and_hostile() {
        let hard = gram(&family("iid", 7, 24, 8, 500));
        let (full, cut) = (least_eigenvalue(&hard, 20, 100_000), least_eigenvalue(&hard, 20, 5));
        let greedy = greedy_eigenvalue(&hard, 20);
        assert!(full.exact && !cut.exact && cut.rows.len() == 20 && full.nodes > 5);
        assert!(full.eigenvalue <= cut.eigenvalue && cut.eigenvalue <= greedy.eigenvalue);
        for bad in [f64::NAN, f64::INFINITY, 1.7e308] {
            let mut values = vec![1.0; 49];
            (0..7).for_each(|i| values[8 * i] = 2.0 + i as f64);
            values[24] = bad;
            let found = least_eigenvalue(&Gram::new(7, values).unwrap(), 5, 1000);
            assert!(found.rows.len() == 5 && (bad.is_finite() || !found.exact), "{found:?}");
            let found = least_eigenvalue(&Gram::new(7, vec![bad; 49]).unwrap(), 5, 1000);
            assert_eq!(found.rows.len(), 5);
        }
        // No rows have these inner products.
        let r = &mut SplitMix64(1);
        for n in 2..12 {
            let mut values = vec![0.0; n * n];
            for k in 0..n * n {
                let value = [r.normal(), 1e30 * r.normal(), 0.0][r.below(3)];
                (values[k], values[k % n * n + k / n]) = (value, value);
            }
            assert_eq!(least_eigenvalue(&Gram::new(n, values).unwrap(), n / 2 + 1, 1000).rows.len(), n / 2 + 1);
        }
        let none = Gram::new(0, vec![]).unwrap();
        assert!(least_eigenvalue(&none, 3, 10).rows.is_empty() && greedy_eigenvalue(&none, 3).rows.is_empty());
        let one = gram(&[vec![1.0]]);
        assert_eq!((least_eigenvalue(&one, 0, 10).rows, least_eigenvalue(&one, 5, 10).rows), (vec![0], vec![0]));
    }

    /// Beyond enumeration: another numbering of the rows finds the same value.
    #[test]
    fn many_rows_in_any_order() {
        for name in ["iid", "alie", "foe", "clusters"] {
            let (n, f) = (60, 2);
            let rows = family(name, 11, n, f, 30);
            let reversed: Vec<Vec<f64>> = rows.iter().rev().cloned().collect();
            let a = least_eigenvalue(&gram(&rows), n - f, 100_000);
            let b = least_eigenvalue(&gram(&reversed), n - f, 100_000);
            assert!(a.exact && b.exact && (a.eigenvalue - b.eigenvalue).abs() <= 1e-11 * a.eigenvalue, "{name}");
        }
    }
}
