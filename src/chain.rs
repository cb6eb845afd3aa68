//! Pre-aggregations before a rule, composed in n-space.

use crate::error::{Error, Result};
use crate::geometry::{Geometry, MedianOf, Mixing, Wants};
use crate::gram::MOST_ROWS;
use crate::plan::{DeviceSolve, Mix, Plan, Solution, Solve};
use crate::pre::PreAggregation;
use crate::resilience::{Resilience, kappa_after_nnm};
use crate::rules::{Cohort, Given, Rule};
use std::sync::Arc;

/// Any number of pre-aggregations before a rule; itself a rule.
///
/// Each stage is a weighted sum of what comes before, so all stages together are one matrix W, made from inner products alone:
/// Gram(WX) = W·Gram(X)·Wᵀ. Rules on distances never form the mixed rows; coordinate-wise rules mix and order them in one
/// kernel. There is no n × d temporary.
///
/// - Hostile input: rows with NaN or infinite values are left out before the first stage, as (n−k, f−k).
/// - Cost: two reads of the data at most (three for Aksel).
///
/// ```
/// use resam::{Engine, Rows, Spec};
/// let spec: Spec = "nnm+bucketing:s=2,seed=7+krum".parse()?;
/// let data: Vec<f32> = (0..60).map(|i| (i * i % 17) as f32).collect();
/// let rows = Rows::from_slice(&data, 12, 5)?;
/// let robust = Engine::cpu().aggregate_blocking(spec.rule(), &rows, 2)?;
/// assert_eq!(robust.report.rule, "nnm+bucketing:seed=7+krum");
/// # Ok::<(), resam::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Chain {
    stages: Vec<Stage<dyn PreAggregation>>,
    rule: Stage<dyn Rule>,
}

/// A stage and its own f, if it has one.
#[derive(Debug)]
pub struct Stage<T: ?Sized> {
    what: Arc<T>,
    f: Option<usize>,
}

impl<T: ?Sized> Clone for Stage<T> {
    fn clone(&self) -> Self {
        Self { what: self.what.clone(), f: self.f }
    }
}

impl<T: ?Sized> Stage<T> {
    /// A stage; without an f of its own it takes the caller's.
    pub fn new(what: Arc<T>, f: Option<usize>) -> Self {
        Self { what, f }
    }

    /// Its own f, if it has one.
    pub(crate) fn own(&self) -> Option<usize> {
        self.f
    }

    /// What it is, without its f.
    pub(crate) fn into_inner(self) -> Arc<T> {
        self.what
    }

    /// Something else in its place, if there is something.
    fn with(&self, what: Option<Arc<T>>) -> Self {
        Self { what: what.unwrap_or_else(|| self.what.clone()), f: self.f }
    }

    /// Its f for a cohort: its own less the rows left out, or the cohort's.
    fn f(&self, cohort: &Cohort<'_>) -> usize {
        self.f.map_or(cohort.f, |f| f.saturating_sub(cohort.total - cohort.n()))
    }

    fn spec(&self, spec: String) -> String {
        match self.f {
            None => spec,
            Some(f) => format!("{spec}{}f={f}", if spec.contains(':') { ',' } else { ':' }),
        }
    }
}

impl Chain {
    /// Pre-aggregations in order, then a rule.
    pub fn new(stages: Vec<Stage<dyn PreAggregation>>, rule: Stage<dyn Rule>) -> Self {
        Self { stages, rule }
    }

    /// The stages with what each is handed, and the cohort of the rule.
    fn walk<R>(
        &self,
        cohort: &Cohort<'_>,
        mut each: impl FnMut(&dyn PreAggregation, usize, usize) -> Result<()>,
        last: impl FnOnce(&Cohort<'_>) -> R,
    ) -> Result<R> {
        let mut n = cohort.n();
        for stage in &self.stages {
            each(&*stage.what, n, stage.f(cohort))?;
            n = stage.what.rows(n);
        }
        let f = self.rule.f(cohort);
        if n == cohort.n() {
            return Ok(last(&Cohort { f, ..*cohort }));
        }
        // Rows of its own, no longer those of workers.
        let members: Vec<usize> = (0..n).collect();
        Ok(last(&Cohort { total: n, members: &members, f, d: cohort.d }))
    }
}

impl Rule for Chain {
    fn name(&self) -> &'static str {
        self.rule.what.name()
    }
    fn spec(&self) -> String {
        let stages = self.stages.iter().map(|stage| stage.spec(stage.what.spec()));
        stages.chain([self.rule.spec(self.rule.what.spec())]).collect::<Vec<_>>().join("+")
    }
    fn definition(&self) -> &'static str {
        self.rule.what.definition()
    }
    fn needs(&self) -> &'static str {
        self.rule.what.needs()
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        let mut rows = n;
        for stage in &self.stages {
            stage.what.check(rows, stage.f.unwrap_or(f)).map_err(|error| made_of(error, n, rows))?;
            rows = stage.what.rows(rows);
        }
        self.rule.what.check(rows, self.rule.f.unwrap_or(f)).map_err(|error| made_of(error, n, rows))
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        if cohort.n() > MOST_ROWS {
            let limit = format_args!("at most {MOST_ROWS} behind a pre-aggregation, which keeps tables of n^2 numbers");
            return Err(Error::parameter(&self.spec(), "n", cohort.n(), limit));
        }
        self.walk(cohort, |stage, n, f| stage.check(n, f), |c| self.rule.what.admit(c))??;
        // A rule that looks at the values themselves would need the mixed rows to be formed.
        let looks = |plan: Plan| match plan.mix {
            Mix::Weiszfeld(_) | Mix::Counted(_) | Mix::Weighted(_) => true,
            Mix::Solve(solver) => solver.wants().signs.is_some(),
            Mix::Rows => false,
        };
        match self.walk(cohort, |_, _, _| Ok(()), |c| looks(self.rule.what.plan(c)))? {
            true => Err(Error::Given {
                rule: self.rule.what.spec(),
                what: "rows from a pre-aggregation, which are never formed".into(),
            }),
            false => Ok(()),
        }
    }
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        // Weights are of workers, and mixed rows are not.
        if matches!(given, Given::Weights(_)) {
            let what = "weights of workers: rows from a pre-aggregation are no single worker's".into();
            return Err(Error::Given { rule: self.spec(), what });
        }
        let rule = Stage { what: self.rule.what.given(given)?, f: self.rule.f };
        Ok(Arc::new(Self { stages: self.stages.clone(), rule }))
    }
    fn redrawn(&self, draw: u64) -> Option<Arc<dyn Rule>> {
        let stages: Vec<_> = self.stages.iter().map(|stage| stage.what.redrawn(draw)).collect();
        let rule = self.rule.what.redrawn(draw);
        if rule.is_none() && stages.iter().all(Option::is_none) {
            return None;
        }
        let stages = self.stages.iter().zip(stages).map(|(stage, drawn)| stage.with(drawn)).collect();
        Some(Arc::new(Self { stages, rule: self.rule.with(rule) }))
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        self.kappa(n, f, d).lambda_from_kappa()
    }
    fn kappa(&self, n: usize, f: usize, d: usize) -> Resilience {
        match &self.stages[..] {
            [nnm] if nnm.what.name() == "nnm" && nnm.f.is_none() && self.rule.f.is_none() => {
                self.rule.what.kappa(n, f, d).map(|kappa| kappa_after_nnm(kappa, n, f))
            }
            _ => Resilience::Unknown,
        }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let mut stages = Vec::new();
        let push = |stage: &dyn PreAggregation, n, f| {
            stages.push(stage.solver(n, f));
            Ok(())
        };
        let Plan { mix, stat } = self.walk(cohort, push, |c| self.rule.what.plan(c)).expect("collecting does not fail");
        let last = match mix {
            Mix::Solve(solver) => Some(solver),
            // `admit` refuses the others.
            Mix::Rows | Mix::Counted(_) | Mix::Weighted(_) | Mix::Weiszfeld(_) => None,
        };
        Plan { mix: Mix::Solve(Box::new(Composite { stages, last })), stat }
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let mut mixed = rows.to_vec();
        let mix = |stage: &dyn PreAggregation, _, f| {
            mixed = stage.reference(&mixed, f);
            Ok(())
        };
        let mut members = Vec::new();
        let (total, f) = self
            .walk(cohort, mix, |c| {
                members = c.members.to_vec();
                (c.total, c.f)
            })
            .expect("mixing does not fail");
        self.rule.what.reference(&mixed, &Cohort { total, members: &members, f, d: cohort.d })
    }
}

/// The same error, with where its number of rows comes from.
fn made_of(error: Error, workers: usize, rows: usize) -> Error {
    match error {
        Error::Requirement { rule, n, f, needs } if rows != workers => {
            let needs = format!("{needs}; what comes before it makes {rows} rows of {workers}");
            Error::Requirement { rule, n, f, needs }
        }
        other => other,
    }
}

/// Solvers one after the other, as one.
#[derive(Debug)]
struct Composite {
    stages: Vec<Box<dyn Solve>>,
    last: Option<Box<dyn Solve>>,
}

impl Composite {
    /// What the stages before the last make of the rows, the geometry of that, and how close their selections were.
    fn mixed(&self, rows: &Geometry) -> Result<(Mixing, Geometry, Option<f64>)> {
        let (n, width) = (rows.n(), rows.all.n());
        let mut made: Option<Geometry> = None;
        let mut mixing: Option<Mixing> = None;
        let mut closest: Option<f64> = None;
        for (at, stage) in self.stages.iter().enumerate() {
            let geometry = made.as_ref().unwrap_or(rows);
            let Solution { mixing: next, margin, .. } = stage.solve(geometry)?;
            let next = next.padded(geometry.all.n());
            let wanted = self.stages[at + 1..].iter().chain(&self.last).any(|solver| solver.wants().any());
            made = Some(if wanted { geometry.mixed(&next) } else { Geometry::blank(next.rows()) });
            mixing = Some(match mixing {
                Some(before) => next.after(&before.with_virtual(n, width)),
                None => next,
            });
            closest = least(closest, margin);
        }
        Ok((mixing.unwrap_or_else(|| Mixing::identity(n).padded(width)), made.unwrap_or_else(|| rows.clone()), closest))
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).min_by(f64::total_cmp)
}

impl Solve for Composite {
    fn wants(&self) -> Wants {
        let mut wants = self.stages.iter().chain(&self.last).fold(Wants::nothing(), |wants, solver| wants.and(solver.wants()));
        // A median is that of mixed rows.
        wants.median = wants.median.map(|_| MedianOf::MixedRows);
        wants
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let (mixing, mixed, margin) = self.mixed(geometry)?;
        let Some(last) = &self.last else { return Ok(Solution { margin, ..Solution::new(mixing) }) };
        let solution = last.solve(&mixed)?;
        let whole = mixing.with_virtual(geometry.n(), geometry.all.n());
        let weights = solution.mixing.padded(whole.rows()).after(&whole);
        Ok(Solution { mixing: weights, margin: least(solution.margin, margin), ..solution })
    }
    fn mixing_before_median(&self, geometry: &Geometry) -> Result<Mixing> {
        Ok(self.mixed(geometry)?.0)
    }
    fn on_device(&self) -> Option<DeviceSolve> {
        match (&self.stages[..], &self.last) {
            ([only], None) => only.on_device(),
            _ => None,
        }
    }
}
