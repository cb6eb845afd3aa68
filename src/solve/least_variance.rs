//! The `keep` rows of least variance, exactly (minimum variance averaging, MVA).
//!
//! With m = `keep`, the sum of the squared distances of m rows to their mean is V(S)/m, V(S) = Σ_{i<j∈S} D_ij. In terms of the rows
//! *dropped* from all rows N, R = N∖S, and with r_u = Σ_v D_uv,
//!
//! ```text
//! V(S) = V(N) − Σ_{u∈R} r_u + Σ_{u<v∈R} D_uv
//! ```
//!
//! Splitting each D_uv = e_uv + e_vu between its two rows, any choice of q rows to drop costs each of them no less than
//! b_u = −r_u + (the q − 1 least e_uv), and so in total no less than the q least b_u: a lower bound. The best split is approached by
//! subgradient steps (the bound is a concave function of it), at first on all rows, then a few at each node of the search. Rows
//! whose other fate would raise the bound above the best value known are fixed without branching.
//!
//! Far rows: those that no subset as good as a first one (balls, improved by exchanges) can hold are left out before any sum is
//! formed, and other distances are cut off at twice its value, so nothing large is ever subtracted. The value of a subset is
//! always summed afresh.
//!
//! Cost: a node takes n² operations a step. The number of nodes is exponential in the worst case.

use super::diameter::least_diameter;
use super::fates::{Fate, TIE, first_in_order, lower_twins, twins};

/// Subgradient steps on all rows before the search, and at each of its nodes.
const FIRST_STEPS: usize = 300;
const STEPS: usize = 4;

/// The rows kept and their variance.
#[derive(Debug, Clone, PartialEq)]
pub struct VarianceSubset {
    /// The rows kept, ascending.
    pub rows: Vec<usize>,
    /// The sum of their squared distances to their mean.
    pub variance: f64,
    /// Nodes of the search.
    pub nodes: u64,
    /// Whether the rows are proven the best, and the first of the best. False where the search was cut short or no subset
    /// was found to have a finite variance; the rows are then the best found.
    pub exact: bool,
}

/// Finds the `keep` of n rows with the least sum of squared distances to their mean.
///
/// - Ties: among subsets within 1e-12, relatively, of the least, the lexicographically smallest ascending list.
/// - `distances2` is n × n, row by row, symmetric, each entry at least 0; +∞ is a distance no subset wants, NaN likewise.
/// - `keep` is taken as at least 1 and at most n.
/// - `most_nodes` bounds the search.
///
/// # Panics
///
/// If `distances2` has fewer than n² entries.
pub fn least_variance(distances2: &[f64], n: usize, keep: usize, most_nodes: u64) -> VarianceSubset {
    if n == 0 {
        return VarianceSubset { rows: Vec::new(), variance: 0.0, nodes: 0, exact: true };
    }
    let m = keep.clamp(1, n);
    let finish = |rows: Vec<usize>, nodes, exact| {
        let variance = pair_sum(distances2, n, &rows) / m as f64;
        VarianceSubset { rows, variance, nodes, exact }
    };
    if m == n || m == 1 {
        return finish((0..m).collect(), 0, true);
    }
    let mut known = first_subset(distances2, n, m);
    let mut value = pair_sum(distances2, n, &known);
    if !value.is_finite() || value == 0.0 {
        // If any subset avoids the infinite distances, or has no others than 0, the one of least diameter does.
        let numbers: Vec<f64> = distances2.iter().map(|d| if d.is_nan() { f64::INFINITY } else { *d }).collect();
        let least = least_diameter(&numbers, n, m, most_nodes);
        if value == 0.0 {
            return finish(if least.exact { least.rows } else { known }, least.nodes, least.exact);
        }
        known = least.rows;
        value = pair_sum(distances2, n, &known);
        if !value.is_finite() {
            return finish(known, least.nodes, false);
        }
    }
    // The m − 1 least distances of a row of S sum to V(S) at most.
    let possible = |&i: &usize| {
        let mut row: Vec<f64> = (0..n).filter(|&j| j != i).map(|j| distances2[i * n + j]).collect();
        row.select_nth_unstable_by(m - 2, f64::total_cmp);
        row[..m - 1].iter().sum::<f64>() <= value * (1.0 + 1e-9)
    };
    let rows: Vec<usize> = (0..n).filter(possible).collect();
    let inner = |i: usize| rows.binary_search(&i).unwrap_or(0);
    let mut search = Search::new(distances2, n, &rows, m, most_nodes, 2.0 * value);
    let known = search.best(known.iter().map(|&i| inner(i)).collect());
    let first = search.first(known);
    finish(first.iter().map(|&k| rows[k]).collect(), search.nodes, !search.cut_short())
}

/// Σ_{i<j} D_ij over some rows; each row's part is summed by itself.
fn pair_sum(d: &[f64], n: usize, rows: &[usize]) -> f64 {
    rows.iter().enumerate().map(|(k, &i)| rows[k + 1..].iter().map(|&j| d[i * n + j]).sum::<f64>()).sum()
}

/// A good subset: from balls around several rows, the best after exchanges.
pub(super) fn first_subset(d: &[f64], n: usize, m: usize) -> Vec<usize> {
    const STARTS: usize = 16;
    let mut balls: Vec<(f64, Vec<usize>)> = (0..n)
        .map(|i| {
            let rows = least(&d[i * n..(i + 1) * n], m);
            (rows.iter().map(|&j| d[i * n + j]).sum(), rows)
        })
        .collect();
    balls.sort_by(|a, b| a.0.total_cmp(&b.0));
    balls.truncate(STARTS);
    let improved = balls.into_iter().map(|(_, rows)| improve(d, n, rows));
    improved.min_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(|| (0..m).collect(), |best| best.1)
}

/// The m indices of least value, ascending; of equal values the lowest.
fn least(values: &[f64], m: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if m < order.len() {
        order.select_nth_unstable_by(m, |&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
        order.truncate(m);
    }
    order.sort_unstable();
    order
}

/// Lowers V(S), returned with S: first to the m rows nearest the mean, as long as that helps, then by the best exchange of
/// one row.
fn improve(d: &[f64], n: usize, mut rows: Vec<usize>) -> (f64, Vec<usize>) {
    let mut value = pair_sum(d, n, &rows);
    loop {
        // ‖x_i − mean‖² is this over m, less a constant.
        let to_rows: Vec<f64> = (0..n).map(|i| rows.iter().map(|&j| d[i * n + j]).sum()).collect();
        let mut next = least(&to_rows, rows.len());
        let mut lower = pair_sum(d, n, &next);
        if lower >= value || lower.is_nan() {
            let inside = |i: usize| rows.binary_search(&i).is_ok();
            let gain = |out: usize, new: usize| to_rows[out] - (to_rows[new] - d[out * n + new]);
            let news: Vec<usize> = (0..n).filter(|&i| !inside(i)).collect();
            let swaps = rows.iter().flat_map(|&out| news.iter().map(move |&new| (out, new)));
            let Some((out, new)) = swaps.max_by(|&a, &b| gain(a.0, a.1).total_cmp(&gain(b.0, b.1))) else { break };
            next = rows.iter().copied().filter(|&i| i != out).chain([new]).collect();
            next.sort_unstable();
            lower = pair_sum(d, n, &next);
        }
        // A little less than equal: rounding must not go round in circles.
        if lower < value * (1.0 - 1e-14) || (value.is_nan() && !lower.is_nan()) {
            (value, rows) = (lower, next);
        } else {
            break;
        }
    }
    (value, rows)
}

/// A node: fates of the rows, and the costs that follow from those dropped.
#[derive(Clone)]
struct Node {
    fates: Vec<Fate>,
    /// V of the rows not dropped.
    value: f64,
    /// −Σ_v D_uv over the rows not dropped.
    linear: Vec<f64>,
    /// How many more rows are to be dropped.
    left: usize,
}

/// What became of a node.
enum Bound {
    Pruned,
    Leaf,
    /// The row to branch on, and the fate it is to have first.
    Branch(usize, Fate),
}

struct Search {
    n: usize,
    d: Vec<f64>,
    twins: Vec<Option<usize>>,
    /// e_uv.
    split: Vec<f64>,
    root: Node,
    nodes: u64,
    most_nodes: u64,
}

impl Search {
    fn new(distances2: &[f64], of: usize, rows: &[usize], keep: usize, most_nodes: u64, most: f64) -> Self {
        let n = rows.len();
        let d: Vec<f64> =
            (0..n * n).map(|k| if k % (n + 1) == 0 { 0.0 } else { distances2[rows[k / n] * of + rows[k % n]].min(most) }).collect();
        let row = |i: usize| &d[i * n..(i + 1) * n];
        let sums: Vec<f64> = (0..n).map(|i| row(i).iter().sum()).collect();
        let all: f64 = sums.iter().sum::<f64>() / 2.0;
        // D ≈ p_u + p_v in least squares; the row with the larger p carries more of a distance.
        let p: Vec<f64> = sums.iter().map(|r| (r - all / (n - 1) as f64) / (n as f64 - 2.0).max(1.0)).collect();
        let split = (0..n * n).map(|k| 0.5 * (d[k] + p[k / n] - p[k % n])).collect();
        let equal = |i: usize, j: usize| d[i * n + j] == 0.0 && (0..n).all(|k| k == i || k == j || d[i * n + k] == d[j * n + k]);
        let twins = twins(n, equal);
        let root = Node { fates: vec![Fate::Open; n], value: all, linear: sums.iter().map(|r| -r).collect(), left: n - keep };
        Self { n, twins, split, root, nodes: 0, most_nodes, d }
    }

    fn cut_short(&self) -> bool {
        self.nodes > self.most_nodes
    }

    /// A subset of least value; `known` is a good one.
    fn best(&mut self, known: Vec<usize>) -> Vec<usize> {
        let mut known = lower_twins(&known, &self.twins);
        let mut node = self.root.clone();
        if self.root.left > 0 {
            self.ascend(&mut node, &mut known);
            self.root = node.clone();
            let mut limit = pair_sum(&self.d, self.n, &known) * (1.0 - TIE);
            self.descend(node, &mut limit, &mut |found, value, limit| {
                known = found;
                *limit = value * (1.0 - TIE);
                false
            });
        }
        known
    }

    /// The first subset in order of the value of `known`.
    fn first(&mut self, known: Vec<usize>) -> Vec<usize> {
        let limit = pair_sum(&self.d, self.n, &known) * (1.0 + TIE);
        first_in_order(self.n, known, |fates| {
            let mut node = Node { fates: vec![Fate::Open; self.n], ..self.whole() };
            for u in 0..self.n {
                match fates[u] {
                    Fate::Open => {}
                    Fate::Kept => self.keep(&mut node, u)?,
                    Fate::Dropped => self.drop_row(&mut node, u)?,
                }
            }
            let mut answer = None;
            let mut limit = limit;
            self.descend(node, &mut limit, &mut |found, _, _| {
                answer = Some(found);
                true
            });
            answer
        })
    }

    /// The node in which nothing is decided.
    fn whole(&self) -> Node {
        let sums: Vec<f64> = (0..self.n).map(|i| self.d[i * self.n..(i + 1) * self.n].iter().sum()).collect();
        let dropped = self.root.fates.iter().filter(|&&f| f == Fate::Dropped).count();
        Node {
            fates: vec![Fate::Open; self.n],
            value: sums.iter().sum::<f64>() / 2.0,
            linear: sums.iter().map(|r| -r).collect(),
            left: self.root.left + dropped,
        }
    }

    /// Drops u, and the higher rows equal to it. `None` if that cannot be.
    fn drop_row(&self, node: &mut Node, u: usize) -> Option<()> {
        match node.fates[u] {
            Fate::Dropped => return Some(()),
            Fate::Kept => return None,
            Fate::Open => node.left = node.left.checked_sub(1)?,
        }
        node.fates[u] = Fate::Dropped;
        node.value += node.linear[u];
        node.linear.iter_mut().zip(&self.d[u * self.n..(u + 1) * self.n]).for_each(|(l, d)| *l += d);
        self.twins[u].map_or(Some(()), |v| self.drop_row(node, v))
    }

    /// Keeps u, and the lower rows equal to it. `None` if that cannot be.
    fn keep(&self, node: &mut Node, u: usize) -> Option<()> {
        match node.fates[u] {
            Fate::Kept => return Some(()),
            Fate::Dropped => return None,
            Fate::Open => node.fates[u] = Fate::Kept,
        }
        (0..u).filter(|&v| self.twins[v] == Some(u)).try_for_each(|v| self.keep(node, v))
    }

    fn fix(&self, node: &mut Node, u: usize, fate: Fate) -> Option<()> {
        if fate == Fate::Kept { self.keep(node, u) } else { self.drop_row(node, u) }
    }

    /// The first subgradient steps; the rows they choose to drop are turned into subsets to know.
    fn ascend(&mut self, node: &mut Node, known: &mut Vec<usize>) {
        let mut value = pair_sum(&self.d, self.n, known);
        let mut highest = f64::NEG_INFINITY;
        let mut pace = 1.0;
        let mut since = 0;
        for _ in 0..FIRST_STEPS {
            let Some(relaxed) = self.relax(node) else { return };
            if relaxed.bound > highest {
                (highest, since) = (relaxed.bound, 0);
                let kept = (0..self.n).filter(|u| node.fates[*u] != Fate::Dropped && !relaxed.chosen.contains(u)).collect();
                let (lower, rows) = improve(&self.d, self.n, kept);
                if lower < value * (1.0 - TIE) {
                    value = lower;
                    *known = lower_twins(&rows, &self.twins);
                }
            } else {
                since += 1;
                if since == 10 {
                    (since, pace) = (0, pace * 0.5);
                }
            }
            let limit = value * (1.0 - TIE);
            if relaxed.bound > limit || pace < 1e-3 {
                return;
            }
            let mut next = node.clone();
            match self.fix_by(&mut next, &relaxed, limit) {
                // No subset is better: the search will find the same.
                None => return,
                Some(true) => *node = next,
                Some(false) => self.step(&relaxed, pace * (limit - relaxed.bound)),
            }
        }
    }

    /// Searches below a node for subsets of a value of at most the limit. `found` takes each, may lower the limit and ends the search
    /// by returning true; so does this.
    fn descend(&mut self, mut node: Node, limit: &mut f64, found: &mut dyn FnMut(Vec<usize>, f64, &mut f64) -> bool) -> bool {
        self.nodes += 1;
        if self.cut_short() {
            return true;
        }
        match self.bound(&mut node, *limit) {
            Bound::Pruned => false,
            Bound::Leaf => {
                let rows: Vec<usize> = (0..self.n).filter(|&u| node.fates[u] != Fate::Dropped).collect();
                let value = pair_sum(&self.d, self.n, &rows);
                value <= *limit && found(rows, value, limit)
            }
            Bound::Branch(u, first) => {
                let second = if first == Fate::Kept { Fate::Dropped } else { Fate::Kept };
                for fate in [first, second] {
                    let mut child = node.clone();
                    if self.fix(&mut child, u, fate).is_some() && self.descend(child, limit, found) {
                        return true;
                    }
                }
                false
            }
        }
    }

    fn bound(&mut self, node: &mut Node, limit: f64) -> Bound {
        let mut steps = 0;
        loop {
            let Some(relaxed) = self.relax(node) else {
                let open = node.fates.iter().filter(|&&f| f == Fate::Open).count();
                if open < node.left {
                    return Bound::Pruned;
                }
                for u in 0..self.n {
                    if node.left > 0 && node.fates[u] == Fate::Open && self.drop_row(node, u).is_none() {
                        return Bound::Pruned;
                    }
                }
                return Bound::Leaf;
            };
            if relaxed.bound > limit {
                return Bound::Pruned;
            }
            match self.fix_by(node, &relaxed, limit) {
                None => return Bound::Pruned,
                Some(true) => {}
                Some(false) if steps < STEPS => {
                    steps += 1;
                    self.step(&relaxed, limit - relaxed.bound);
                }
                Some(false) => {
                    // The fate that would cost most is the least likely: its branch ends soon.
                    let clearest = relaxed.regrets.iter().max_by(|a, b| a.1.total_cmp(&b.1));
                    return clearest.map_or(Bound::Pruned, |&(u, _, fate)| Bound::Branch(u, fate));
                }
            }
        }
    }

    /// The lower bound of a node. `None` when no choice is left: nothing more to drop, or all that is open.
    fn relax(&self, node: &Node) -> Option<Relaxed> {
        let open: Vec<usize> = (0..self.n).filter(|&u| node.fates[u] == Fate::Open).collect();
        let (q, k) = (node.left, open.len());
        if q == 0 || q >= k {
            return None;
        }
        let mut costs = Vec::with_capacity(k);
        let mut partners = Vec::with_capacity(k);
        for &u in &open {
            let mut row: Vec<(f64, usize)> = open.iter().filter(|&&v| v != u).map(|&v| (self.split[u * self.n + v], v)).collect();
            if q > 1 {
                row.select_nth_unstable_by(q - 2, |a, b| a.0.total_cmp(&b.0));
            }
            row.truncate(q - 1);
            costs.push((node.linear[u] + row.iter().map(|r| r.0).sum::<f64>(), u));
            partners.push(row.into_iter().map(|r| r.1).collect::<Vec<_>>());
        }
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_unstable_by(|&a, &b| costs[a].0.total_cmp(&costs[b].0).then(costs[b].1.cmp(&costs[a].1)));
        let (last, next) = (costs[order[q - 1]].0, costs[order[q]].0);
        let bound = node.value + order[..q].iter().map(|&a| costs[a].0).sum::<f64>();
        let regret = |(rank, &a): (usize, &usize)| {
            let (cost, u) = costs[a];
            if rank < q { (u, next - cost, Fate::Dropped) } else { (u, cost - last, Fate::Kept) }
        };
        let regrets = order.iter().enumerate().map(regret).collect();
        let chosen: Vec<usize> = order[..q].iter().map(|&a| costs[a].1).collect();
        let partners = order[..q].iter().map(|&a| std::mem::take(&mut partners[a])).collect();
        Some(Relaxed { bound, regrets, chosen, partners })
    }

    /// Fixes rows whose other fate would raise the bound above the limit. Whether there were any; `None` if they contradict.
    fn fix_by(&self, node: &mut Node, relaxed: &Relaxed, limit: f64) -> Option<bool> {
        let mut any = false;
        for &(u, regret, fate) in &relaxed.regrets {
            if relaxed.bound + regret > limit {
                self.fix(node, u, fate)?;
                any = true;
            }
        }
        Some(any)
    }

    /// A step along the subgradient: where u was charged for v but v not for u, part of the distance moves to u.
    fn step(&mut self, relaxed: &Relaxed, gap: f64) {
        let n = self.n;
        let mut charged = vec![false; n * n];
        for (&u, partners) in relaxed.chosen.iter().zip(&relaxed.partners) {
            partners.iter().for_each(|&v| charged[u * n + v] = true);
        }
        let pairs = relaxed.chosen.iter().zip(&relaxed.partners).flat_map(|(&u, partners)| partners.iter().map(move |&v| (u, v)));
        let single: Vec<(usize, usize)> = pairs.filter(|&(u, v)| !charged[v * n + u]).collect();
        let step = gap / single.len().max(1) as f64;
        for (u, v) in single {
            self.split[u * n + v] += step;
            self.split[v * n + u] -= step;
        }
    }
}

/// A lower bound and where it comes from.
struct Relaxed {
    bound: f64,
    /// Of each open row what the other fate would add to the bound, and the fate it has in it.
    regrets: Vec<(usize, f64, Fate)>,
    /// The rows it drops, and the rows each was charged for.
    chosen: Vec<usize>,
    partners: Vec<Vec<usize>>,
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FAMILIES, SplitMix64, family, first_of_least, gram};
    use super::*;

    /// By the definition, from the rows: Σ ‖x_i − mean‖².
    fn literal(rows: &[Vec<f64>], of: &[usize]) -> f64 {
        let m = of.len() as f64;
        let mean: Vec<f64> = (0..rows[0].len()).map(|k| of.iter().map(|&i| rows[i][k] / m).sum()).collect();
        let sum = of.iter().map(|&i| rows[i].iter().zip(&mean).map(|(x, y)| (x - y) * (x - y)).sum::<f64>()).sum();
        // Equal rows leave the rounding of their mean.
        if sum < 1e-25 { 0.0 } else { sum }
    }

    fn check(rows: &[Vec<f64>], keep: usize) {
        let n = rows.len();
        let found = least_variance(&gram(rows).distances2(), n, keep, 1_000_000);
        let (first, least) = first_of_least(n, keep, |s| literal(rows, s));
        assert!(found.exact && (found.variance - least).abs() <= 1e-11 * least, "{} for {least}", found.variance);
        assert_eq!(found.rows, first);
    }

    #[test]
    fn agrees_with_enumeration() {
        for (k, name) in FAMILIES.into_iter().enumerate() {
            for (n, f) in [(1, 0), (2, 1), (5, 2), (8, 3), (9, 4), (12, 5)] {
                for d in [1, 3, 40] {
                    check(&family(name, 10 * n as u64 + k as u64, n, f, d), n - f);
                }
            }
        }
        check(&family("iid", 1, 18, 8, 30), 10);
        check(&family("clusters", 2, 18, 7, 3), 11);
    }

    /// Distances that no rows have, with many ties: every subset against Σ D / m.
    #[test]
    fn any_symmetric_matrix() {
        let r = &mut SplitMix64(5);
        for round in 0..300 {
            let n = 2 + r.below(8);
            let mut d2 = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..i {
                    let value = match round % 4 {
                        0 => r.uniform(),
                        1 => r.below(3) as f64,
                        2 => [1.0, 2.0, f64::INFINITY, 1e60][r.below(4)],
                        _ => [0.0, 1e60, 1e300][r.below(3)],
                    };
                    (d2[i * n + j], d2[j * n + i]) = (value, value);
                }
            }
            for keep in 1..=n {
                let found = least_variance(&d2, n, keep, 1_000_000);
                let (first, least) = first_of_least(n, keep, |s| pair_sum(&d2, n, s) / keep as f64);
                assert_eq!(found.variance, pair_sum(&d2, n, &found.rows) / keep as f64);
                if least < f64::INFINITY {
                    assert!(found.exact && found.rows == first, "{found:?} {first:?} {d2:?}");
                } else {
                    assert!(found.rows.len() == keep && (!found.exact || keep == n));
                }
            }
        }
    }

    #[test]
    fn far_rows_and_duplicates() {
        for far in [1e7, 1e15, 1e30, 1e100] {
            let mut rows = family("iid", 6, 14, 3, 6);
            let near: Vec<Vec<f64>> = [1, 4, 9].map(|i| rows[i].clone()).to_vec();
            let expected = least_variance(&gram(&rows).distances2(), 14, 9, 100_000).rows;
            // Rows that the least subset of 9 of 14 drops are moved far away: the subset stays.
            let dropped: Vec<usize> = (0..14).filter(|i| !expected.contains(i)).collect();
            rows[dropped[0]] = vec![far; 6];
            rows[dropped[1]] = vec![-far; 6];
            rows[dropped[2]] = vec![far; 6];
            let found = least_variance(&gram(&rows).distances2(), 14, 9, 100_000);
            assert!(found.exact && found.rows == expected, "{far}");
            // Fewer near rows than are kept: the variance is the far rows', and ties go to the lower index.
            let mut rows = vec![vec![far; 2], vec![far; 2], vec![far; 2]];
            rows.extend(near.iter().map(|x| x[..2].to_vec()));
            let found = least_variance(&gram(&rows).distances2(), 6, 4, 100_000);
            assert!(found.exact && found.rows == [0, 1, 2, 3], "{found:?}");
        }
        let found = least_variance(&[0.0; 400], 20, 11, 1000);
        assert!(found.exact && found.rows == (0..11).collect::<Vec<_>>() && found.nodes == 0);
    }

    #[test]
    fn cut_short_and_hostile() {
        let d2 = gram(&family("iid", 7, 40, 19, 2)).distances2();
        let full = least_variance(&d2, 40, 21, 100_000);
        assert!(full.exact && full.nodes > 20);
        let cut = least_variance(&d2, 40, 21, 3);
        assert!(!cut.exact && cut.nodes <= 30 && cut.rows.len() == 21 && cut.variance >= full.variance * (1.0 - 1e-12));
        // Two equal rows, and one a distance to which is not known.
        let nan = f64::NAN;
        let equal = least_variance(&[0.0, nan, 5.0, nan, 0.0, 0.0, 5.0, 0.0, 0.0], 3, 2, 100);
        assert_eq!((equal.rows, equal.variance, equal.exact), (vec![1, 2], 0.0, true));
        for value in [f64::NAN, f64::INFINITY] {
            let found = least_variance(&[value; 64], 8, 5, 1000);
            assert!(!found.exact && found.rows.len() == 5);
        }
        assert!(least_variance(&[], 0, 3, 10).rows.is_empty());
        assert_eq!(least_variance(&[0.0; 4], 2, 0, 10).rows, [0]);
        assert_eq!(least_variance(&[0.0; 4], 2, 7, 10).rows, [0, 1]);
    }

    /// Beyond enumeration: another numbering of the rows finds the same rows.
    #[test]
    fn many_rows_in_any_order() {
        for name in ["iid", "alie", "foe", "clusters"] {
            let (n, f) = (60, 15);
            let rows = family(name, 11, n, f, 20);
            let reversed: Vec<Vec<f64>> = rows.iter().rev().cloned().collect();
            let a = least_variance(&gram(&rows).distances2(), n, n - f, 100_000);
            let b = least_variance(&gram(&reversed).distances2(), n, n - f, 100_000);
            assert!(a.exact && b.exact && (a.variance - b.variance).abs() <= 1e-11 * a.variance);
            if name == "iid" || name == "clusters" {
                let mut same: Vec<usize> = b.rows.iter().map(|i| n - 1 - i).collect();
                same.sort_unstable();
                assert_eq!(a.rows, same);
            }
        }
    }
}
