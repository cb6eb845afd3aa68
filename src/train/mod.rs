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
//! Everything follows from [`Config::seed`]: worker i draws the same batches whatever the rule, the attack or β (of data that are split,
//! among attacks that leave as many workers honest).
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
mod place;
mod server;

pub use crate::attacks::BoxError;
pub use dataset::{Dataset, Split};
pub use model::Model;
pub use network::Network;
pub use partition::Partition;
#[cfg(feature = "burn")]
pub use place::TensorServer;
pub use server::{RuleServer, Server};

use std::fmt::Display;
use std::iter;
use std::sync::Arc;

use fastrand::Rng;

use crate::attacks::{Attack, AttackError, mean, narrow};
use crate::gram::MOST_ROWS;
#[cfg(feature = "burn")]
use place::OnDevice;
use place::{Host, Place};

/// Most examples in a step, of all workers.
const TOGETHER: usize = 1 << 20;
/// What fails where gradients are taken.
const MODEL: &str = "the model's device";

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
    /// The only source of randomness: of the start, the split and the batches, and of what rules and attacks draw beside their own seeds.
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
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        let (f, n) = (self.byzantine, self.workers);
        for (good, setting, found, needs) in [
            (n > 0, "workers (n)", &n as &dyn Display, "at least 1"),
            (f < n, "byzantine (f)", &format_args!("{f} of {n} workers"), "fewer than the workers"),
            (n <= MOST_ROWS, "workers (n)", &n, "at most 4096"),
            (self.batch <= TOGETHER / n.clamp(1, TOGETHER), "batch", &self.batch, "at most 2^20 examples a step, of all workers"),
            ((0.0..1.0).contains(&self.beta), "beta", &self.beta, "at least 0 and below 1"),
            (self.steps > 0, "steps", &self.steps, "at least 1"),
            (self.batch > 0, "batch", &self.batch, "at least 1"),
            (positive(self.rate.initial), "learning rate", &self.rate.initial, "finite and above 0"),
            (not_negative(self.rate.decay), "decay", &self.rate.decay, "finite and at least 0"),
            (self.partition.is_possible(), "split", &self.partition, "of an alpha that is finite and at least 0.01"),
            (not_negative(self.l2), "l2", &self.l2, "finite and at least 0"),
            (self.clip.is_none_or(positive), "clip", &self.clip.unwrap_or_default(), "finite and above 0"),
            (self.measure > 0, "measure", &self.measure, "at least 1"),
        ] {
            if !good {
                return Err(TrainError::Setting { setting, found: found.to_string(), needs });
            }
        }
        Ok(())
    }

    /// Whether the split leaves each worker that is honest under the attack an example to learn from, as a run would find at its start.
    ///
    /// # Errors
    /// [`TrainError::Setting`]; [`TrainError::Data`] with the worker that has none.
    pub fn check_split(&self, data: &Split, attack: &dyn Attack) -> Result<(), TrainError> {
        self.check()?;
        let (_, honest) = self.cast(attack);
        let Seeds { mut split, .. } = Seeds::new(self.seed, honest);
        self.partition.shares(&data.train, honest, &mut split).map(|_| ())
    }

    /// How many attack, and how many are honest.
    fn cast(&self, attack: &dyn Attack) -> (usize, usize) {
        let attackers = attack.attackers(self.byzantine).min(self.byzantine);
        (attackers, self.workers - attackers)
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
    #[error("{setting} = {found}, but it must be {needs}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it is.
        found: String,
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
    #[error("no {what} is called '{name}'; {known}")]
    Unknown {
        /// What is looked for.
        what: &'static str,
        /// The name given.
        name: String,
        /// The names there are, and the one that was meant, if it can be told.
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
    /// The server failed, or the device that the model is on.
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
    let mut start = Start::of(model, data, config, attack)?;
    let no_room = || TrainError::Setting {
        setting: "workers (n)",
        found: config.workers.to_string(),
        needs: "fewer, or the model smaller: there is no memory for their gradients",
    };
    let mut place = Host::new(model, server, start.workers.len(), std::mem::take(&mut start.theta)).ok_or_else(no_room)?;
    start.run(&mut place, attack, progress)
}

/// [`train_with`] of a network on a device of burn (`network.on(&device)`) that the server's engine shares: gradients, momentums and θ
/// stay there. What passes through the host at a step is the batches with their noise (twice for flipped labels), the losses, and the
/// attackers' row with what it is made of: the mean of the momentums or of the flipped gradients, their deviations for ALIE; all momentums
/// for attacks that look at single rows or search, and at steps that are measured. A search asks the [`RuleServer`], from host memory.
///
/// The same seed draws the same batches as on the host; values differ by rounding.
///
/// # Errors
/// As [`train_with`].
#[cfg(feature = "burn")]
pub fn train_on_device(
    network: &Network,
    data: &Split,
    config: &Config,
    attack: &mut dyn Attack,
    server: &TensorServer,
    progress: &mut dyn FnMut(&Point),
) -> Result<History, TrainError> {
    let start = Start::of(network, data, config, attack)?;
    let mut place = OnDevice::new(network, server, start.workers.len(), &start.theta);
    start.run(&mut place, attack, progress)
}

/// A run at its start: all that its seed decides before the first step.
struct Start<'a> {
    data: &'a Split,
    config: &'a Config,
    attackers: usize,
    d: usize,
    theta: Vec<f32>,
    /// The batches of each honest worker.
    workers: Vec<Rng>,
    /// The training examples of each.
    shares: Vec<Arc<[usize]>>,
    /// For models that learn with noise.
    noise: Rng,
    /// For what rules and attacks draw.
    draws: Rng,
}

/// What follows from a seed.
struct Seeds {
    theta: Rng,
    /// One for each honest worker.
    workers: Vec<Rng>,
    split: Rng,
    noise: Rng,
    draws: Rng,
}

impl Seeds {
    fn new(seed: u64, honest: usize) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let theta = seeds.fork();
        let workers = (0..honest).map(|_| seeds.fork()).collect();
        Self { theta, workers, split: seeds.fork(), noise: seeds.fork(), draws: seeds.fork() }
    }
}

impl<'a> Start<'a> {
    fn of(model: &dyn Model, data: &'a Split, config: &'a Config, attack: &dyn Attack) -> Result<Self, TrainError> {
        config.check()?;
        check_data(model, data)?;
        let (attackers, honest) = config.cast(attack);
        let mut seeds = Seeds::new(config.seed, honest);
        let theta = model.init(&mut seeds.theta);
        let d = model.parameters();
        length("the model's start", 0, theta.len(), d)?;
        let shares = config.partition.shares(&data.train, honest, &mut seeds.split)?;
        let Seeds { workers, noise, draws, .. } = seeds;
        Ok(Self { data, config, attackers, d, theta, workers, shares, noise, draws })
    }

    /// All steps.
    fn run(
        mut self,
        place: &mut dyn Place,
        attack: &mut dyn Attack,
        progress: &mut dyn FnMut(&Point),
    ) -> Result<History, TrainError> {
        let Self { data, config, attackers, d, .. } = self;
        let mut points = vec![];
        for step in 0..config.steps {
            let failed = |what| move |source| TrainError::Part { what, step, source };
            let draws = self.workers.iter_mut().zip(&self.shares).flat_map(|(rng, share)| {
                iter::repeat_with(|| share[rng.usize(..share.len())]).take(config.batch).collect::<Vec<_>>()
            });
            let batch = data.train.select(draws);
            let number = self.draws.u64(..);
            place.draw(number);
            attack.draw(number);
            let loss = place.gradients(&batch, config, &mut self.noise).map_err(failed(MODEL))?;
            finite("the loss", step, (loss as f32).is_finite())?;
            // A rule would take overflowing honest workers for hostile ones.
            finite("a momentum", step, place.update(config.beta).map_err(failed(MODEL))?)?;
            let row = match attackers {
                0 => None,
                _ => {
                    let flipped = match attack.flips_labels() {
                        true => {
                            place.gradients(&batch.flipped(), config, &mut self.noise).map_err(failed(MODEL))?;
                            Some(place.mean_gradient().map_err(failed(MODEL))?)
                        }
                        false => None,
                    };
                    place.attacked(attack, attackers, flipped.as_deref()).map_err(|source| TrainError::Attack { step, source })?
                }
            };
            length("the aggregate", step, place.combine(row.as_deref(), attackers).map_err(failed("the server"))?, d)?;

            let done = step + 1;
            let due = done % config.measure == 0 || done == config.steps;
            let averaging = (step == 0 || due).then(|| place.averaging()).transpose().map_err(failed(MODEL))?;
            let mut measure = |done, place: &dyn Place| -> Result<(), TrainError> {
                let (lambda, spread) = averaging.expect("measured at this step");
                let accuracy = place.accuracy(&data.test).map_err(failed(MODEL))?;
                let point = Point { step: done, accuracy, loss, lambda, spread };
                progress(&point);
                points.push(point);
                Ok(())
            };
            if step == 0 {
                measure(0, place)?;
            }
            finite("the aggregate", step, place.finite().map_err(failed("the server"))?)?;
            finite("a parameter", step, place.step(config.rate.at(step)).map_err(failed(MODEL))?)?;
            if due {
                measure(done, place)?;
            }
        }
        let parameters = place.parameters().map_err(|source| TrainError::Part { what: MODEL, step: config.steps, source })?;
        Ok(History { points, parameters })
    }
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

fn finite(what: &'static str, step: usize, finite: bool) -> Result<(), TrainError> {
    match finite {
        true => Ok(()),
        false => Err(TrainError::NonFinite { what, step }),
    }
}

fn length(what: &'static str, step: usize, found: usize, expected: usize) -> Result<(), TrainError> {
    match found == expected {
        true => Ok(()),
        false => Err(TrainError::Length { what, step, found, expected }),
    }
}

#[cfg(test)]
mod tests;
