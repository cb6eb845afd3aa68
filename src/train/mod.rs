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
//! Momentums", ICML 2022. The loop knows no rule: it asks a [`Server`]. Where momentums live is up to a [`Momentum`].
//! Rows 0 … n−f−1 are the honest workers', the last f the Byzantine ones'.
//!
//! Everything follows from [`Config::seed`]: worker i draws the same batches whatever the rule, the attack or β.
//!
//! ```
//! use resam::{attacks::by_name, train::{Config, Mlp, digits, train}};
//!
//! let data = digits::load()?;
//! let model = Mlp::new(64, &[16], 10);
//! let config = Config { workers: 5, byzantine: 1, beta: 0.9, steps: 20, ..Config::default() };
//! // Any rule: here the plain average.
//! let mut average = |sent: &[f32], n: usize| -> Result<Vec<f32>, String> {
//!     let d = sent.len() / n;
//!     Ok((0..d).map(|k| sent[k..].iter().step_by(d).sum::<f32>() / n as f32).collect())
//! };
//! let history = train(&model, &data, &config, &*by_name("alie")?, &mut average)?;
//! assert_eq!(history.points.last().unwrap().step, 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dataset;
pub mod digits;
pub mod figure;
mod model;
mod momentum;
mod server;

pub use dataset::{Dataset, Split};
pub use model::{Gradients, Mlp};
pub use momentum::{EngineMomentum, HostMomentum, Momentum};
pub use server::{RuleServer, Server};

use crate::attacks::{Attack, AttackError, Scene};

/// An error of somebody else's part: a server or a momentum.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The learning rate γₜ = initial / (1 + ⌊t / hold⌋).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// γ₀.
    pub initial: f32,
    /// Steps between two drops; 0 keeps the rate constant.
    pub hold: usize,
}

impl Rate {
    /// γₜ.
    pub fn at(self, t: usize) -> f32 {
        self.initial / (1 + t.checked_div(self.hold).unwrap_or(0)) as f32
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
            rate: Rate { initial: 1.0, hold: 0 },
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
            ((0.0..1.0).contains(&self.beta), "beta", "at least 0 and below 1"),
            (self.steps > 0, "steps", "at least 1"),
            (self.batch > 0, "batch", "at least 1"),
            (positive(self.rate.initial), "learning rate", "finite and above 0"),
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
    /// The server or the momentum returned a number of values that does not fit.
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
    /// The server or the momentum failed.
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

/// Trains `model` on `data` from a seeded start, with momentum in host memory: [`train_with`] in short.
///
/// # Errors
/// As [`train_with`].
pub fn train(
    model: &Mlp,
    data: &Split,
    config: &Config,
    attack: &dyn Attack,
    server: &mut dyn Server,
) -> Result<History, TrainError> {
    train_with(model, data, config, attack, server, &mut HostMomentum::new(config.beta), &mut |_| {})
}

/// Trains `model` on `data` with a momentum of the caller's, which must start at zero and know β itself
/// ([`Config::beta`] is then not used), and calls `progress` with each measurement.
///
/// # Errors
/// [`TrainError`]: settings or data that cannot work, an attack, server or momentum that fails, and, by step, the first
/// loss, row, aggregate or parameter that is not finite.
pub fn train_with(
    model: &Mlp,
    data: &Split,
    config: &Config,
    attack: &dyn Attack,
    server: &mut dyn Server,
    momentum: &mut dyn Momentum,
    progress: &mut dyn FnMut(&Point),
) -> Result<History, TrainError> {
    config.check()?;
    check_data(model, data)?;
    let d = model.parameters();
    let n = config.workers;
    let attackers = attack.attackers(config.byzantine).min(config.byzantine);
    let honest = n - attackers;

    let mut seeds = fastrand::Rng::with_seed(config.seed);
    let mut theta = model.init(&mut seeds.fork());
    let mut workers: Vec<_> = (0..honest).map(|_| seeds.fork()).collect();
    let mut points = vec![];

    for step in 0..config.steps {
        let draws = workers.iter_mut().flat_map(|rng| {
            let bound = data.train.len();
            std::iter::repeat_with(move || rng.usize(..bound)).take(config.batch)
        });
        let batch = data.train.select(draws);
        let honest_gradients = |batch: &Dataset| {
            let mut gradients = model.gradients(&theta, batch, honest, config.l2);
            if let Some(longest) = config.clip {
                gradients.rows.chunks_exact_mut(d).for_each(|row| clip(row, longest));
            }
            gradients
        };

        let Gradients { rows, losses } = honest_gradients(&batch);
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / honest as f64;
        finite("the loss", step, &[loss as f32])?;
        if step == 0 {
            points.push(measure(model, &theta, data, 0, loss, progress));
        }

        let momentums = momentum.update(&rows).map_err(|source| TrainError::Part { what: "the momentum", step, source })?;
        length("the momentum", step, momentums, honest * d)?;
        let mut sent = momentums.to_vec();
        if attackers > 0 {
            let flipped = match attack.flips_labels() {
                true => {
                    let Gradients { rows, .. } = honest_gradients(&batch.flipped());
                    Some(mean_row(&rows, d))
                }
                false => None,
            };
            let row = byzantine_row(attack, momentums, d, attackers, flipped.as_deref())
                .map_err(|source| TrainError::Attack { step, source })?;
            (0..attackers).for_each(|_| sent.extend_from_slice(&row));
        }

        let aggregate = server.combine(&sent, n).map_err(|source| TrainError::Part { what: "the server", step, source })?;
        length("the aggregate", step, &aggregate, d)?;
        finite("the aggregate", step, &aggregate)?;
        let rate = config.rate.at(step);
        theta.iter_mut().zip(&aggregate).for_each(|(t, r)| *t -= rate * r);
        finite("a parameter", step, &theta)?;

        let done = step + 1;
        if done % config.measure == 0 || done == config.steps {
            points.push(measure(model, &theta, data, done, loss, progress));
        }
    }
    Ok(History { points, parameters: theta })
}

/// Whether the data fit the model.
fn check_data(model: &Mlp, data: &Split) -> Result<(), TrainError> {
    let (inputs, classes) = model.sizes();
    for part in [&data.train, &data.test] {
        let problem = if part.is_empty() {
            "no examples".into()
        } else if (part.inputs, part.classes) != (inputs, classes) {
            format!("{} features and {} classes for a model of {inputs} and {classes}", part.inputs, part.classes)
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

/// The row of the Byzantine workers.
fn byzantine_row(
    attack: &dyn Attack,
    momentums: &[f32],
    d: usize,
    f: usize,
    flipped: Option<&[f32]>,
) -> Result<Vec<f32>, AttackError> {
    let rows: Vec<&[f32]> = momentums.chunks_exact(d).collect();
    let scene = Scene::new(&rows, f)?;
    attack.row(&match flipped {
        Some(row) => scene.with_flipped(row)?,
        None => scene,
    })
}

/// Measures θ after `step` steps.
fn measure(model: &Mlp, theta: &[f32], data: &Split, step: usize, loss: f64, progress: &mut dyn FnMut(&Point)) -> Point {
    let point = Point { step, accuracy: model.accuracy(theta, &data.test), loss };
    progress(&point);
    point
}

/// Scales a row down to the norm `longest` if it is longer.
fn clip(row: &mut [f32], longest: f32) {
    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let factor = (f64::from(longest) / norm) as f32;
    if factor < 1.0 {
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// The mean of rows of d values, summed in f64.
fn mean_row(rows: &[f32], d: usize) -> Vec<f32> {
    let count = (rows.len() / d) as f64;
    (0..d).map(|k| (rows[k..].iter().step_by(d).map(|&x| f64::from(x)).sum::<f64>() / count) as f32).collect()
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
