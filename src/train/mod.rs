//! Robust distributed training, simulated in one process: momentum at the workers, a rule at the server.
//!
//! At step t = 0, 1, … (letters: n workers, d parameters, f Byzantine, β momentum):
//! 1. The server broadcasts θₜ.
//! 2. Each honest worker draws a mini-batch, takes the gradient of its loss (L2 included), clips it if asked, updates
//!    its momentum m ← β·m + (1 − β)·g (at first m = 0) and sends m.
//! 3. The Byzantine workers see these rows and all send the row of an [attack](crate::attacks).
//! 4. The server combines the n rows to R and steps θₜ₊₁ = θₜ − γₜ·R. It keeps no momentum of its own.
//!
//! This is the algorithm of Farhadkhani et al., "Byzantine Machine Learning Made Easy by Resilient Averaging of
//! Momentums", ICML 2022. The loop knows no rule, attack or model: it asks a [`Server`], an [`Attack`] and a [`Model`], and
//! yours serve as well. Rows 0 … n−f−1 are the honest workers', the last f the Byzantine ones'.
//!
//! Everything follows from [`Config::seed`]: worker i draws the same batches whatever the rule, the attack or β.
//!
//! ```
//! use resam::{attacks::by_name, Rows, train::{Config, Network, digits, train}};
//!
//! let data = digits::load()?;
//! let model = Network::mlp(64, &[16], 10);
//! let config = Config { workers: 5, byzantine: 1, beta: 0.9, steps: 20, ..Config::default() };
//! // Any rule: here the plain average.
//! let mut average = |sent: &Rows| -> Result<Vec<f32>, String> {
//!     Ok((0..sent.d()).map(|k| sent.iter().map(|row| row[k]).sum::<f32>() / sent.n() as f32).collect())
//! };
//! let history = train(&model, &data, &config, &mut *by_name("alie")?, &mut average)?;
//! assert_eq!(history.points.last().unwrap().step, 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cifar;
mod dataset;
pub mod datasets;
pub mod digits;
pub mod figure;
pub mod heatmap;
mod idx;
pub mod model;
mod network;
mod partition;
mod server;

pub use crate::attacks::BoxError;
pub use dataset::{Dataset, Split};
pub use model::Model;
pub use network::Network;
pub use partition::Partition;
pub use server::{RuleServer, Server};

use std::{cell::RefCell, iter};

use fastrand::Rng;

use crate::Rows;
use crate::attacks::{AskLine, AskRule, Attack, AttackError, Scene, mean, narrow};
use crate::gram::MOST_ROWS;
use crate::matrix::room;

/// Most examples in a step, of all workers.
const TOGETHER: usize = 1 << 20;

/// The learning rate γₜ = initial / (1 + decay·⌊t / hold⌋).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// γ₀.
    pub initial: f32,
    /// Steps between two drops; 0 keeps the rate constant.
    pub hold: usize,
    /// How much each drop adds to the divisor.
    pub decay: f32,
}

impl Rate {
    /// γₜ.
    pub fn at(self, t: usize) -> f32 {
        self.initial / (1.0 + self.decay * t.checked_div(self.hold).unwrap_or(0) as f32)
    }
}

/// The settings of one run; the defaults suit the [`digits`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// n, all workers.
    pub workers: usize,
    /// f, the Byzantine ones among them; below n.
    pub byzantine: usize,
    /// β in [0, 1).
    pub beta: f32,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Examples in a mini-batch, drawn with replacement.
    pub batch: usize,
    /// The learning rate γₜ.
    pub rate: Rate,
    /// How the training data are split over the honest workers.
    pub partition: Partition,
    /// Factor of ½‖θ‖² in the loss.
    pub l2: f32,
    /// Longest norm of a gradient before it enters the momentum, if any.
    pub clip: Option<f32>,
    /// The only source of randomness.
    pub seed: u64,
    /// Steps between two measurements; the start and the end are always measured.
    pub measure: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 15,
            byzantine: 5,
            beta: 0.99,
            steps: 600,
            batch: 25,
            rate: Rate { initial: 1.0, hold: 0, decay: 1.0 },
            partition: Partition::Iid,
            l2: 1e-4,
            clip: None,
            seed: 1,
            measure: 10,
        }
    }
}

impl Config {
    /// Whether a run can start.
    ///
    /// # Errors
    /// [`TrainError::Setting`], which names the setting and what it must be.
    pub fn check(&self) -> Result<(), TrainError> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        for (good, setting, needs) in [
            (self.byzantine < self.workers, "byzantine", "fewer than the workers"),
            (self.workers <= MOST_ROWS, "workers", "at most 4096"),
            (self.batch <= TOGETHER / self.workers.clamp(1, TOGETHER), "batch", "at most 2^20 examples a step, of all workers"),
            ((0.0..1.0).contains(&self.beta), "beta", "at least 0 and below 1"),
            (self.steps > 0, "steps", "at least 1"),
            (self.batch > 0, "batch", "at least 1"),
            (positive(self.rate.initial), "learning rate", "finite and above 0"),
            (self.rate.decay.is_finite() && self.rate.decay >= 0.0, "decay", "finite and at least 0"),
            (self.l2.is_finite() && self.l2 >= 0.0, "l2", "finite and at least 0"),
            (self.clip.is_none_or(positive), "clip", "finite and above 0"),
            (self.measure > 0, "measure", "at least 1"),
        ] {
            if !good {
                return Err(TrainError::Setting { setting, needs });
            }
        }
        Ok(())
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Number of steps done.
    pub step: usize,
    /// Share of right answers on the test examples, 0 to 1.
    pub accuracy: f64,
    /// Mean loss of the honest workers' batches, without the L2 term, before the step that ended here; at step 0, of
    /// the first batches.
    pub loss: f64,
    /// The realised coefficient of resilience: ‖R − m̄‖ / max ‖mᵢ − mⱼ‖ over the momentums mᵢ of the honest workers and their
    /// mean m̄, at the step that ended here; at step 0, at the first step. No more than λ of a resilient rule; NaN when the
    /// momentums are all the same.
    pub lambda: f64,
    /// The spread of the honest momentums at that step: the mean of ‖mᵢ − m̄‖².
    pub spread: f64,
}

/// What one run measured and learned.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Measurements in the order of the steps; the first is at step 0, the last at the end.
    pub points: Vec<Point>,
    /// The last θ.
    pub parameters: Vec<f32>,
}

impl History {
    /// Test accuracy at the end, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.accuracy)
    }
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is out of its range.
    #[error("{setting} must be {needs}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it must be.
        needs: &'static str,
    },
    /// The data are damaged or do not fit the model.
    #[error("unusable data: {0}")]
    Data(String),
    /// A NaN or an infinity came up: the run diverged, or the rule let one through.
    #[error("step {step}: {what} is not finite; the run diverged, or the rule let a hostile row through")]
    NonFinite {
        /// What is not finite.
        what: &'static str,
        /// Steps done before.
        step: usize,
    },
    /// There is nothing of that name.
    #[error("no {what} is called '{name}'; choose one of {known}")]
    Unknown {
        /// What is looked for.
        what: &'static str,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The parameters of a model could not be read.
    #[error(transparent)]
    Spec(#[from] crate::Error),
    /// The server or the model returned a number of values that does not fit.
    #[error("step {step}: {what} has {found} values, expected {expected}")]
    Length {
        /// What has the wrong length.
        what: &'static str,
        /// Steps done before.
        step: usize,
        /// Values returned.
        found: usize,
        /// Values that fit.
        expected: usize,
    },
    /// The attack failed.
    #[error("step {step}: {source}")]
    Attack {
        /// Steps done before.
        step: usize,
        /// Its own words.
        source: AttackError,
    },
    /// The server failed.
    #[error("step {step}: {what} failed: {source}")]
    Part {
        /// Which one.
        what: &'static str,
        /// Steps done before.
        step: usize,
        /// Its own words.
        source: BoxError,
    },
    /// The figure could not be drawn.
    #[error("cannot draw the figure: {0}")]
    Figure(String),
}

/// Trains `model` on `data` from a seeded start: [`train_with`] without `progress`.
///
/// # Errors
/// As [`train_with`].
pub fn train(
    model: &dyn Model,
    data: &Split,
    config: &Config,
    attack: &mut dyn Attack,
    server: &mut dyn Server,
) -> Result<History, TrainError> {
    train_with(model, data, config, attack, server, &mut |_| {})
}

/// Trains `model` on `data` from a seeded start and calls `progress` with each measurement. `attack` must be a new one.
///
/// # Errors
/// [`TrainError`]: settings or data that cannot work, an attack or a server that fails, and, by step, the first loss,
/// momentum, aggregate or parameter that is not finite.
pub fn train_with(
    model: &dyn Model,
    data: &Split,
    config: &Config,
    attack: &mut dyn Attack,
    server: &mut dyn Server,
    progress: &mut dyn FnMut(&Point),
) -> Result<History, TrainError> {
    config.check()?;
    check_data(model, data)?;
    let d = model.parameters();
    let attackers = attack.attackers(config.byzantine).min(config.byzantine);
    let honest = config.workers - attackers;

    let mut seeds = Rng::with_seed(config.seed);
    let mut theta = model.init(&mut seeds.fork());
    length("the model's start", 0, &theta, d)?;
    let mut workers: Vec<_> = (0..honest).map(|_| seeds.fork()).collect();
    let shares = config.partition.shares(&data.train, honest, &mut seeds.fork())?;
    let mut noise = seeds.fork();
    let no_room = |_| TrainError::Setting {
        setting: "workers",
        needs: "fewer, or the model smaller: there is no memory for their gradients",
    };
    let mut gradients = room(honest, d, 0.0f32).map_err(no_room)?;
    let mut momentums = room(honest, d, 0.0f32).map_err(no_room)?;
    let mut points = vec![];

    for step in 0..config.steps {
        let draws = workers
            .iter_mut()
            .zip(&shares)
            .flat_map(|(rng, share)| iter::repeat_with(|| share[rng.usize(..share.len())]).take(config.batch).collect::<Vec<_>>());
        let batch = data.train.select(draws);
        let mut honest_gradients = |batch: &Dataset, rows: &mut [f32]| {
            let losses = model.gradients(&theta, batch, honest, &mut noise, rows);
            for row in rows.chunks_exact_mut(d) {
                row.iter_mut().zip(&theta).for_each(|(g, t)| *g += config.l2 * t);
                config.clip.iter().for_each(|&longest| clip(row, longest));
            }
            losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / honest as f64
        };

        let loss = honest_gradients(&batch, &mut gradients);
        finite("the loss", step, &[loss as f32])?;
        momentums.iter_mut().zip(&gradients).for_each(|(m, g)| *m = config.beta * *m + (1.0 - config.beta) * g);
        // A rule would take overflowing honest workers for hostile ones.
        finite("a momentum", step, &momentums)?;
        let flipped = (attackers > 0 && attack.flips_labels()).then(|| {
            honest_gradients(&batch.flipped(), &mut gradients);
            narrow(mean(&gradients.chunks_exact(d).collect::<Vec<_>>()))
        });

        let sent: Vec<&[f32]> = momentums.chunks_exact(d).collect();
        let failed = |source| TrainError::Part { what: "the server", step, source };
        let (sent, aggregate) = {
            let server = RefCell::new(&mut *server);
            let ask = |rows: &Rows| server.borrow_mut().combine(rows);
            let line = |rows: &Rows, attackers| server.borrow_mut().worst_on_line(rows, attackers);
            let row = match attackers {
                0 => None,
                _ => byzantine_row(attack, &sent, attackers, flipped.as_deref(), (&ask, &line))
                    .map_err(|source| TrainError::Attack { step, source })?,
            };
            let rows: Vec<&[f32]> =
                sent.iter().copied().chain(row.iter().flat_map(|row| iter::repeat_n(&row[..], attackers))).collect();
            let aggregate = Rows::from_rows(&rows).map_err(Into::into).and_then(|rows| ask(&rows)).map_err(failed)?;
            (sent, aggregate)
        };
        length("the aggregate", step, &aggregate, d)?;

        let done = step + 1;
        let due = done % config.measure == 0 || done == config.steps;
        let averaging = (step == 0 || due).then(|| averaging(&sent, &aggregate));
        let mut measure = |step, theta: &[f32]| {
            let (lambda, spread) = averaging.expect("measured at this step");
            let point = Point { step, accuracy: model.accuracy(theta, &data.test), loss, lambda, spread };
            progress(&point);
            points.push(point);
        };
        if step == 0 {
            measure(0, &theta);
        }
        finite("the aggregate", step, &aggregate)?;
        let rate = config.rate.at(step);
        theta.iter_mut().zip(&aggregate).for_each(|(t, r)| *t -= rate * r);
        finite("a parameter", step, &theta)?;
        if due {
            measure(done, &theta);
        }
    }
    Ok(History { points, parameters: theta })
}

/// Whether examples of so many features in so many classes fit the model.
fn check_sizes(model: &dyn Model, (features, classes): (usize, usize)) -> Result<(), TrainError> {
    let sizes = model.sizes();
    if sizes == (features, classes) {
        return Ok(());
    }
    let has = format!("examples of {features} features in {classes} classes");
    Err(TrainError::Data(format!("{has} for a model of {} in {}: take another model, or other data", sizes.0, sizes.1)))
}

/// Whether the data fit the model.
fn check_data(model: &dyn Model, data: &Split) -> Result<(), TrainError> {
    let (inputs, classes) = model.sizes();
    for part in [&data.train, &data.test] {
        check_sizes(model, (part.inputs, part.classes))?;
        let problem = if part.is_empty() {
            "no examples".into()
        } else if part.features.len() != part.len() * inputs {
            format!("{} features for {} examples of {inputs}", part.features.len(), part.len())
        } else if part.labels.iter().any(|&y| usize::from(y) >= classes) {
            format!("a label outside the {classes} classes")
        } else {
            continue;
        };
        return Err(TrainError::Data(problem));
    }
    Ok(())
}

/// The row of the Byzantine workers, if they send one.
fn byzantine_row(
    attack: &mut dyn Attack,
    honest: &[&[f32]],
    f: usize,
    flipped: Option<&[f32]>,
    (ask, line): (&AskRule, &AskLine),
) -> Result<Option<Vec<f32>>, AttackError> {
    let scene = Scene::new(honest, f)?.with_rule(ask).with_line(line);
    attack.row(&match flipped {
        Some(row) => scene.with_flipped(row)?,
        None => scene,
    })
}

/// The realised coefficient of resilience and the spread of the honest rows: see [`Point`].
fn averaging(honest: &[&[f32]], aggregate: &[f32]) -> (f64, f64) {
    let mean = narrow(mean(honest));
    let mut diameter2 = 0.0f64;
    for (i, row) in honest.iter().enumerate() {
        diameter2 = honest[..i].iter().map(|other| distance2(row, other)).fold(diameter2, f64::max);
    }
    let spread = honest.iter().map(|row| distance2(row, &mean)).sum::<f64>() / honest.len() as f64;
    ((distance2(aggregate, &mean) / diameter2).sqrt(), spread)
}

/// ‖a − b‖², in f64.
fn distance2(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (f64::from(*a) - f64::from(*b)).powi(2);
        }
    }
    sums.iter().sum()
}

/// Scales a row down to the norm `longest` if it is longer.
fn clip(row: &mut [f32], longest: f32) {
    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let factor = (f64::from(longest) / norm) as f32;
    if factor < 1.0 {
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

fn finite(what: &'static str, step: usize, values: &[f32]) -> Result<(), TrainError> {
    match values.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(TrainError::NonFinite { what, step }),
    }
}

fn length(what: &'static str, step: usize, values: &[f32], expected: usize) -> Result<(), TrainError> {
    match values.len() == expected {
        true => Ok(()),
        false => Err(TrainError::Length { what, step, found: values.len(), expected }),
    }
}

#[cfg(test)]
mod tests;
