//! What all engines share: which rows take part, when the data is read, what the report says.
//!
//! An engine offers its [`Passes`]; this module executes a plan with them. It never loops over the data itself.

use super::keys::EXPONENT;
use super::passes::{Centre, Passes, Term, Traffic, Weiszfelds};
use super::pivot::{self, Sample};
use crate::error::{Error, Result};
use crate::gram::Gram;
use crate::plan::{Plan, Solution, Solve, Weights, Weiszfeld};
use crate::report::Report;
use crate::rules::{NonFinite, Rule};

/// Settings that hold for every engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Seed of the column sample that picks the pivot row of distances. An attacker who does not know it cannot hide a
    /// row from the sample; one who does can at most cost one more read.
    pub seed: u64,
    /// Columns in the sample. Matrices with no more columns are read whole.
    pub sample: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0x5eed, sample: 8192 }
    }
}

/// Executes a rule on the rows that an engine holds; `absent` rows take no part and count against f.
///
/// After an error found in the data `out` holds NaN; after one found before the data is read it is untouched.
pub(crate) async fn execute<P: Passes>(
    passes: &mut P,
    rule: &dyn Rule,
    f: usize,
    options: &Options,
    absent: &[usize],
    device: String,
    out: &mut [f32],
) -> Result<Report> {
    let (n, d) = (passes.n(), passes.d());
    if out.len() != d {
        return Err(Error::OutputLength { got: out.len(), expected: d });
    }
    rule.check(n, f)?;
    let mut call = Call { rule, f, options, absent, bad: Vec::new(), report: blank(rule, device, n, d, f) };
    call.report.absent = absent.to_vec();
    call.participants(n)?;
    if d > 0
        && let Err(error) = call.run(passes, out).await
    {
        out.fill(f32::NAN);
        return Err(error);
    }
    let Traffic { passes, read, uploaded, downloaded } = passes.traffic();
    Ok(Report { passes, bytes_read: read, bytes_uploaded: uploaded, bytes_downloaded: downloaded, ..call.report })
}

/// A report that says nothing yet.
pub(crate) fn blank(rule: &dyn Rule, device: String, n: usize, d: usize, f: usize) -> Report {
    Report {
        rule: rule.spec(),
        device,
        n,
        d,
        f,
        kept: None,
        weights: None,
        scores: None,
        iterations: None,
        residual: None,
        converged: true,
        margin: None,
        non_finite: Vec::new(),
        absent: Vec::new(),
        passes: 0,
        hidden_row: false,
        bytes_read: 0,
        bytes_uploaded: 0,
        bytes_downloaded: 0,
    }
}

/// Most rows of a rule on distances: an exact table of all pairs takes some 40 n² bytes a thread.
const MOST_ROWS: usize = 4096;

struct Call<'a> {
    rule: &'a dyn Rule,
    f: usize,
    options: &'a Options,
    absent: &'a [usize],
    /// Rows left out because they are not finite, ascending.
    bad: Vec<usize>,
    report: Report,
}

/// Inner products of the rows that take part.
struct Geometry {
    rows: Vec<usize>,
    gram: Gram,
}

impl Call<'_> {
    /// The rows that take part and how many of them may be Byzantine, or the error that too many are missing.
    fn participants(&self, n: usize) -> Result<(Vec<usize>, usize)> {
        let missing: Vec<usize> = (0..n).filter(|i| self.absent.contains(i) || self.bad.contains(i)).collect();
        let rows: Vec<usize> = (0..n).filter(|i| !missing.contains(i)).collect();
        let lenient = self.rule.non_finite() == NonFinite::Propagate;
        if missing.len() > self.f && !lenient || rows.is_empty() {
            return Err(Error::NonFinite { rule: self.rule.name().into(), rows: missing, f: self.f });
        }
        let f = self.f.saturating_sub(missing.len());
        if !missing.is_empty() {
            self.rule.check(rows.len(), f)?;
        }
        Ok((rows, f))
    }

    /// Leaves out rows that turned out not to be finite, if the rule does that. True when the plan must be made again.
    fn found(&mut self, rows: &[usize]) -> Result<bool> {
        let mut all = [&self.report.non_finite[..], rows].concat();
        all.sort_unstable();
        all.dedup();
        self.report.non_finite = all;
        match self.rule.non_finite() {
            NonFinite::Propagate => Ok(false),
            NonFinite::LeaveOut => {
                self.bad.clone_from(&self.report.non_finite);
                Ok(!rows.is_empty())
            }
            NonFinite::Order if rows.len() + self.absent.len() > self.f => {
                let mut rows = [rows, self.absent].concat();
                rows.sort_unstable();
                Err(Error::NonFinite { rule: self.rule.name().into(), rows, f: self.f })
            }
            NonFinite::Order => Ok(false),
        }
    }

    async fn run<P: Passes>(&mut self, passes: &mut P, out: &mut [f32]) -> Result<()> {
        let (n, d) = (passes.n(), passes.d());
        let mut known: Option<Geometry> = None;
        loop {
            let (rows, f) = self.participants(n)?;
            let bad = match self.rule.plan(rows.len(), f, d) {
                Plan::Coordinate(stat) => passes.coordinate(&rows, stat, out).await?,
                Plan::Weighted(Weights::Uniform) => {
                    let weight = 1.0 / rows.len() as f64;
                    let terms: Vec<Term> = rows.iter().map(|&i| Term::new(i, weight)).collect();
                    self.note(n, &rows, &Solution::mean_of(&(0..rows.len()).collect::<Vec<_>>(), rows.len()));
                    passes.mix(&terms, rows[0], out).await?
                }
                Plan::Weighted(Weights::Solve(solver)) => {
                    let geometry = match known.take() {
                        Some(geometry) => geometry,
                        None => self.geometry(passes, &rows).await?,
                    };
                    let bad = without(&rows, &geometry.rows);
                    if bad.is_empty() {
                        return self.solve(passes, &*solver, &geometry, out).await;
                    }
                    known = Some(geometry);
                    bad
                }
                Plan::Weighted(Weights::Weiszfeld(how)) => {
                    let (found, rows_left) = self.weiszfeld(passes, &rows, how).await?;
                    let bad = without(&rows, &rows_left);
                    if bad.is_empty() {
                        let solution = Solution {
                            weights: found.weights,
                            iterations: Some(found.rounds),
                            residual: Some(found.residual),
                            converged: found.residual <= how.tolerance,
                            ..Solution::default()
                        };
                        return self.weigh(passes, &rows, &solution, out).await;
                    }
                    bad
                }
            };
            if !self.found(&bad)? {
                return Ok(());
            }
        }
    }

    async fn solve<P: Passes>(&mut self, passes: &mut P, solver: &dyn Solve, geometry: &Geometry, out: &mut [f32]) -> Result<()> {
        let solution = solver.solve(&geometry.gram);
        self.weigh(passes, &geometry.rows, &solution, out).await
    }

    /// y = Σ w_i x_i; a single row is copied as bits.
    async fn weigh<P: Passes>(&mut self, passes: &mut P, rows: &[usize], solution: &Solution, out: &mut [f32]) -> Result<()> {
        self.note(passes.n(), rows, solution);
        let terms = rows.iter().zip(&solution.weights).filter(|(_, w)| **w != 0.0);
        let terms: Vec<Term> = terms.map(|(&i, &w)| Term::new(i, w)).collect();
        if let [only] = terms[..] {
            return passes.copy_row(only.row, out).await;
        }
        passes.mix(&terms, rows[pivot::heaviest(&solution.weights)], out).await.map(|_| ())
    }

    /// Writes a solution into the report, in terms of all n rows.
    fn note(&mut self, n: usize, rows: &[usize], solution: &Solution) {
        let mut weights = vec![0.0; n];
        rows.iter().zip(&solution.weights).for_each(|(&i, &w)| weights[i] = w);
        self.report.kept = Some((0..n).filter(|&i| weights[i] != 0.0).collect());
        self.report.weights = Some(weights);
        self.report.scores = solution.scores.as_ref().map(|scores| {
            let mut all = vec![None; n];
            rows.iter().zip(scores).for_each(|(&i, &s)| all[i] = Some(s));
            all
        });
        self.report.iterations = solution.iterations;
        self.report.residual = solution.residual;
        self.report.converged = solution.converged;
        self.report.margin = solution.margin;
    }

    /// A look at a few columns.
    async fn sample<P: Passes>(&self, passes: &mut P, rows: &[usize]) -> Result<Sample> {
        if rows.len() > MOST_ROWS {
            let limit = format_args!("at most {MOST_ROWS} for a rule on distances, which keeps tables of n^2 numbers");
            return Err(Error::parameter(self.rule.name(), "n", rows.len(), limit));
        }
        let columns = pivot::columns(passes.d(), self.options.sample, self.options.seed);
        let values = passes.sample(rows, &columns).await?;
        Ok(Sample::new(rows, &values, columns.len(), passes.d()))
    }

    /// Inner products of those of `rows` that are finite: a look at a few columns, then one read centred on the row they
    /// suggest; one more when a row turns out to have hidden from the sample.
    async fn geometry<P: Passes>(&mut self, passes: &mut P, rows: &[usize]) -> Result<Geometry> {
        let sample = self.sample(passes, rows).await?;
        if sample.whole || sample.finite.is_empty() {
            return Ok(Geometry { rows: sample.finite, gram: sample.gram });
        }
        let (p, scales) = sample.pivot();
        let sums = passes.gram(&sample.finite, Centre::Row(sample.finite[p]), &scales).await?;
        let good: Vec<usize> = (0..scales.len()).filter(|&i| sums.largest[i] < EXPONENT).collect();
        let good_rows: Vec<usize> = good.iter().map(|&i| sample.finite[i]).collect();
        let gram = pivot::unscaled(&sums.products, &scales).of_rows(&good);
        let fits = |&i: &usize| pivot::fits(sums.largest[i].max(sums.largest[p]), scales[i]);
        let central = good.iter().position(|&i| i == p).is_some_and(|p| {
            let scores = pivot::central_scores(&gram);
            scores[p] <= 16.0 * scores.iter().copied().fold(f64::INFINITY, f64::min)
        });
        if good.is_empty() || good.iter().all(fits) && central {
            return Ok(Geometry { rows: good_rows, gram });
        }
        self.report.hidden_row = true;
        let largest: Vec<u32> = good.iter().map(|&i| sums.largest[i]).collect();
        let scales = pivot::scales_about_median(&largest);
        let sums = passes.gram(&good_rows, Centre::Median, &scales).await?;
        Ok(Geometry { rows: good_rows, gram: pivot::unscaled(&sums.products, &scales) })
    }

    /// Weiszfeld's iteration on those of `rows` that are finite; begun again when a row hid from the sample.
    async fn weiszfeld<P: Passes>(&mut self, passes: &mut P, rows: &[usize], how: Weiszfeld) -> Result<(Weiszfelds, Vec<usize>)> {
        let sample = self.sample(passes, rows).await?;
        let mut rows = sample.finite.clone();
        if rows.is_empty() {
            return Ok((Weiszfelds::start(&[]), rows));
        }
        let (mut p, mut scales) = sample.pivot();
        loop {
            let found = passes.weiszfeld(&rows, rows[p], &scales, how).await?;
            let good: Vec<usize> = (0..rows.len()).filter(|&i| found.largest[i] < EXPONENT).collect();
            // Weights go as inverse distances: the pivot is no more than four times as far as half of the rows.
            let mut weights = found.weights.clone();
            weights.sort_unstable_by(f64::total_cmp);
            let fits = good.len() == rows.len()
                && (0..rows.len()).all(|i| pivot::fits(found.largest[i].max(found.largest[p]), scales[i]))
                && found.weights[p] * 4.0 >= weights[weights.len() / 2];
            if fits || self.report.hidden_row || good.is_empty() {
                let left = good.iter().map(|&i| rows[i]).collect();
                return Ok((found, left));
            }
            self.report.hidden_row = true;
            let largest: Vec<u32> = good.iter().map(|&i| found.largest[i]).collect();
            rows = good.iter().map(|&i| rows[i]).collect();
            // The row of middle size is no larger than an honest one.
            p = pivot::middle(&largest);
            scales = pivot::scales_about(&largest, largest[p]);
        }
    }
}

/// Elements of `all` that are not in `some`; both ascending.
fn without(all: &[usize], some: &[usize]) -> Vec<usize> {
    all.iter().copied().filter(|i| !some.contains(i)).collect()
}
