//! The search of a factor on inner products, for rows on a line through the honest mean.

use std::convert::Infallible;
use std::sync::Arc;

use super::factor::search;
use crate::geometry::{Geometry, Mixing, Wants};
use crate::plan::{Mix, Plan, Solution, Solve, Stat};
use crate::resilience::Resilience;
use crate::rules::{Cohort, weighted};
use crate::{Engine, Result, Rows, Rule};

/// The factor c ≥ 0 with which the row ḡ + c·(p − ḡ), sent by all of `attackers`, takes the aggregate of `rule` (told to expect `f`
/// of them) farthest from ḡ: what the line search of [`Factor::Search`](super::Factor::Search) finds. `line` holds the honest rows and
/// p as the last one; for FOE p is the origin, for ALIE it is ḡ − s.
///
/// Every row sent is a weighted sum of these rows and so is the aggregate of a rule on distances: what a factor does follows from inner
/// products. The whole search costs one aggregate of `line`, however many factors are tried.
///
/// `None` if the rule needs more than inner products, as those do that order each coordinate, or cannot work with these rows: then only
/// trying rows can tell.
pub fn worst_on_line(engine: &Engine, rule: &Arc<dyn Rule>, f: usize, line: &Rows<'_>, attackers: usize) -> Option<f64> {
    let worst = Worst::new(rule, f, line.n() - 1 + attackers, line.d(), attackers)?;
    let found = engine.aggregate_blocking(&worst, line, 0).ok()?;
    found.report.weights?.last().copied()
}

/// The search as a rule: from the honest rows and p to the attackers' row.
#[derive(Debug, Clone)]
struct Worst {
    rule: Arc<dyn Rule>,
    f: usize,
    search: Search,
}

/// Its work on inner products.
#[derive(Debug, Clone)]
struct Search {
    /// The rule's, for the rows of all workers.
    solver: Arc<dyn Solve>,
    attackers: usize,
}

impl Worst {
    /// `None` if inner products are not enough.
    fn new(rule: &Arc<dyn Rule>, f: usize, n: usize, d: usize, attackers: usize) -> Option<Self> {
        let members: Vec<usize> = (0..n).collect();
        let cohort = Cohort { total: n, members: &members, f, d };
        rule.admit(&cohort).ok()?;
        let Plan { mix: Mix::Solve(solver), stat: Stat::Identity } = rule.plan(&cohort) else { return None };
        let wants = solver.wants();
        let enough = wants.median.is_none() && wants.signs.is_none();
        enough.then(|| Self { rule: rule.clone(), f, search: Search { solver: Arc::from(solver), attackers } })
    }
}

impl Rule for Worst {
    fn name(&self) -> &'static str {
        "worst_on_line"
    }
    fn definition(&self) -> &'static str {
        "the row on the line through the last row and the mean of the others that takes a rule's aggregate farthest from that mean"
    }
    fn check(&self, _n: usize, _f: usize) -> Result<()> {
        Ok(())
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, _cohort: &Cohort<'_>) -> Plan {
        weighted(self.search.clone())
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let (p, honest) = rows.split_last().expect("a row");
        let mean: Vec<f64> = (0..cohort.d).map(|k| honest.iter().map(|row| row[k]).sum::<f64>() / honest.len() as f64).collect();
        let row = |c: f64| -> Vec<f64> { mean.iter().zip(p).map(|(m, p)| m + c * (p - m)).collect() };
        let members: Vec<usize> = (0..honest.len() + self.search.attackers).collect();
        let everyone = Cohort { total: members.len(), members: &members, f: self.f, d: cohort.d };
        let damage = |c: f64| {
            let sent = [honest, &vec![row(c); self.search.attackers]].concat();
            let aggregate = self.rule.reference(&sent, &everyone);
            Ok::<f64, Infallible>(aggregate.iter().zip(&mean).map(|(r, m)| (r - m).powi(2)).sum())
        };
        let Ok(factor) = search(damage);
        row(factor)
    }
}

impl Solve for Search {
    fn wants(&self) -> Wants {
        self.solver.wants().and(Wants::distances())
    }

    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let (rows, width) = (geometry.n(), geometry.all.n());
        let honest = rows - 1;
        let share = 1.0 / honest as f64;
        let row = |c: f64| [vec![(1.0 - c) * share; honest], vec![c]].concat();
        let damage = |c: f64| -> Result<f64> {
            let unit = |i: usize| (0..rows).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
            let sent = Mixing::new((0..honest).map(unit).chain(std::iter::repeat_n(row(c), self.attackers)).collect());
            let sent = sent.padded(width);
            let solution = self.solver.solve(&geometry.mixed(&sent))?;
            let sent = sent.with_virtual(rows, width);
            // R − ḡ, as weights that sum to 0.
            let mut away = solution.mixing.padded(sent.rows()).after(&sent).weights(0).to_vec();
            away[..honest].iter_mut().for_each(|w| *w -= share);
            Ok(away.iter().enumerate().map(|(i, w)| w * dot(&away, geometry.all.row(i))).sum())
        };
        // What the rule refuses does no damage.
        let Ok(factor) = search(|c| Ok::<f64, Infallible>(damage(c).unwrap_or(0.0)));
        Ok(Solution::weights(row(factor)))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::super::{Scene, by_name};
    use super::*;
    use crate::{Spec, rules};

    const N: usize = 11;
    const D: usize = 100;

    /// Every rule that inner products decide, by itself and after pre-aggregations.
    fn able(f: usize) -> Vec<(String, Arc<dyn Rule>)> {
        let names: Vec<&str> = rules::names().filter(|name| *name != "fltrust").collect();
        let chains = ["nnm+", "bucketing:s=2,seed=3+", "clipping:c=2+", "arc+"]
            .map(|chain| names.iter().map(move |name| format!("{chain}{name}")));
        let specs = names.iter().map(|name| name.to_string()).chain(["fltrust:row=0".into()]).chain(chains.into_iter().flatten());
        specs
            .filter_map(|spec| Some((spec.clone(), spec.parse::<Spec>().ok()?.into_rule())))
            // Clipped rows are of one norm, among which rounding chooses.
            .filter(|(spec, _)| !spec.ends_with("+cge") || spec.starts_with("nnm") || spec.starts_with("bucketing"))
            .filter(|(_, rule)| rule.check(N, f).is_ok() && Worst::new(rule, f, N, D, f).is_some())
            .collect()
    }

    /// Honest rows about a mean of that length.
    fn honest(count: usize, mean: f32, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..count).map(|_| (0..D).map(|k| mean * (k as f32).sin() + rng.f32() - 0.5).collect()).collect()
    }

    fn damage(scene: &Scene, row: &[f32]) -> f64 {
        let aggregate = scene.aggregate(row).unwrap();
        aggregate.iter().zip(scene.mean().unwrap()).map(|(&r, m)| (f64::from(r) - m).powi(2)).sum()
    }

    /// The row that the search on inner products finds is the one that trying rows on the rule finds, for every rule that can.
    #[test]
    fn both_searches_find_the_same_row() {
        let engine = Engine::cpu();
        let (mut differ, mut worse, mut all) = (Vec::new(), Vec::new(), 0);
        for (f, mean, seed) in [(2, 0.05, 1), (2, 1.0, 2), (3, 0.3, 3), (5, 0.05, 4)] {
            let rows = honest(N - f, mean, seed);
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            for (spec, rule) in able(f) {
                let try_rows = |rows: &Rows| Ok(engine.aggregate_blocking(&*rule, rows, f)?.values);
                let on_line = |line: &Rows, attackers| Some(worst_on_line(&engine, &rule, f, line, attackers).expect("able"));
                let slow = Scene::new(&rows, f).unwrap().with_rule(&try_rows);
                for attack in ["foe:nu=search", "alie:z=search"] {
                    let row = |scene: &Scene| by_name(attack).unwrap().row(scene).unwrap().unwrap();
                    let (slow_row, fast_row) = (row(&slow), row(&slow.with_line(&on_line)));
                    all += 1;
                    if slow_row != fast_row {
                        let (tried, found) = (damage(&slow, &slow_row), damage(&slow, &fast_row));
                        // Where many factors harm alike, as when the rule ignores the row, rounding may decide between them.
                        let what = format!("{spec}, f = {f}, {attack}: {found} and {tried}");
                        if (found - tried).abs() > 1e-3 * tried { worse.push(what) } else { differ.push(what) }
                    }
                }
            }
        }
        assert!(worse.is_empty(), "{worse:#?}");
        assert!(all > 200 && differ.len() * 10 < all, "{} of {all}: {differ:#?}", differ.len());
    }

    /// The definition on all coordinates, in f64.
    #[test]
    fn inner_products_tell_what_the_definition_says() {
        let engine = Engine::cpu();
        for (spec, rule) in
            able(2).into_iter().filter(|(spec, _)| ["average", "krum", "mda", "geometric_median", "nnm+krum"].contains(&&spec[..]))
        {
            let mut rows = honest(N - 2, 0.3, 5);
            rows.push(vec![0.0; D]);
            let worst = Worst::new(&rule, 2, N, D, 2).unwrap();
            let rows = Rows::from_vecs(&rows).unwrap();
            let found = engine.aggregate_blocking(&worst, &rows, 0).unwrap().values;
            let expected = Engine::reference_f64(&worst, &rows, 0).unwrap();
            let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            assert!(found.iter().zip(expected).all(|(x, y)| (f64::from(*x) - y).abs() < 1e-4 * largest), "{spec}");
        }
    }

    #[test]
    fn rules_that_order_coordinates_are_left_to_trying_rows() {
        let rows = honest(N - 2, 0.3, 5);
        let rows = Rows::from_vecs(&rows).unwrap();
        for (spec, able) in [("median", false), ("nnm+trimmed_mean", false), ("aksel", false), ("krum", true), ("nnm+mda", true)] {
            let rule = spec.parse::<Spec>().unwrap().into_rule();
            assert_eq!(worst_on_line(&Engine::cpu(), &rule, 2, &rows, 2).is_some(), able, "{spec}");
        }
        let krum = "krum".parse::<Spec>().unwrap().into_rule();
        assert_eq!(worst_on_line(&Engine::cpu(), &krum, 30, &rows, 2), None);
        assert_eq!(worst_on_line(&Engine::reference(), &krum, 2, &rows, 2), None);
    }
}
