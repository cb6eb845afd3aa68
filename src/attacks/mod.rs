//! What Byzantine workers send: one file per attack.
//!
//! An attack sees everything ([`Scene`]: the rows that the honest workers send at this step, and the server's rule) and
//! answers with one row of d values, which every Byzantine worker sends. Letters: n workers, d coordinates, f Byzantine
//! workers, ḡ the mean and s the unbiased per-coordinate standard deviation of the honest rows.
//!
//! | name | row | file |
//! |---|---|---|
//! | `none` | the Byzantine workers behave honestly | `none.rs` |
//! | `alie` | ḡ − z·s; z given, the original's (`z=max`), or searched (`z=search`) | `alie.rs` |
//! | `foe` (`ipm`) | (1 − ν)·ḡ; ν given, or searched (`nu=search`) | `foe.rs` |
//! | `sign_flip` (`sf`) | −ḡ | `sign_flip.rs` |
//! | `label_flip` (`lf`) | mean gradient on the labels (C − 1) − y | `label_flip.rs` |
//! | `mimic` | the row of one honest worker | `mimic.rs` |
//! | `gaussian` | noise | `gaussian.rs` |
//! | `nan`, `inf`, `zero`, `huge` | NaN, ∞, 0 or 3·10³⁸ in every coordinate | `fault.rs` |
//! | `silent` | nothing is sent | `silent.rs` |
//!
//! A search tries 16 factors at each step and takes the one whose aggregate is farthest from ḡ; where the rule is decided by inner
//! products, so is the search, at the cost of one aggregate ([`worst_on_line`]).
//!
//! To add one: a file with the type and its [`Attack`], its [`Entry`], and a line in [`list`].
//!
//! ```
//! use resam::attacks::{Scene, by_name};
//!
//! let (a, b) = ([1.0, 2.0], [3.0, 2.0]);
//! let honest: [&[f32]; 2] = [&a, &b];
//! let row = by_name("foe:nu=3")?.row(&Scene::new(&honest, 1)?)?;
//! assert_eq!(row, Some(vec![-4.0, -4.0])); // (1 − 3)·(2, 2)
//! # Ok::<(), resam::attacks::AttackError>(())
//! ```

mod alie;
mod factor;
mod fault;
mod foe;
mod gaussian;
mod label_flip;
mod line;
mod mimic;
mod none;
mod sign_flip;
mod silent;

pub use alie::{Alie, Deviations};
pub use factor::Factor;
pub use fault::Fault;
pub use foe::Foe;
pub use gaussian::Gaussian;
pub use label_flip::LabelFlip;
pub use line::worst_on_line;
pub use mimic::Mimic;
pub use none::NoAttack;
pub use sign_flip::SignFlip;
pub use silent::Silent;

use std::fmt::Debug;

use crate::Rows;
use crate::parameters::Parameters;

/// An error of somebody else's part, such as a rule.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A strategy of the Byzantine workers. What it keeps belongs to one run: make another for another run.
pub trait Attack: Debug + Send {
    /// The attack's name in a SPEC, such as `alie`.
    fn name(&self) -> &'static str;

    /// One line for people: the row and its parameters.
    fn description(&self) -> String {
        self.name().into()
    }

    /// How many of the f workers attack; the others stay honest. Only [`NoAttack`] answers 0.
    fn attackers(&self, f: usize) -> usize {
        f
    }

    /// Called before each step with a number of its own, from the run's seed, for what is random in the attack. Nothing by default.
    fn draw(&mut self, number: u64) {
        let _ = number;
    }

    /// Whether [`Scene::flipped`] is needed.
    fn flips_labels(&self) -> bool {
        false
    }

    /// The row (d values) that every Byzantine worker sends at this step, or `None` if they send nothing.
    ///
    /// But for faults it is finite if the honest rows are finite and small enough for the formula's result to fit an `f32`.
    ///
    /// # Errors
    /// [`AttackError::FlippedMissing`] if the attack [flips labels](Self::flips_labels) and the scene has no such row;
    /// [`AttackError::RuleMissing`] if it asks the rule and the scene has none; [`AttackError::Impossible`] if it has no row
    /// for these workers; [`AttackError::Rule`] if the rule fails; [`AttackError::Unread`] if a device does.
    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError>;
}

/// The server's rule, as an attack may ask it: from the n rows of all workers to one.
pub type AskRule<'a> = dyn Fn(&Rows) -> Result<Vec<f32>, BoxError> + 'a;

/// The same in short for rows on a line, as [`worst_on_line`] answers: from the honest rows with p behind them, and the number of
/// attackers, to the factor. `None` if only trying rows can tell.
pub type AskLine<'a> = dyn Fn(&Rows, usize) -> Option<f64> + 'a;

/// The rows of the honest workers.
#[derive(Clone, Copy)]
enum Honest<'a> {
    Here(&'a [&'a [f32]]),
    Elsewhere(&'a dyn Elsewhere),
}

/// Honest rows, at least one, that are not in host memory: what is asked for is read, and no more.
pub(crate) trait Elsewhere {
    /// Number of rows and of coordinates, both at least 1.
    fn sizes(&self) -> [usize; 2];
    /// All of them, one after the other.
    fn rows(&self) -> Result<&[f32], BoxError>;
    /// As [`Scene::mean`].
    fn mean(&self) -> Result<Vec<f64>, BoxError>;
    /// As [`Scene::mean_and_std`].
    fn mean_and_std(&self) -> Result<(Vec<f64>, Vec<f64>), BoxError>;
}

/// What an attack knows at one step: everything.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    honest: Honest<'a>,
    f: usize,
    flipped: Option<&'a [f32]>,
    rule: Option<&'a AskRule<'a>>,
    line: Option<&'a AskLine<'a>>,
}

impl<'a> Scene<'a> {
    /// A scene of the rows that the honest workers send, and of f attackers.
    ///
    /// # Errors
    /// [`AttackError::NoHonestRow`] without a row; [`AttackError::Width`] if the rows differ in length.
    pub fn new(honest: &'a [&'a [f32]], f: usize) -> Result<Self, AttackError> {
        let d = honest.first().ok_or(AttackError::NoHonestRow)?.len();
        match honest.iter().position(|row| row.len() != d) {
            Some(row) => Err(AttackError::Width { row, found: honest[row].len(), expected: d }),
            None => Ok(Self::of(Honest::Here(honest), f)),
        }
    }

    /// A scene of rows that are not in host memory.
    #[cfg_attr(not(all(feature = "train", feature = "burn")), allow(dead_code))] // only there are such rows
    pub(crate) fn elsewhere(honest: &'a dyn Elsewhere, f: usize) -> Self {
        Self::of(Honest::Elsewhere(honest), f)
    }

    fn of(honest: Honest<'a>, f: usize) -> Self {
        Self { honest, f, flipped: None, rule: None, line: None }
    }

    /// Number of honest rows and of coordinates.
    fn sizes(&self) -> [usize; 2] {
        match self.honest {
            Honest::Here(rows) => [rows.len(), rows[0].len()],
            Honest::Elsewhere(rows) => rows.sizes(),
        }
    }

    /// Adds the row of a worker that follows the honest protocol on flipped labels (see [`LabelFlip`]).
    ///
    /// # Errors
    /// [`AttackError::Width`], naming the row after the honest ones, if it is not d long.
    pub fn with_flipped(self, flipped: &'a [f32]) -> Result<Self, AttackError> {
        if flipped.len() != self.d() {
            return Err(AttackError::Width { row: self.sizes()[0], found: flipped.len(), expected: self.d() });
        }
        Ok(Self { flipped: Some(flipped), ..self })
    }

    /// Adds the rule of the server, for attacks that try rows on it.
    #[must_use]
    pub fn with_rule(self, rule: &'a AskRule<'a>) -> Self {
        Self { rule: Some(rule), ..self }
    }

    /// Adds a quick answer for rows on a line, for attacks that search.
    #[must_use]
    pub fn with_line(self, line: &'a AskLine<'a>) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The factor c ≥ 0 with which ḡ + c·(p − ḡ) harms most, if there is a quick way to know it.
    pub fn worst_on_line(&self, p: &[f32]) -> Option<f64> {
        let line = self.line?;
        let rows: Vec<&[f32]> = self.honest().ok()?.into_iter().chain([p]).collect();
        line(&Rows::from_rows(&rows).ok()?, self.f)
    }

    /// What the server would make of the honest rows and f copies of `row`.
    ///
    /// # Errors
    /// [`AttackError::RuleMissing`] without a rule; [`AttackError::Rule`] with what the rule refuses; as [`Scene::honest`].
    pub fn aggregate(&self, row: &[f32]) -> Result<Vec<f32>, AttackError> {
        let rule = self.rule.ok_or(AttackError::RuleMissing)?;
        let sent: Vec<&[f32]> = self.honest()?.into_iter().chain(std::iter::repeat_n(row, self.f)).collect();
        let rows = Rows::from_rows(&sent).map_err(|error| AttackError::Rule(error.into()))?;
        rule(&rows).map_err(AttackError::Rule)
    }

    /// The rows that the honest workers send; at least one, all d long. Where they are on a device this reads all of them;
    /// [`Scene::mean`] and [`Scene::mean_and_std`] read one or two rows.
    ///
    /// # Errors
    /// [`AttackError::Unread`] when a device fails.
    pub fn honest(&self) -> Result<Vec<&'a [f32]>, AttackError> {
        match self.honest {
            Honest::Here(rows) => Ok(rows.to_vec()),
            Honest::Elsewhere(rows) => Ok(rows.rows().map_err(AttackError::Unread)?.chunks_exact(self.d()).collect()),
        }
    }

    /// Number of attackers.
    pub fn f(&self) -> usize {
        self.f
    }

    /// Number of workers: honest rows and attackers.
    pub fn n(&self) -> usize {
        self.sizes()[0] + self.f
    }

    /// Number of coordinates.
    pub fn d(&self) -> usize {
        self.sizes()[1]
    }

    /// The row of flipped labels, if the caller gave one.
    pub fn flipped(&self) -> Option<&'a [f32]> {
        self.flipped
    }

    /// ḡ: the mean of the honest rows, summed in f64, or in f32 on a device.
    ///
    /// # Errors
    /// As [`Scene::honest`].
    pub fn mean(&self) -> Result<Vec<f64>, AttackError> {
        match self.honest {
            Honest::Here(rows) => Ok(mean(rows)),
            Honest::Elsewhere(rows) => rows.mean().map_err(AttackError::Unread),
        }
    }

    /// (ḡ, s): mean and unbiased standard deviation (divisor n − f − 1) per coordinate; s = 0 for a single honest row.
    ///
    /// # Errors
    /// As [`Scene::honest`].
    pub fn mean_and_std(&self) -> Result<(Vec<f64>, Vec<f64>), AttackError> {
        let rows = match self.honest {
            Honest::Here(rows) => rows,
            Honest::Elsewhere(rows) => return rows.mean_and_std().map_err(AttackError::Unread),
        };
        let mean = mean(rows);
        let mut std = vec![0.0; self.d()];
        for row in rows {
            for ((s, &x), m) in std.iter_mut().zip(*row).zip(&mean) {
                *s += (f64::from(x) - m).powi(2);
            }
        }
        let freedom = (rows.len() - 1).max(1) as f64;
        std.iter_mut().for_each(|s| *s = (*s / freedom).sqrt());
        Ok((mean, std))
    }
}

/// One line of the list of attacks.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in a SPEC.
    pub name: &'static str,
    /// Other accepted names.
    pub aliases: &'static [&'static str],
    /// A short title for tables and figures.
    pub title: &'static str,
    /// Its parameters for people; empty without any.
    pub parameters: &'static str,
    build: Build,
}

/// Makes an attack from its parameters.
type Build = fn(&mut Parameters) -> crate::Result<Box<dyn Attack>>;

/// Every attack, in the order in which tables and figures show them.
pub fn list() -> &'static [Entry] {
    &[
        none::ENTRY,
        alie::ENTRY,
        foe::ENTRY,
        sign_flip::ENTRY,
        label_flip::ENTRY,
        mimic::ENTRY,
        gaussian::ENTRY,
        fault::NAN,
        fault::INF,
        fault::ZERO,
        fault::HUGE,
        silent::ENTRY,
    ]
}

/// A new attack as `spec` names it: `name` or `name:key=value`, such as `sf`, `alie:z=0.5` or `gaussian:sigma=1,seed=3`.
///
/// # Errors
/// [`AttackError::Unknown`] for a name outside [`list`], [`AttackError::Spec`] for a parameter that the attack does not
/// have or a value that it does not take. Both say what would be right.
pub fn by_name(spec: &str) -> Result<Box<dyn Attack>, AttackError> {
    let (name, rest) = spec.split_once(':').map_or((spec, None), |(name, rest)| (name, Some(rest)));
    let name = name.trim();
    let entry = list()
        .iter()
        .find(|entry| entry.name == name || entry.aliases.contains(&name))
        .ok_or_else(|| AttackError::Unknown { name: name.into() })?;
    let mut parameters = Parameters::parse(spec, rest)?;
    let attack = (entry.build)(&mut parameters)?;
    parameters.finish(entry.name)?;
    Ok(attack)
}

/// Why there is no attack, or no row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// No attack has this name.
    #[error("no attack is called '{name}'; {}", crate::spec::known(name, list().iter().map(|entry| entry.name)))]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The attack's parameters are not what it takes.
    #[error(transparent)]
    Spec(#[from] crate::Error),
    /// An attack needs at least one honest row.
    #[error("an attack needs at least one honest row to look at")]
    NoHonestRow,
    /// A row has another length than the first one.
    #[error("row {row} has {found} coordinates, but the first row has {expected}")]
    Width {
        /// Index of the row.
        row: usize,
        /// Its length.
        found: usize,
        /// d, the length of the first row.
        expected: usize,
    },
    /// Label flipping needs [`Scene::with_flipped`].
    #[error("label flipping needs the row of a worker that trains on flipped labels")]
    FlippedMissing,
    /// A searched factor needs [`Scene::with_rule`].
    #[error("a search needs the rule of the server to try rows on")]
    RuleMissing,
    /// The rule, asked by an attack, failed.
    #[error("the attack asked the rule, which failed: {0}")]
    Rule(#[source] BoxError),
    /// The honest rows are on a device that failed.
    #[error("the honest rows could not be read: {0}")]
    Unread(#[source] BoxError),
    /// The attack has no row for these workers.
    #[error("{reason}")]
    Impossible {
        /// Which numbers do not go together.
        reason: String,
    },
}

/// The mean of rows of equal length, of which there is one, summed in f64.
pub(crate) fn mean<R: AsRef<[f32]>>(rows: &[R]) -> Vec<f64> {
    let mut mean = vec![0.0; rows[0].as_ref().len()];
    for row in rows {
        mean.iter_mut().zip(row.as_ref()).for_each(|(m, &x)| *m += f64::from(x));
    }
    mean.iter_mut().for_each(|m| *m /= rows.len() as f64);
    mean
}

/// Rounds each value to `f32`.
pub(crate) fn narrow(values: impl IntoIterator<Item = f64>) -> Vec<f32> {
    values.into_iter().map(|x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_is_found_by_each_of_its_names() {
        for entry in list() {
            for name in entry.aliases.iter().chain([&entry.name]) {
                assert_eq!(by_name(name).unwrap().name(), entry.name);
            }
        }
    }

    #[test]
    fn parameters_are_read_and_wrong_ones_are_explained() {
        for (spec, part) in
            [("alie:z=0.25", "0.25"), ("alie:z=max", "z_max"), ("alie:z=search", "searched"), ("ipm:tau=0.5", "1.5")]
        {
            assert!(by_name(spec).unwrap().description().contains(part), "{spec}");
        }
        for (spec, hint) in [
            ("krum", "none, alie, foe, sign_flip, label_flip"),
            ("mimik", "did you mean 'mimic'?"),
            ("alie:nu=1", "it takes z"),
            ("alie:z=nan", "a finite number or search or max"),
            ("foe:nu=max", "a finite number or search"),
            ("alie:", "not key=value"),
            ("sf:z=1", "it takes none"),
            ("mimic:worker=-1", "worker = '-1'"),
        ] {
            let message = by_name(spec).unwrap_err().to_string();
            assert!(message.contains(hint), "{spec}: {message}");
        }
    }

    #[test]
    fn scenes_are_checked() {
        assert!(matches!(Scene::new(&[], 1), Err(AttackError::NoHonestRow)));
        let ragged: [&[f32]; 2] = [&[1.0, 2.0], &[1.0]];
        assert!(matches!(Scene::new(&ragged, 1), Err(AttackError::Width { row: 1, found: 1, expected: 2 })));
        let honest: [&[f32]; 1] = [&[1.0, 2.0]];
        let scene = Scene::new(&honest, 3).unwrap();
        assert_eq!((scene.n(), scene.d(), scene.f()), (4, 2, 3));
        assert!(scene.with_flipped(&[0.0]).is_err());
        assert_eq!(scene.mean_and_std().unwrap(), (vec![1.0, 2.0], vec![0.0, 0.0]));
    }

    #[test]
    fn moments_keep_their_digits_far_from_zero() {
        let honest: [&[f32]; 3] = [&[1e7 - 1.0], &[1e7], &[1e7 + 1.0]];
        assert_eq!(Scene::new(&honest, 0).unwrap().mean_and_std().unwrap(), (vec![1e7], vec![1.0]));
    }

    #[test]
    fn moments_do_not_overflow() {
        let honest: [&[f32]; 2] = [&[f32::MAX], &[f32::MAX]];
        let scene = Scene::new(&honest, 1).unwrap();
        assert_eq!(SignFlip.row(&scene).unwrap().unwrap(), [-f32::MAX]);
        assert_eq!(Alie::default().row(&scene).unwrap().unwrap(), [f32::MAX]);
    }
}
