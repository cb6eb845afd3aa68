//! The `keep` rows of least diameter, exactly (Minimum Diameter Averaging).
//!
//! Among all subsets `S` of `keep` rows out of `n`, find the one with the least
//!
//! ```text
//! diameter2(S) = max over i, j in S of distances2[i][j]
//! ```
//!
//! and, among equals, the one whose ascending row list comes first in
//! dictionary order. With `f = n - keep`, a diameter of at most `t` is possible
//! exactly when the graph of the pairs farther apart than `t` has a vertex
//! cover of at most `f` rows: the cover is what is dropped, and what is left has
//! no far pair. So the diameter is found by binary search over the distances
//! that occur, and the subset is then fixed row by row, from row 0 up, each time
//! asking whether a cover that spares the row still exists.
//!
//! A cover is searched for by branching on the row with most far pairs (drop it,
//! or drop all rows far from it), after every step that shrinks the graph at no
//! loss, and only while no lower bound exceeds what may still be dropped.
//!
//! Cost: `O(n^2 log n)` for the sort, then about `2 log2(n) + n` cover questions.
//! A question is exponential in the worst case, since vertex cover is NP-hard; so
//! the search nodes of all questions together are bounded.

use std::cmp::Reverse;

/// The `keep` rows of least diameter.
#[derive(Debug, Clone, PartialEq)]
pub struct DiameterSubset {
    /// The rows kept, ascending.
    pub rows: Vec<usize>,
    /// The largest squared distance between two kept rows; 0 for one row.
    pub diameter2: f64,
    /// Search nodes visited over all cover questions, a measure of the work.
    pub nodes: u64,
    /// Whether the rows are proven the best, and the first of the best. False where
    /// the search was cut short; the rows are then the best found.
    pub exact: bool,
}

/// How far a search may go.
struct Steps {
    taken: u64,
    most: u64,
    /// Was a step refused?
    cut: bool,
}

impl Steps {
    fn up_to(most: u64) -> Self {
        Self { taken: 0, most, cut: false }
    }

    fn take(&mut self) -> Option<()> {
        if self.taken == self.most {
            self.cut = true;
            return None;
        }
        self.taken += 1;
        Some(())
    }
}

/// Finds the `keep` of `n` rows with the least largest squared distance,
/// exactly; among equals, the first in dictionary order.
///
/// `distances2` is `n * n`, row by row, symmetric, each entry at least 0 or
/// `+inf`, never NaN. Only the entries above the diagonal are read. `most_nodes`
/// bounds the search.
///
/// # Panics
///
/// If `keep` is not in `1..=n`, or `distances2` does not have `n * n` entries.
pub fn least_diameter(distances2: &[f64], n: usize, keep: usize, most_nodes: u64) -> DiameterSubset {
    assert!((1..=n).contains(&keep), "keep must be in 1..=n");
    assert_eq!(distances2.len(), n * n, "distances2 must be n * n");
    let dropped = n - keep;
    if keep == 1 {
        return DiameterSubset { rows: vec![0], diameter2: 0.0, nodes: 0, exact: true };
    }

    let mut levels: Vec<f64> = (0..n).flat_map(|i| distances2[i * n + i + 1..(i + 1) * n].iter().copied()).collect();
    levels.sort_unstable_by(f64::total_cmp);
    levels.dedup();
    let level_of = |t: f64| levels.partition_point(|&x| x < t);

    // Invariant: `levels[high]` is possible, shown by `known`; no level below `low` is.
    let (least, ball) = first_bounds(distances2, n, keep);
    let mut low = level_of(least);
    let mut known = ball;
    let mut high = level_of(diameter(distances2, n, &known));
    let mut steps = Steps::up_to(most_nodes);
    while low < high {
        let middle = low + (high - low) / 2;
        match FarGraph::new(distances2, n, levels[middle], dropped).solve(&mut steps) {
            Some(kept) => {
                // Any `keep` of the rows will do; they may lie closer than was asked.
                known = members(&kept).take(keep).collect();
                high = level_of(diameter(distances2, n, &known));
                debug_assert!(known.len() == keep && high <= middle);
            }
            None if steps.cut => break,
            None => low = middle + 1,
        }
    }

    let diameter2 = levels[high];
    if !steps.cut {
        let first = first_in_order(FarGraph::new(distances2, n, diameter2, dropped), keep, &known, &mut steps);
        known = if steps.cut { known } else { first };
    }
    DiameterSubset { rows: known, diameter2, nodes: steps.taken, exact: !steps.cut }
}

/// A lower bound on the least squared diameter, and a subset to start from.
///
/// A kept row has `keep - 1` others within the diameter `t`, so with `r_i` the
/// `(keep - 1)`-th least distance from row `i`, at least `keep` rows have
/// `r_i <= t`: `t` is at least the `keep`-th least `r_i`. The subset is the best
/// of a few rows with least `r_i`, each with its `keep - 1` nearest rows.
/// Cost: `O(n^2)` and a few times `keep^2`.
fn first_bounds(distances2: &[f64], n: usize, keep: usize) -> (f64, Vec<usize>) {
    const CENTRES: usize = 8;
    let at = |i: usize, j: usize| distances2[i.min(j) * n + i.max(j)];
    let nearest = |i: usize| -> Vec<usize> {
        let mut rows: Vec<usize> = (0..n).filter(|&j| j != i).collect();
        rows.select_nth_unstable_by(keep - 2, |&a, &b| at(i, a).total_cmp(&at(i, b)).then(a.cmp(&b)));
        rows.truncate(keep - 1);
        rows
    };
    let mut radii: Vec<(f64, usize)> = (0..n).map(|i| (at(i, nearest(i)[keep - 2]), i)).collect();
    radii.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let balls = radii.iter().take(CENTRES).map(|&(_, i)| {
        let mut rows = nearest(i);
        rows.push(i);
        rows.sort_unstable();
        rows
    });
    let ball = balls.min_by(|a, b| diameter(distances2, n, a).total_cmp(&diameter(distances2, n, b)));
    (radii[keep - 1].0, ball.unwrap_or_else(|| (0..keep).collect()))
}

/// The largest squared distance between two of `rows` (ascending); 0 for one row.
fn diameter(distances2: &[f64], n: usize, rows: &[usize]) -> f64 {
    let pairs = rows.iter().enumerate().flat_map(|(k, &i)| rows[k + 1..].iter().map(move |&j| distances2[i * n + j]));
    pairs.fold(0.0, f64::max)
}

/// The first `keep` rows in dictionary order with no far pair, given that
/// `known` is one such subset.
///
/// Row by row: a row is kept if some subset keeps it along with all rows fixed
/// so far. The subset in hand answers for its own rows, and often, with one
/// exchange, for others, so that few rows need a search.
fn first_in_order(mut graph: FarGraph, keep: usize, known: &[usize], steps: &mut Steps) -> Vec<usize> {
    let mut subset = vec![0; graph.words];
    known.iter().for_each(|&v| insert(&mut subset, v));
    let mut rows = Vec::with_capacity(keep);
    for v in 0..graph.n {
        if rows.len() == keep {
            break;
        }
        if !contains(&graph.alive, v) {
            continue;
        }
        let mut kept = contains(&subset, v);
        if !kept && graph.degree[v] <= graph.budget {
            let mut swapped: Vec<u64> = subset.iter().zip(graph.row(v)).map(|(s, far)| s & !far).collect();
            insert(&mut swapped, v);
            kept = count(&swapped) >= keep;
            if !kept {
                let mut trial = graph.clone();
                trial.keep(v);
                if let Some(found) = trial.solve(steps) {
                    swapped = found;
                    kept = true;
                }
            }
            if kept {
                subset = swapped;
            }
        }
        // Both succeed: the subset in hand shows that the budget allows the step.
        if kept {
            graph.keep(v);
            rows.push(v);
        } else {
            graph.cover(v);
        }
    }
    rows
}

/// The pairs of rows farther apart than some distance, with the rows decided so
/// far taken out. A decided row is either kept or covered, that is, dropped.
#[derive(Clone)]
struct FarGraph {
    n: usize,
    words: usize,
    /// Row `v`: the undecided rows far from `v`, one bit each. Stale once `v` is decided.
    far: Vec<u64>,
    alive: Vec<u64>,
    degree: Vec<usize>,
    edges: usize,
    /// How many more rows may be covered.
    budget: usize,
    kept: Vec<u64>,
    /// `[v, a, b]` in the order made, see `fold`.
    folds: Vec<[usize; 3]>,
}

impl FarGraph {
    fn empty(n: usize, budget: usize) -> Self {
        let words = n.div_ceil(64);
        let mut alive = vec![0; words];
        (0..n).for_each(|v| insert(&mut alive, v));
        let (far, degree, kept) = (vec![0; n * words], vec![0; n], vec![0; words]);
        Self { n, words, far, alive, degree, edges: 0, budget, kept, folds: Vec::new() }
    }

    /// The pairs farther apart than `t`, of which at most `budget` rows may be covered.
    fn new(distances2: &[f64], n: usize, t: f64, budget: usize) -> Self {
        let mut graph = Self::empty(n, budget);
        for i in 0..n {
            for j in i + 1..n {
                if distances2[i * n + j] > t {
                    graph.join(i, j);
                }
            }
        }
        graph
    }

    /// The part of the graph on `rows`, renumbered by position; `rows` must not
    /// be joined to undecided rows outside.
    fn part(&self, rows: &[usize], budget: usize) -> Self {
        let mut position = vec![0; self.n];
        rows.iter().enumerate().for_each(|(k, &v)| position[v] = k);
        let mut part = Self::empty(rows.len(), budget);
        for (k, &v) in rows.iter().enumerate() {
            members(self.row(v)).for_each(|u| insert(&mut part.far[k * part.words..], position[u]));
            part.degree[k] = self.degree[v];
            part.edges += self.degree[v];
        }
        part.edges /= 2;
        part
    }

    fn row(&self, v: usize) -> &[u64] {
        &self.far[v * self.words..(v + 1) * self.words]
    }

    fn joined(&self, u: usize, v: usize) -> bool {
        contains(self.row(u), v)
    }

    fn join(&mut self, u: usize, v: usize) {
        insert(&mut self.far[u * self.words..], v);
        insert(&mut self.far[v * self.words..], u);
        self.degree[u] += 1;
        self.degree[v] += 1;
        self.edges += 1;
    }

    fn take_out(&mut self, v: usize) {
        for w in 0..self.words {
            let mut left = self.far[v * self.words + w];
            while left != 0 {
                let u = w * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                remove(&mut self.far[u * self.words..], v);
                self.degree[u] -= 1;
            }
        }
        self.edges -= self.degree[v];
        remove(&mut self.alive, v);
    }

    /// Drops `v`. `None` if the budget is spent.
    fn cover(&mut self, v: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(1)?;
        self.take_out(v);
        Some(())
    }

    /// Keeps `v`, and so drops every row far from it. `None` if they are too many.
    fn keep(&mut self, v: usize) -> Option<()> {
        if self.degree[v] > self.budget {
            return None;
        }
        let far: Vec<usize> = members(self.row(v)).collect();
        far.into_iter().try_for_each(|u| self.cover(u))?;
        self.take_out(v);
        insert(&mut self.kept, v);
        Some(())
    }

    /// Merges `v` and the only two rows far from it, `a` and `b`, which are not
    /// far from each other, into one row in the place of `a`. Some least cover
    /// has either `a` and `b` without `v`, or `v` without them: one row in any
    /// case, and a second exactly when the merged row is covered.
    fn fold(&mut self, v: usize, a: usize, b: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(1)?;
        let new: Vec<usize> = members(self.row(b)).filter(|&u| u != v && !self.joined(a, u)).collect();
        self.take_out(v);
        self.take_out(b);
        new.into_iter().for_each(|u| self.join(a, u));
        self.folds.push([v, a, b]);
        Some(())
    }

    /// The kept rows of some cover within the budget, or `None` if there is none, or
    /// none was found before the steps were spent.
    fn solve(mut self, steps: &mut Steps) -> Option<Vec<u64>> {
        steps.take()?;
        self.reduce()?;
        let (mut kept, folds) = (self.kept.clone(), std::mem::take(&mut self.folds));
        if self.edges > 0 {
            self.solve_parts(steps)?.into_iter().for_each(|v| insert(&mut kept, v));
        }
        for &[v, a, b] in folds.iter().rev() {
            let other = if contains(&kept, a) { b } else { v };
            insert(&mut kept, other);
        }
        Some(kept)
    }

    /// The rows to keep of those undecided: part by part if the graph falls
    /// apart, else by branching.
    fn solve_parts(mut self, steps: &mut Steps) -> Option<Vec<usize>> {
        let mut parts = self.parts();
        if let [rows] = &parts[..] {
            // Renumbering pays once it saves words.
            if rows.len().div_ceil(64) < self.words {
                let kept = self.part(rows, self.budget).branch(steps)?;
                return Some(members(&kept).map(|k| rows[k]).collect());
            }
            self.kept.fill(0);
            return self.branch(steps).map(|kept| members(&kept).collect());
        }
        // All but the largest part get their least cover, by raising the budget from 1.
        parts.sort_by_key(Vec::len);
        let mut budget = self.budget;
        let mut kept = Vec::new();
        for (k, rows) in parts.iter().enumerate() {
            let least = if k + 1 == parts.len() { budget } else { 1 };
            let found = (least..=budget).find_map(|b| self.part(rows, b).solve(steps))?;
            kept.extend(members(&found).map(|v| rows[v]));
            budget -= rows.len() - count(&found);
        }
        Some(kept)
    }

    /// The connected parts among the undecided rows.
    fn parts(&self) -> Vec<Vec<usize>> {
        let mut parts = Vec::new();
        let mut left = self.alive.clone();
        for start in members(&self.alive) {
            if !contains(&left, start) {
                continue;
            }
            remove(&mut left, start);
            let mut part = vec![start];
            let mut next = 0;
            while next < part.len() {
                let new = and(self.row(part[next]), &left);
                left.iter_mut().zip(&new).for_each(|(l, n)| *l &= !n);
                part.extend(members(&new));
                next += 1;
            }
            parts.push(part);
        }
        parts
    }

    /// Tries both fates of a row `v` with most far pairs.
    ///
    /// Along with `v`, each mirror `u` is covered: a row that is far from all rows
    /// far from `v`, but for one at most. For if `u` is kept, all of those are
    /// covered but one, and that one can take the place of `v` in the cover,
    /// which the other branch finds.
    fn branch(self, steps: &mut Steps) -> Option<Vec<u64>> {
        let v = members(&self.alive).max_by_key(|&v| (self.degree[v], Reverse(v)))?;
        let shared = |u: usize| common(self.row(u), self.row(v));
        let mut child = self.clone();
        let covered = members(&self.alive).filter(|&u| u == v || shared(u) + 1 >= self.degree[v]).try_for_each(|u| child.cover(u));
        if covered.is_some()
            && let Some(kept) = child.solve(steps)
        {
            return Some(kept);
        }
        let mut child = self;
        child.keep(v)?;
        child.solve(steps)
    }

    /// Shrinks the graph as far as the rules go. `None` if no cover fits the budget.
    fn reduce(&mut self) -> Option<()> {
        loop {
            while self.small_degrees()? {}
            let most = members(&self.alive).map(|v| self.degree[v]).max().unwrap_or(0);
            if self.edges > self.budget * most || self.clique_bound() > self.budget {
                return None;
            }
            if !self.dominance()? && !self.linear_program()? {
                return Some(());
            }
        }
    }

    /// One pass of the rules for single rows: more far rows than the budget
    /// means covered; none or one, or two far from each other, means kept; two
    /// not far from each other are folded. Says whether anything changed.
    fn small_degrees(&mut self) -> Option<bool> {
        let mut changed = false;
        for w in 0..self.words {
            for v in members(&[self.alive[w]]).map(|b| w * 64 + b) {
                if !contains(&self.alive, v) {
                    continue;
                }
                if self.degree[v] > self.budget {
                    self.cover(v)?;
                } else if self.degree[v] > 2 {
                    continue;
                } else {
                    let pair = {
                        let mut far = members(self.row(v));
                        (far.next(), far.next())
                    };
                    match pair {
                        (Some(a), Some(b)) if !self.joined(a, b) => self.fold(v, a, b)?,
                        _ => self.keep(v)?,
                    }
                }
                changed = true;
            }
        }
        Some(changed)
    }

    /// Covers each `v` that is far from some `u` and from all that `u` is far
    /// from: keeping `v` would cover `u` and all but one of its far rows, and
    /// keeping `u` instead covers no more.
    fn dominance(&mut self) -> Option<bool> {
        let mut changed = false;
        for u in members(&self.alive.clone()) {
            if !contains(&self.alive, u) {
                continue;
            }
            let far: Vec<usize> = members(self.row(u)).filter(|&v| self.degree[v] >= self.degree[u]).collect();
            for v in far {
                // Only `v` itself may be far from `u` and not from `v`.
                if common(self.row(u), self.row(v)) + 1 == self.degree[u] {
                    self.cover(v)?;
                    changed = true;
                }
            }
        }
        Some(changed)
    }

    /// A lower bound on the cover: of a set of rows all far from one another, all
    /// but one are covered. Splits the rows into such sets greedily.
    fn clique_bound(&self) -> usize {
        let mut order: Vec<usize> = members(&self.alive).collect();
        order.sort_unstable_by_key(|&v| (self.degree[v], v));
        let mut left = self.alive.clone();
        let mut bound = 0;
        for v in order {
            if !contains(&left, v) {
                continue;
            }
            remove(&mut left, v);
            let mut open = and(self.row(v), &left);
            // The next member is the one that leaves most choice for those after it.
            while let Some(u) = members(&open).max_by_key(|&u| (common(&open, self.row(u)), Reverse(self.degree[u]))) {
                bound += 1;
                remove(&mut left, u);
                open.iter_mut().zip(self.row(u)).for_each(|(o, far)| *o &= far);
            }
        }
        bound
    }

    /// Applies the relaxation in which a row may be covered by half (every far
    /// pair needs a total of 1): some least cover agrees with it on the rows
    /// it covers fully or not at all. It is solved by a largest matching between
    /// two copies of the rows. Says whether any row was decided.
    fn linear_program(&mut self) -> Option<bool> {
        const NONE: usize = usize::MAX;
        let mut right_of = vec![NONE; self.n];
        let mut left_of = vec![NONE; self.n];
        let mut free = self.alive.clone();
        for v in members(&self.alive) {
            let choice = and(self.row(v), &free);
            if let Some(u) = members(&choice).min_by_key(|&u| self.degree[u]) {
                right_of[v] = u;
                left_of[u] = v;
                remove(&mut free, u);
            }
        }
        // Alternating paths by breadth first. A left row whose search failed stays
        // unmatched, and all its search reached stays reachable, hence closed to later searches.
        let mut reached_left = vec![0; self.words];
        let mut unseen = self.alive.clone();
        let mut parent = vec![NONE; self.n];
        let mut queue = Vec::with_capacity(self.n);
        for start in members(&self.alive).filter(|&v| right_of[v] == NONE).collect::<Vec<_>>() {
            queue.clear();
            queue.push(start);
            let before = unseen.clone();
            let mut next = 0;
            let mut end = NONE;
            'search: while next < queue.len() {
                let v = queue[next];
                next += 1;
                for u in members(&and(self.row(v), &unseen)) {
                    remove(&mut unseen, u);
                    parent[u] = v;
                    if left_of[u] == NONE {
                        end = u;
                        break 'search;
                    }
                    queue.push(left_of[u]);
                }
            }
            if end == NONE {
                queue.iter().for_each(|&v| insert(&mut reached_left, v));
                continue;
            }
            unseen = before;
            while end != NONE {
                let v = parent[end];
                left_of[end] = v;
                end = std::mem::replace(&mut right_of[v], end);
            }
        }
        // Of either copy, one row of each matched pair is covered: half of them at least.
        let matched = right_of.iter().filter(|&&u| u != NONE).count();
        if matched.div_ceil(2) > self.budget {
            return None;
        }
        // The left rows reached are the smallest set that outnumbers the rows far
        // from it by the most. So no two of them are far from each other, for without
        // the rows in such pairs the set would be smaller and its lead no less.
        // They are the rows not covered at all.
        members(&reached_left).try_for_each(|v| self.keep(v))?;
        Some(count(&reached_left) > 0)
    }
}

/// The elements of a bit set, ascending.
fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(w, &word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                w * 64 + bit
            })
        })
    })
}

fn contains(set: &[u64], v: usize) -> bool {
    set[v / 64] >> (v % 64) & 1 == 1
}

fn insert(set: &mut [u64], v: usize) {
    set[v / 64] |= 1 << (v % 64);
}

fn remove(set: &mut [u64], v: usize) {
    set[v / 64] &= !(1 << (v % 64));
}

fn count(set: &[u64]) -> usize {
    set.iter().map(|w| w.count_ones() as usize).sum()
}

/// The size of the intersection.
fn common(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones() as usize).sum()
}

fn and(a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a & b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct SplitMix64(u64);

    impl SplitMix64 {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        fn below(&mut self, n: usize) -> usize {
            (self.next() % n as u64) as usize
        }

        fn uniform(&mut self) -> f64 {
            ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }

        fn shuffle<T>(&mut self, items: &mut [T]) {
            for i in (1..items.len()).rev() {
                items.swap(i, self.below(i + 1));
            }
        }
    }

    fn squared(points: &[Vec<f64>]) -> Vec<f64> {
        let pair = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        points.iter().flat_map(|a| points.iter().map(move |b| pair(a, b))).collect()
    }

    fn gaussian(r: &mut SplitMix64, n: usize, d: usize) -> Vec<Vec<f64>> {
        (0..n).map(|_| (0..d).map(|_| r.normal()).collect()).collect()
    }

    const FAMILIES: [&str; 20] = [
        "gauss d=2",
        "gauss d=5",
        "gauss d=20",
        "gauss d=200",
        "alie d=5",
        "alie d=200",
        "foe d=5",
        "foe d=200",
        "clusters d=5",
        "clusters d=100",
        "duplicates d=5",
        "duplicates d=100",
        "grid d=1",
        "grid d=2",
        "outliers d=5",
        "outliers d=100",
        "sphere d=4",
        "cube d=12",
        "noise d=0",
        "matchings d=6",
    ];

    /// Squared distances of `n` rows, `f` of them Byzantine where the family has any, in random order.
    fn family(name: &str, seed: u64, n: usize, f: usize) -> Vec<f64> {
        let r = &mut SplitMix64(seed);
        let (kind, d) = name.split_once(" d=").unwrap();
        let d: usize = d.parse().unwrap();
        match kind {
            "noise" => return symmetric(n, || r.uniform()),
            "matchings" => {
                let mut d2 = symmetric(n, || 1.0);
                let mut order: Vec<usize> = (0..n).collect();
                for _ in 0..d {
                    r.shuffle(&mut order);
                    for pair in order.chunks_exact(2) {
                        let far = 2.0 + r.uniform();
                        d2[pair[0] * n + pair[1]] = far;
                        d2[pair[1] * n + pair[0]] = far;
                    }
                }
                return d2;
            }
            _ => {}
        }
        let mut points = match kind {
            "gauss" => gaussian(r, n, d),
            "alie" | "foe" => {
                let mut p = gaussian(r, n - f, d);
                let h = p.len() as f64;
                let row: Vec<f64> = (0..d)
                    .map(|k| {
                        let mean = p.iter().map(|x| x[k]).sum::<f64>() / h;
                        let var = p.iter().map(|x| (x[k] - mean).powi(2)).sum::<f64>() / h;
                        if kind == "alie" { mean - 1.5 * var.sqrt() } else { -0.1 * mean }
                    })
                    .collect();
                p.extend((0..f).map(|_| row.clone()));
                p
            }
            "clusters" => {
                let centres = gaussian(r, 5, d);
                let mut p = gaussian(r, n, d);
                p.iter_mut().enumerate().for_each(|(i, x)| x.iter_mut().zip(&centres[i % 5]).for_each(|(a, c)| *a = 0.7 * *a + c));
                p
            }
            "duplicates" => {
                let base = gaussian(r, n.div_ceil(3), d);
                (0..n).map(|_| base[r.below(base.len())].clone()).collect()
            }
            "grid" => (0..n).map(|_| (0..d).map(|_| r.below(if d == 1 { 30 } else { 12 }) as f64).collect()).collect(),
            "outliers" => {
                let mut p = gaussian(r, n, d);
                p[..f].iter_mut().flatten().for_each(|x| *x *= 100.0);
                p
            }
            "cube" => (0..n).map(|_| (0..d).map(|_| r.below(2) as f64).collect()).collect(),
            _ => {
                let mut p = gaussian(r, n, d);
                p.iter_mut().for_each(|x| {
                    let norm = x.iter().map(|a| a * a).sum::<f64>().sqrt();
                    x.iter_mut().for_each(|a| *a /= norm);
                });
                p
            }
        };
        r.shuffle(&mut points);
        squared(&points)
    }

    fn symmetric(n: usize, mut entry: impl FnMut() -> f64) -> Vec<f64> {
        let mut d2 = vec![0.0; n * n];
        for i in 0..n {
            for j in i + 1..n {
                d2[i * n + j] = entry();
                d2[j * n + i] = d2[i * n + j];
            }
        }
        d2
    }

    /// The answer by trying every subset. A lower bit is an earlier row, so of
    /// two sets of one size the first in order has the lowest differing bit.
    fn enumerate(d2: &[f64], n: usize, keep: usize) -> (f64, Vec<usize>) {
        let mut best: Option<(f64, Vec<usize>)> = None;
        for set in (0u64..1 << n).filter(|s| s.count_ones() as usize == keep) {
            let rows: Vec<usize> = (0..n).filter(|&i| set >> i & 1 == 1).collect();
            let mut d = 0.0f64;
            for &i in &rows {
                for &j in &rows {
                    d = d.max(d2[i * n + j]);
                }
            }
            if best.as_ref().is_none_or(|b| d < b.0 || (d == b.0 && rows < b.1)) {
                best = Some((d, rows));
            }
        }
        best.unwrap()
    }

    fn check_small(d2: &[f64], n: usize) {
        for keep in 1..=n {
            let got = least_diameter(d2, n, keep, u64::MAX);
            assert_eq!((got.diameter2, got.rows), enumerate(d2, n, keep), "n={n} keep={keep} {d2:?}");
        }
    }

    /// Whether a cover of at most `budget` rows exists, by branching alone.
    fn plain_cover(far: &[Vec<bool>], alive: &[bool], budget: usize) -> bool {
        let n = far.len();
        let around = |v: usize| -> Vec<usize> { (0..n).filter(|&u| alive[u] && far[v][u]).collect() };
        let v = (0..n).filter(|&v| alive[v]).max_by_key(|&v| around(v).len());
        let Some((v, near)) = v.map(|v| (v, around(v))) else {
            return true;
        };
        if near.len() <= 1 {
            return (0..n).filter(|&v| alive[v] && !around(v).is_empty()).count() / 2 <= budget;
        }
        let without = |gone: &[usize]| {
            let mut rest = alive.to_vec();
            gone.iter().for_each(|&u| rest[u] = false);
            budget >= gone.len() && plain_cover(far, &rest, budget - gone.len())
        };
        without(&[v]) || without(&near)
    }

    fn far_pairs(d2: &[f64], n: usize, too_far: impl Fn(f64) -> bool) -> Vec<Vec<bool>> {
        (0..n).map(|i| (0..n).map(|j| i != j && too_far(d2[i * n + j])).collect()).collect()
    }

    /// The first subset in order, each row decided by `plain_cover`.
    fn plain_first(far: &[Vec<bool>], keep: usize) -> Vec<usize> {
        let n = far.len();
        let (mut alive, mut budget, mut rows) = (vec![true; n], n - keep, Vec::new());
        for v in 0..n {
            if rows.len() == keep || !alive[v] {
                continue;
            }
            let mut rest = alive.clone();
            rest[v] = false;
            let mut gone = 0;
            for u in (0..n).filter(|&u| alive[u] && far[v][u]) {
                rest[u] = false;
                gone += 1;
            }
            if gone <= budget && plain_cover(far, &rest, budget - gone) {
                alive = rest;
                budget -= gone;
                rows.push(v);
            } else {
                alive[v] = false;
                budget -= 1;
            }
        }
        rows
    }

    fn certify(d2: &[f64], n: usize, keep: usize, order: bool) {
        let got = least_diameter(d2, n, keep, u64::MAX);
        assert_eq!(got.rows.len(), keep);
        assert!(got.rows.is_sorted_by(|a, b| a < b) && got.rows[keep - 1] < n);
        let inside = got.rows.iter().flat_map(|&i| got.rows.iter().map(move |&j| d2[i * n + j])).fold(0.0, f64::max);
        assert_eq!(inside, got.diameter2);
        // No subset has a lesser diameter: the pairs at least this far apart need a larger cover.
        let cover = plain_cover(&far_pairs(d2, n, |d| d >= got.diameter2), &vec![true; n], n - keep);
        assert!(keep == 1 || got.diameter2 == 0.0 || !cover, "n={n} keep={keep}");
        if order {
            assert_eq!(got.rows, plain_first(&far_pairs(d2, n, |d| d > got.diameter2), keep), "n={n} keep={keep}");
        }
    }

    #[test]
    fn agrees_with_enumeration() {
        let r = &mut SplitMix64(1);
        for n in 1..=9 {
            for round in 0..if n < 8 { 60 } else { 20 } {
                check_small(&symmetric(n, || r.uniform()), n);
                check_small(&symmetric(n, || r.below(2 + round % 5) as f64), n);
                check_small(&symmetric(n, || if r.below(3) == 0 { f64::INFINITY } else { r.below(3) as f64 }), n);
                let base = gaussian(r, n.div_ceil(2), 2);
                let copies: Vec<Vec<f64>> = (0..n).map(|_| base[r.below(base.len())].clone()).collect();
                check_small(&squared(&copies), n);
                let line: Vec<Vec<f64>> = (0..n).map(|_| vec![r.below(6) as f64]).collect();
                check_small(&squared(&line), n);
            }
        }
    }

    #[test]
    fn edge_cases() {
        for n in 1..=70usize {
            for value in [0.0, 3.0, f64::INFINITY] {
                for keep in [1, n.div_ceil(2), n] {
                    let got = least_diameter(&symmetric(n, || value), n, keep, u64::MAX);
                    assert_eq!(got.rows, (0..keep).collect::<Vec<_>>());
                    assert_eq!(got.diameter2, if keep == 1 { 0.0 } else { value });
                }
            }
        }
    }

    /// The optimality certificate at sizes that cannot be enumerated: the subset has the diameter, and plain branching finds no
    /// cover one distance below.
    #[test]
    fn certificates_of_many_rows() {
        for name in FAMILIES {
            for (n, f) in [(64, 12), (101, 10), (128, 12)] {
                certify(&family(name, 1, n, f), n, n - f, true);
            }
        }
    }

    /// An upper bound on how many of the rows alive have no far pair: one of each of these sets, all of whose rows are far from one
    /// another.
    fn clique_cover(far: &[Vec<bool>], alive: &[bool]) -> usize {
        let n = far.len();
        let degree: Vec<usize> = (0..n).map(|v| (0..n).filter(|&u| alive[u] && far[v][u]).count()).collect();
        let mut order: Vec<usize> = (0..n).filter(|&v| alive[v]).collect();
        order.sort_by_key(|&v| degree[v]);
        let mut left = alive.to_vec();
        let mut cliques = 0;
        for v in order {
            let mut open: Vec<usize> = (0..n).filter(|&u| left[v] && left[u] && far[v][u]).collect();
            cliques += usize::from(std::mem::replace(&mut left[v], false));
            while let Some(&u) = open.iter().max_by_key(|&&u| (open.iter().filter(|&&w| far[u][w]).count(), Reverse(degree[u]))) {
                left[u] = false;
                open.retain(|&w| far[u][w]);
            }
        }
        cliques
    }

    /// Whether `keep` of the rows alive have no far pair, by branching until a clique cover is small enough.
    fn fits(far: &[Vec<bool>], alive: &[bool], keep: usize) -> bool {
        if clique_cover(far, alive) < keep {
            return false;
        }
        let n = far.len();
        let around = |v: usize| -> Vec<usize> { (0..n).filter(|&u| alive[u] && far[v][u]).collect() };
        let v = (0..n).filter(|&v| alive[v]).max_by_key(|&v| around(v).len());
        let Some((v, gone)) = v.map(|v| (v, around(v))).filter(|(_, gone)| !gone.is_empty()) else {
            return true;
        };
        let without = |gone: &[usize]| {
            let mut rest = alive.to_vec();
            gone.iter().for_each(|&u| rest[u] = false);
            rest
        };
        fits(far, &without(&[v]), keep) || fits(far, &without(&gone), keep)
    }

    /// At n = 256, up to the largest f: a second search, with clique covers alone, finds no subset of a lesser diameter. Families on which
    /// it takes long are left out.
    #[test]
    fn certificates_of_256_rows() {
        let r = &mut SplitMix64(9);
        for round in 0..200 {
            let d2 = symmetric(12, || if r.below(10) <= round % 10 { 2.0 } else { 1.0 });
            let far = far_pairs(&d2, 12, |d| d > 1.0);
            assert!((1..=12).all(|keep| fits(&far, &[true; 12], keep) == plain_cover(&far, &[true; 12], 12 - keep)));
        }
        let n = 256;
        for name in FAMILIES.into_iter().filter(|name| !["sphere d=4", "noise d=0", "matchings d=6"].contains(name)) {
            for f in [16, 64, 100, 127] {
                let d2 = family(name, 1, n, f);
                let got = least_diameter(&d2, n, n - f, u64::MAX);
                assert!(got.rows.len() == n - f && got.rows.is_sorted_by(|a, b| a < b), "{name} f = {f}");
                let inside =
                    got.rows.iter().flat_map(|&i| got.rows.iter().map(move |&j| i * n + j)).map(|k| d2[k]).fold(0.0, f64::max);
                assert_eq!(inside, got.diameter2, "{name} f = {f}");
                assert!(!fits(&far_pairs(&d2, n, |d| d >= got.diameter2), &[true; 256], n - f), "{name} f = {f}");
            }
        }
    }

    /// Each rule alone, on graphs too small to need it, against every cover.
    #[test]
    fn rules_lose_nothing() {
        let r = &mut SplitMix64(4);
        for round in 0..3000 {
            let n = 4 + r.below(7);
            let (chance, groups) = (0.15 + 0.7 * r.uniform(), 1 + round % 3);
            let group: Vec<usize> = (0..n).map(|_| r.below(groups)).collect();
            let mut graph = FarGraph::empty(n, n);
            for i in 0..n {
                for j in i + 1..n {
                    if group[i] == group[j] && r.uniform() < chance {
                        graph.join(i, j);
                    }
                }
            }
            let least = |g: &FarGraph| {
                let alive: Vec<usize> = members(&g.alive).collect();
                let sets = (0u64..1 << n).filter(|s| alive.iter().all(|&v| s >> v & 1 == 1 || g.row(v)[0] & !s == 0));
                sets.map(|s| s.count_ones() as usize).min().unwrap()
            };
            let cover = least(&graph);
            for budget in 0..=cover + 1 {
                graph.budget = budget;
                let rules = [FarGraph::small_degrees, FarGraph::dominance, FarGraph::linear_program];
                for rule in rules {
                    let mut left = graph.clone();
                    let possible = rule(&mut left).is_some() && least(&left) <= left.budget;
                    assert_eq!(possible, cover <= budget);
                }
                assert!(graph.clique_bound() <= cover);
                if graph.edges == 0 {
                    continue;
                }
                let busy: Vec<usize> = members(&graph.alive).filter(|&v| graph.degree[v] > 0).collect();
                let inner = graph.part(&busy, budget);
                let from_parts = inner.clone().solve_parts(&mut Steps::up_to(u64::MAX)).map(|rows| {
                    let mut kept = vec![0];
                    rows.iter().for_each(|&v| insert(&mut kept, v));
                    kept
                });
                for found in [inner.clone().branch(&mut Steps::up_to(u64::MAX)), from_parts] {
                    assert_eq!(found.is_some(), cover <= budget);
                    if let Some(kept) = found {
                        assert!(members(&kept).all(|v| inner.row(v)[0] & kept[0] == 0));
                        assert!(count(&kept) + budget >= inner.n);
                    }
                }
            }
        }
    }

    /// Two distances only: far pairs form a random graph, sparse enough for
    /// every rule to apply, and every `keep` is asked for.
    #[test]
    fn random_graphs() {
        let r = &mut SplitMix64(2);
        for round in 0..120 {
            let n = 12 + r.below(12);
            let chance = 0.04 + 0.5 * r.uniform();
            let mut d2 = symmetric(n, || if r.uniform() < chance { 2.0 } else { 1.0 });
            // As drawn, or in separate groups, or nearly two-sided with one side larger.
            let sides: Vec<usize> = (0..n).map(|_| if round % 3 == 1 { r.below(3) } else { r.below(3) / 2 }).collect();
            for i in 0..n {
                for j in i + 1..n {
                    let cut = match round % 3 {
                        0 => false,
                        1 => sides[i] != sides[j],
                        _ => sides[i] == sides[j] && r.below(12) > 0,
                    };
                    if cut {
                        d2[i * n + j] = 1.0;
                        d2[j * n + i] = 1.0;
                    }
                }
            }
            for keep in 1..=n {
                certify(&d2, n, keep, round % 2 == 0);
            }
        }
    }

    /// Random graphs with three far pairs a row on average, past one word of bits.
    #[test]
    fn sparse_graphs() {
        let r = &mut SplitMix64(3);
        for n in [30, 40, 66, 70] {
            for _ in 0..4 {
                let m = if n > 40 { 34 } else { n };
                let mut d2 = symmetric(n, || 1.0);
                // Only `m` of the rows have far pairs, so that the plain search ends.
                let mut rows: Vec<usize> = (0..n).collect();
                r.shuffle(&mut rows);
                for _ in 0..m * 3 / 2 {
                    let (i, j) = (rows[r.below(m)], rows[r.below(m)]);
                    if i != j {
                        d2[i * n + j] = 2.0;
                        d2[j * n + i] = 2.0;
                    }
                }
                for f in m / 3..m / 2 + 3 {
                    certify(&d2, n, n - f, true);
                }
            }
        }
    }

    #[test]
    fn certified_on_families() {
        for (k, name) in FAMILIES.into_iter().enumerate() {
            for (n, f) in [(16, 7), (21, 10), (25, 8), (30, 14), (33, 10), (40, 12), (40, 19)] {
                certify(&family(name, 100 * n as u64 + k as u64, n, f), n, n - f, n <= 30);
            }
        }
    }

    /// A search that is cut short says so, and leaves a subset of the diameter it states.
    #[test]
    fn a_bounded_search_ends() {
        for name in FAMILIES {
            let (n, f) = (60, 25);
            let d2 = family(name, 11, n, f);
            let whole = least_diameter(&d2, n, n - f, u64::MAX);
            assert!(whole.exact, "{name}");
            for most in [0, 1, 2, whole.nodes / 2, whole.nodes.saturating_sub(1), whole.nodes] {
                let got = least_diameter(&d2, n, n - f, most);
                assert!(got.nodes <= most && got.exact == (most >= whole.nodes), "{name}: {most} of {}", whole.nodes);
                assert!(got.rows.len() == n - f && diameter(&d2, n, &got.rows) == got.diameter2, "{name}");
                assert!(if got.exact { got == whole } else { got.diameter2 >= whole.diameter2 }, "{name}");
            }
        }
    }

    #[test]
    fn deterministic() {
        for name in FAMILIES {
            let (n, f) = (101, 45);
            let d2 = family(name, 7, n, f);
            let first = least_diameter(&d2, n, n - f, u64::MAX);
            assert_eq!(first, least_diameter(&d2, n, n - f, u64::MAX));
            // Another numbering of the rows changes the subset but not the diameter.
            let mut order: Vec<usize> = (0..n).collect();
            SplitMix64(8).shuffle(&mut order);
            let moved: Vec<f64> =
                order.iter().flat_map(|&i| order.iter().map(move |&j| (i, j))).map(|(i, j)| d2[i * n + j]).collect();
            assert_eq!(first.diameter2, least_diameter(&moved, n, n - f, u64::MAX).diameter2);
        }
    }
}
