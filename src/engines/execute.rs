//! What all engines share: which rows take part, when the data is read, what the report says.
//!
//! An engine offers its [`Passes`]; this module executes a plan with them. It never loops over the data itself.

use super::keys::EXPONENT;
use super::pair_sums::Running;
use super::passes::{Centre, Columns, First, Found, Frame, GIVEN, Mixed, ORIGIN, Output, Passes, Term, Traffic, Weiszfelds};
use super::pivot::{self, Sample};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, MedianOf, Mixing, Wants};
use crate::gram::MOST_ROWS;
use crate::gram::{Gram, ascending};
use crate::plan::{Mix, Plan, Solution, Solve, Stat, Weiszfeld};
use crate::report::Report;
use crate::rules::{Cohort, NonFinite, Rule};

/// Settings that hold for every engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Seed of the column sample that picks the pivot row of distances. An attacker who does not know it cannot hide a
    /// row from the sample; one who does can at most cost one more read.
    pub seed: u64,
    /// Columns in the sample: this many, but no more than an eighth of all (1024 at least). Matrices with no more columns than this are
    /// looked at whole.
    pub sample: usize,
    /// Does the report of a coordinate-wise rule say how often each worker was outside of the values kept? Costs some time, no read.
    pub diagnose: bool,
    /// Does the report say how long the kernels took by the device's own clock? Costs two timestamps a dispatch and one more transfer.
    pub device_time: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0x5eed, sample: 8192, diagnose: false, device_time: false }
    }
}

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) rule: &'a dyn Rule,
    pub(crate) f: usize,
    /// Rows that take no part and count against f.
    pub(crate) absent: &'a [usize],
}

/// What becomes of an engine's passes before they are made.
pub(crate) trait Wrap {
    type Of<P: Passes>: Passes<Out = P::Out>;
    fn wrap<P: Passes>(self, passes: P) -> Self::Of<P>;
}

/// Nothing: the engine sees all columns.
pub(crate) struct Alone;

impl Wrap for Alone {
    type Of<P: Passes> = P;
    fn wrap<P: Passes>(self, passes: P) -> P {
        passes
    }
}

/// Executes a rule on the rows that an engine holds.
///
/// After an error found in the data `out` holds NaN; after one found before the data is read it is untouched.
pub(crate) async fn execute<P: Passes>(
    passes: &mut P,
    Asked { rule, f, absent }: Asked<'_>,
    options: &Options,
    device: String,
    out: &mut P::Out,
) -> Result<Report> {
    let (n, d) = (passes.n(), passes.d());
    if out.len() != passes.width() {
        return Err(Error::OutputLength { got: out.len(), expected: passes.width() });
    }
    let mut call = Call { rule, f, options, absent, bad: Vec::new(), report: blank(rule, device, n, d, f) };
    call.report.absent = absent.to_vec();
    let everyone: Vec<usize> = (0..n).collect();
    rule.admit(&Cohort { total: n, members: &everyone, f, d })?;
    call.participants(n, d)?;
    if d > 0
        && let Err(error) = call.run(passes, out).await
    {
        out.spoil();
        return Err(error);
    }
    let device_seconds = passes.device_seconds().await;
    let Traffic { passes, read, uploaded, downloaded } = passes.traffic();
    Ok(Report { device_seconds, passes, bytes_read: read, bytes_uploaded: uploaded, bytes_downloaded: downloaded, ..call.report })
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
        objective: None,
        outside: None,
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
        device_seconds: None,
    }
}

struct Call<'a> {
    rule: &'a dyn Rule,
    f: usize,
    options: &'a Options,
    absent: &'a [usize],
    /// Rows left out because they are not finite, ascending.
    bad: Vec<usize>,
    report: Report,
}

/// What was measured of the rows that take part.
struct Measured {
    rows: Vec<usize>,
    /// Powers of two that bring the rows, and then the virtual ones, near 1.
    scales: Vec<f32>,
    /// Rows of the matrix and virtual rows, as they stand in `geometry.all`.
    all: Vec<usize>,
    geometry: Geometry,
    /// Was the data read?
    seen: bool,
}

impl Call<'_> {
    /// The rows that take part and how many of them may be Byzantine, or the error that too many are missing.
    fn participants(&self, n: usize, d: usize) -> Result<(Vec<usize>, usize)> {
        let missing: Vec<usize> = (0..n).filter(|i| self.absent.contains(i) || self.bad.contains(i)).collect();
        let rows: Vec<usize> = (0..n).filter(|i| !missing.contains(i)).collect();
        let lenient = self.rule.non_finite() == NonFinite::Propagate;
        if missing.len() > self.f && !lenient || rows.is_empty() {
            return Err(Error::NonFinite { rule: self.rule.name().into(), rows: missing, f: self.f });
        }
        let f = self.f.saturating_sub(missing.len());
        self.rule.admit(&Cohort { total: n, members: &rows, f, d })?;
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

    async fn run<P: Passes>(&mut self, passes: &mut P, out: &mut P::Out) -> Result<()> {
        let (n, d) = (passes.n(), passes.d());
        let mut known: Option<(Wants, Measured)> = None;
        loop {
            let (rows, f) = self.participants(n, d)?;
            let Plan { mix, stat } = self.rule.plan(&Cohort { total: n, members: &rows, f, d });
            let bad = match mix {
                Mix::Rows => self.columns(passes, &rows, First::Rows, stat, out).await?,
                Mix::Counted(counts) => self.columns(passes, &rows, First::Counted(&counts), stat, out).await?,
                Mix::Weighted(weights) => self.columns(passes, &rows, First::Weighted(&weights), stat, out).await?,
                Mix::Solve(solver) => {
                    let wants = solver.wants();
                    let measured = match known.take() {
                        Some((asked, measured)) if asked == wants => measured,
                        _ if wants.any() => self.measure(passes, &wants, &rows).await?,
                        _ => Measured::nothing(&rows),
                    };
                    let bad = without(&rows, &measured.rows);
                    if bad.is_empty() {
                        let measured = match wants.median {
                            Some(MedianOf::MixedRows) => self.about_mixed_median(passes, &*solver, measured).await?,
                            _ => measured,
                        };
                        let solution = passes.on_threads(|| solver.solve(&measured.geometry))?;
                        self.apply(passes, &measured, &solution, stat, out).await?
                    } else {
                        known = Some((wants, measured));
                        bad
                    }
                }
                Mix::Weiszfeld(how) => {
                    let (found, rows_left) = self.weiszfeld(passes, &rows, how).await?;
                    let bad = without(&rows, &rows_left);
                    if bad.is_empty() {
                        let solution = Solution {
                            iterations: Some(found.rounds),
                            residual: Some(found.residual),
                            converged: found.residual <= how.tolerance,
                            ..Solution::weights(found.weights)
                        };
                        self.apply(passes, &Measured::nothing(&rows), &solution, stat, out).await?
                    } else {
                        bad
                    }
                }
            };
            if !self.found(&bad)? {
                return Ok(());
            }
        }
    }

    /// y = stat(W·X).
    async fn apply<P: Passes>(
        &mut self,
        passes: &mut P,
        measured: &Measured,
        solution: &Solution,
        stat: Stat,
        out: &mut P::Out,
    ) -> Result<Vec<usize>> {
        let mixing = solution.mixing.clone().padded(measured.all.len());
        self.note(passes.n(), measured, &mixing, solution);
        if stat == Stat::Identity {
            return weigh(passes, measured, mixing.weights(0), out).await;
        }
        if let Some(copied) = mixing.selection() {
            let rows: Vec<usize> = copied.iter().map(|&i| measured.all[i]).collect();
            if rows.is_sorted() {
                return self.columns(passes, &rows, First::Rows, stat, out).await;
            }
        }
        let centre = passes.on_threads(|| measured.centre(&mixing));
        let mixed = Mixed { mixing: &mixing, centre, scales: &measured.scales };
        self.columns(passes, &measured.all, First::Mixed(mixed), stat, out).await
    }

    /// A statistic of each column. Its rows with NaN or infinite values.
    async fn columns<P: Passes>(
        &mut self,
        passes: &mut P,
        rows: &[usize],
        first: First<'_>,
        stat: Stat,
        out: &mut P::Out,
    ) -> Result<Vec<usize>> {
        let what = Columns { rows, first, stat, diagnose: self.options.diagnose };
        let Found { bad, outside } = passes.coordinate(&what, out).await?;
        // Mixed rows are workers' as long as there are as many.
        let workers = match first {
            First::Mixed(Mixed { mixing, .. }) => self.report.n - self.absent.len() - self.bad.len() == mixing.rows(),
            First::Rows | First::Counted(_) | First::Weighted(_) => true,
        };
        if what.diagnose && workers {
            let mut all = vec![None; self.report.n];
            rows.iter().zip(outside).for_each(|(&i, count)| all[i] = Some(count));
            self.report.outside = Some(all);
        }
        Ok(bad)
    }

    /// Writes a solution into the report, in terms of all n rows.
    fn note(&mut self, n: usize, measured: &Measured, mixing: &Mixing, solution: &Solution) {
        let used = measured.rows.iter().enumerate().filter(|(at, _)| mixing.uses(*at));
        self.report.kept = Some(used.map(|(_, &i)| i).collect());
        if mixing.rows() == 1 {
            let mut weights = vec![0.0; n];
            measured.rows.iter().zip(mixing.weights(0)).for_each(|(&i, &w)| weights[i] = w);
            self.report.weights = Some(weights);
        }
        self.report.scores = solution.scores.as_ref().filter(|scores| scores.len() == measured.rows.len()).map(|scores| {
            let mut all = vec![None; n];
            measured.rows.iter().zip(scores).for_each(|(&i, &s)| all[i] = Some(s));
            all
        });
        self.report.objective = solution.objective;
        self.report.iterations = solution.iterations;
        self.report.residual = solution.residual;
        self.report.converged = solution.converged;
        self.report.margin = solution.margin;
    }

    /// A look at a few columns of some rows and of virtual ones.
    async fn sample<P: Passes>(&self, passes: &mut P, rows: &[usize], virtuals: &[usize], origin: bool) -> Result<Sample> {
        if rows.len() > MOST_ROWS {
            let limit = format_args!("at most {MOST_ROWS} for a rule on distances, which keeps tables of n^2 numbers");
            return Err(Error::parameter(self.rule.name(), "n", rows.len(), limit));
        }
        let columns = pivot::columns(passes.d(), self.options.sample, self.options.seed);
        let values = passes.sample(&[rows, virtuals].concat(), &columns).await?;
        let whole = columns.len() == passes.d();
        Ok(passes.on_threads(|| Sample::new(rows, &values, columns.len(), whole, origin)))
    }

    /// What a solver wants to know of those of `rows` that are finite: a look at a few columns, then one read centred on the row
    /// they suggest; one more when a row turns out to have hidden from the sample.
    async fn measure<P: Passes>(&mut self, passes: &mut P, wants: &Wants, rows: &[usize]) -> Result<Measured> {
        let about_median = wants.median == Some(MedianOf::Rows);
        // Norms alone are best measured from the origin itself.
        let about_origin = Wants { signs: None, ..wants.clone() } == Wants::norms();
        let mut virtuals = Vec::new();
        if wants.norms && !about_origin {
            virtuals.push(ORIGIN);
        }
        if let Some(given) = &wants.given {
            passes.give(given.clone());
            virtuals.push(GIVEN);
        }
        let sample = self.sample(passes, rows, &virtuals, about_origin).await?;
        if sample.finite.is_empty() {
            return Ok(Measured::nothing(&[]));
        }
        let p = passes.on_threads(|| sample.pivot());
        // No median is larger than half of the rows' largest values.
        let size = |centre: Centre, largest: &[u32]| match centre {
            Centre::Row(ORIGIN) => 0,
            Centre::Row(_) => largest[p],
            Centre::Median { voters } => largest[pivot::middle(&largest[..voters])],
        };
        let mut rows = sample.finite.clone();
        let mut centre = match () {
            () if about_origin => Centre::Row(ORIGIN),
            () if about_median => Centre::Median { voters: rows.len() },
            () => Centre::Row(rows[p]),
        };
        let mut view = View::new(&rows, &virtuals, centre, &sample.largest, size(centre, &sample.largest));
        let (mut gram, mut anchored) = (sample.gram, sample.anchored);
        if !sample.whole {
            let running = passes.gram(&view.rows, &view.frames()).await?;
            let largest;
            (gram, anchored, largest) = passes.on_threads(|| view.products(running));
            let good: Vec<usize> = (0..view.rows.len()).filter(|&i| largest[i] < EXPONENT).collect();
            let voters = good.iter().filter(|&&i| i < rows.len()).count();
            let centred_well = match centre {
                Centre::Row(ORIGIN) => true,
                // A median that rows voted for which are not finite is not the one that was wanted.
                Centre::Median { .. } => voters == rows.len(),
                Centre::Row(_) => largest[p] < EXPONENT,
            };
            let fit = view.fits(&good, &largest, size(centre, &largest));
            if good.len() < view.rows.len() {
                gram = gram.of_rows(&good);
                anchored = anchored.map(|anchored| anchored.of_rows(&good));
            }
            let central = || match centre {
                Centre::Row(row) if row != ORIGIN => {
                    good.iter().position(|&i| i == p).is_some_and(|p| is_central(&gram, voters, p))
                }
                _ => true,
            };
            let served = centred_well && fit && passes.on_threads(central);
            rows = good.iter().filter_map(|&i| rows.get(i).copied()).collect();
            view.keep(&good);
            if !rows.is_empty() && !served {
                self.report.hidden_row = true;
                if !about_origin {
                    centre = Centre::Median { voters };
                }
                let largest: Vec<u32> = good.iter().map(|&i| largest[i]).collect();
                view = View::new(&rows, &virtuals, centre, &largest, size(centre, &largest));
                let running = passes.gram(&view.rows, &view.frames()).await?;
                (gram, anchored, _) = passes.on_threads(|| view.products(running));
            }
        }
        let n = rows.len();
        let View { rows: mut all, mut scales, .. } = view;
        let place = |row: usize| all.iter().position(|&i| i == row);
        let workers = gram.of_first(n).into_owned();
        let mut geometry =
            Geometry { origin: place(ORIGIN), given: place(GIVEN), anchored, gram: workers, all: gram, ..Geometry::blank(0) };
        if about_median {
            geometry.to_median = (0..n).map(|i| geometry.gram.at(i, i)).collect();
        }
        if about_origin {
            // The centre itself has no products.
            geometry.origin = Some(geometry.all.n());
            geometry.all = geometry.all.with_zero_row();
            all.push(ORIGIN);
            scales.push(1.0);
        }
        if let Some(samples) = wants.signs {
            let columns = samples.of_round(0, passes.d());
            let values = passes.sample(&rows, &columns).await?;
            geometry.signs = values.chunks(columns.len().max(1)).map(shares_of_signs).collect();
        }
        if let Some(samples) = wants.samples {
            for round in 0..samples.rounds {
                let columns = samples.of_round(round, passes.d());
                if columns.len() == passes.d() {
                    geometry.samples.push(geometry.about_virtual().clone());
                    continue;
                }
                let values = passes.sample(&all, &columns).await?;
                let sample = passes.on_threads(|| Sample::new(&rows, &values, columns.len(), true, false));
                geometry.samples.push(sample.anchored.unwrap_or(sample.gram));
            }
        }
        Ok(Measured { rows, scales, all, geometry, seen: true })
    }

    /// For a solver that wants the distances of rows that are mixed first to their median: one read.
    async fn about_mixed_median<P: Passes>(&mut self, passes: &mut P, solver: &dyn Solve, measured: Measured) -> Result<Measured> {
        let mixing = passes.on_threads(|| solver.mixing_before_median(&measured.geometry))?.padded(measured.all.len());
        let mixed = passes.on_threads(|| measured.geometry.mixed(&mixing).gram);
        // The median of m rows is no farther from a central one than √(m/2) times the distance that half of the rows keep.
        let central = pivot::most_central(&mixed);
        let distances: Vec<f64> = (0..mixed.n()).map(|i| mixed.distance2(i, central).sqrt()).collect();
        let half = distances[ascending(&distances)[mixed.n() / 2]];
        let sizes: Vec<f32> = distances.iter().map(|r| pivot::scale_of(r.max(half))).collect();
        let how = Mixed { mixing: &mixing, centre: measured.centre(&mixing), scales: &measured.scales };
        let squares = passes.deviations(&measured.all, how, &sizes).await?;
        let to_median = squares.iter().zip(&sizes).map(|(square, s)| square.value() / f64::from(*s) / f64::from(*s)).collect();
        Ok(Measured { geometry: Geometry { to_median, ..measured.geometry }, ..measured })
    }

    /// Weiszfeld's iteration on those of `rows` that are finite; begun again when a row hid from the sample.
    async fn weiszfeld<P: Passes>(&mut self, passes: &mut P, rows: &[usize], how: Weiszfeld) -> Result<(Weiszfelds, Vec<usize>)> {
        let sample = self.sample(passes, rows, &[], false).await?;
        let mut rows = sample.finite.clone();
        if rows.is_empty() {
            return Ok((Weiszfelds::start(&[]), rows));
        }
        let mut p = passes.on_threads(|| sample.pivot());
        // A tiny row in the middle is no measure of the others: weights begin with the inverse of a row's size, and it would have them all.
        let size = |largest: &[u32], p: usize| largest[p].max(largest[pivot::middle(largest)]);
        let mut scales = pivot::scales_about(&sample.largest, size(&sample.largest, p));
        loop {
            let found = passes.weiszfeld(&rows, rows[p], &scales, how).await?;
            let good: Vec<usize> = (0..rows.len()).filter(|&i| found.largest[i] < EXPONENT).collect();
            // Weights go as inverse distances: the pivot is no more than four times as far as half of the rows.
            let mut weights = found.weights.clone();
            weights.sort_unstable_by(f64::total_cmp);
            let least = size(&found.largest, p);
            let fits = good.len() == rows.len()
                && (0..rows.len()).all(|i| pivot::fits(found.largest[i].max(least), scales[i]))
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

/// How rows are seen in a Gram pass: about a centre and, where virtual rows are among them, about the first of those as well.
struct View {
    /// Rows of the matrix, then virtual ones.
    rows: Vec<usize>,
    centre: Centre,
    scales: Vec<f32>,
    /// Position of the first virtual row, and the scales about it.
    anchor: Option<(usize, Vec<f32>)>,
}

impl View {
    /// Of rows with these largest magnitudes, about a centre no larger than `size`.
    fn new(rows: &[usize], virtuals: &[usize], centre: Centre, largest: &[u32], size: u32) -> Self {
        let anchor = (!virtuals.is_empty()).then(|| (rows.len(), pivot::scales_about(largest, largest[rows.len()])));
        Self { rows: [rows, virtuals].concat(), centre, scales: pivot::scales_about(largest, size), anchor }
    }

    fn frames(&self) -> Vec<Frame<'_>> {
        let anchor = self.anchor.as_ref().map(|(at, scales)| Frame { centre: Centre::Row(self.rows[*at]), scales });
        [Frame { centre: self.centre, scales: &self.scales }].into_iter().chain(anchor).collect()
    }

    /// The products in the first frame, in the second, and the rows' largest magnitudes.
    fn products(&self, running: Running) -> (Gram, Option<Gram>, Vec<u32>) {
        let sums = running.finish();
        let scales: Vec<_> = self.frames().iter().map(|frame| frame.scales).collect();
        let (gram, anchored) = pivot::reconciled(&sums, &scales);
        (gram, anchored, sums.largest)
    }

    /// Did the scales serve rows of these largest magnitudes, about a centre no larger than `size`?
    fn fits(&self, rows: &[usize], largest: &[u32], size: u32) -> bool {
        let fit = |scales: &[f32], size: u32| rows.iter().all(|&i| pivot::fits(largest[i].max(size), scales[i]));
        fit(&self.scales, size) && self.anchor.as_ref().is_none_or(|(at, scales)| fit(scales, largest[*at]))
    }

    /// Forgets all rows but those at `places`, and the anchor, whose place they may have changed.
    fn keep(&mut self, places: &[usize]) {
        self.rows = places.iter().map(|&i| self.rows[i]).collect();
        self.scales = places.iter().map(|&i| self.scales[i]).collect();
        self.anchor = None;
    }
}

impl Measured {
    /// For solvers that look at nothing.
    fn nothing(rows: &[usize]) -> Self {
        let geometry = Geometry::blank(rows.len());
        Self { rows: rows.to_vec(), scales: vec![1.0; rows.len()], all: rows.to_vec(), geometry, seen: false }
    }

    /// What sums of rows are centred on: the origin where it takes part, for then weights may be of any size, and where no row is known to
    /// be no far one; else the row of the largest weight, or a central one.
    fn centre(&self, mixing: &Mixing) -> usize {
        let origin = self.all.iter().position(|&i| i == ORIGIN).filter(|&at| mixing.uses(at));
        match mixing.rows() {
            _ if origin.is_some() => ORIGIN,
            2.. if !self.seen => ORIGIN,
            1 => self.all[pivot::heaviest(mixing.weights(0))],
            _ => self.rows.get(pivot::most_central(&self.geometry.gram)).copied().unwrap_or(ORIGIN),
        }
    }
}

/// y = Σ w_i x_i; a single row is copied as bits.
async fn weigh<P: Passes>(passes: &mut P, measured: &Measured, weights: &[f64], out: &mut P::Out) -> Result<Vec<usize>> {
    let terms = measured.all.iter().zip(weights).filter(|(_, w)| **w != 0.0);
    let terms: Vec<Term> = terms.map(|(&i, &w)| Term::new(i, w)).collect();
    if let [only] = terms[..]
        && only.exact == 1.0
        && measured.seen
    {
        return passes.copy_row(only.row, out).await.map(|()| Vec::new());
    }
    passes.mix(&terms, measured.centre(&Mixing::row(weights.to_vec())), out).await
}

/// The shares of positive, negative and zero values.
fn shares_of_signs(values: &[f32]) -> [f64; 3] {
    let share = |is: fn(f32) -> bool| values.iter().filter(|v| is(**v)).count() as f64 / values.len() as f64;
    [share(|v| v > 0.0), share(|v| v < 0.0), share(|v| v == 0.0)]
}

/// Is row p no farther from the middle of the first n rows than four times the most central one?
fn is_central(gram: &Gram, n: usize, p: usize) -> bool {
    let scores = pivot::central_scores(&gram.of_first(n));
    scores[p] <= 16.0 * scores.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Elements of `all` that are not in `some`; both ascending.
fn without(all: &[usize], some: &[usize]) -> Vec<usize> {
    all.iter().copied().filter(|i| !some.contains(i)).collect()
}
