//! The rules, one file each: definition, requirement on (n, f), ties, resilience coefficient λ, plan and literal reference.
//!
//! A rule never reads data and never sees a device: it returns a [`Plan`] that any engine executes.
//! To add a rule, add a file and one line to the `CATALOGUE` in this one: tests, benches, the command line and the rule
//! table iterate over it.

mod average;
mod geometric_median;
mod krum;
pub(crate) mod literal;
mod mda;
mod meamed;
mod median;
mod multi_krum;
mod trimmed_mean;

pub use average::Average;
pub use geometric_median::{GeometricMedian, Method};
pub use krum::{Krum, Neighbors};
pub use mda::MinimumDiameterAveraging;
pub use meamed::MeaMed;
pub use median::Median;
pub use multi_krum::MultiKrum;
pub use trimmed_mean::TrimmedMean;

use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::plan::Plan;
use std::sync::Arc;

/// What a rule does with rows that hold NaN or infinite values (at most f of them; more are an error).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// Order them: every bit pattern has a place in each column, and at most f land in the tails that are cut.
    Order,
    /// Leave the k rows out and run as (n − k, f − k) on the others; n − f stays what it was.
    LeaveOut,
    /// Take them as they are: the result is what the formula gives.
    Propagate,
}

/// An aggregation rule: from n rows, of which at most f are Byzantine, to one.
///
/// Implement it for a rule of your own; the engines take any `&dyn Rule`.
pub trait Rule: std::fmt::Debug + Send + Sync {
    /// Name in specifications, e.g. `trimmed_mean`.
    fn name(&self) -> &'static str;

    /// The specification that builds this rule again, e.g. `krum:neighbors=3`.
    fn spec(&self) -> String {
        self.name().to_string()
    }

    /// Definition in one line.
    fn definition(&self) -> &'static str;

    /// What it requires of (n, f), in words.
    fn needs(&self) -> &'static str {
        "f < n/2"
    }

    /// Refuses (n, f) for which the rule has no meaning or no guarantee.
    ///
    /// # Errors
    /// [`Error::Requirement`] or [`Error::Parameter`], with the numbers.
    fn check(&self, n: usize, f: usize) -> Result<()> {
        require(self, n, f, f < n.div_ceil(2))
    }

    /// λ such that ‖F(x) − mean_S‖ ≤ λ · max_{i,j∈S} ‖x_i − x_j‖ for every S of n − f rows, where one is known; `None`
    /// where none exists or none is proved.
    fn lambda(&self, n: usize, f: usize, d: usize) -> Option<f64>;

    /// What happens to rows with NaN or infinite values.
    fn non_finite(&self) -> NonFinite;

    /// How engines compute it. Called only with (n, f) that [`Rule::check`] accepts.
    fn plan(&self, n: usize, f: usize, d: usize) -> Plan;

    /// The definition, computed literally in f64, for n ≥ 1 rows of equal length. The twin that every engine is tested
    /// against: it must not call what the plan calls.
    fn reference(&self, rows: &[Vec<f64>], f: usize) -> Vec<f64>;
}

/// The error of [`Rule::check`] unless `holds`.
pub(crate) fn require<R: Rule + ?Sized>(rule: &R, n: usize, f: usize, holds: bool) -> Result<()> {
    if n > 0 && holds {
        return Ok(());
    }
    Err(Error::Requirement { rule: rule.name().into(), n, f, needs: rule.needs().into() })
}

/// A rule's constructor: takes the parameters it knows; what is left over is an error of the caller's.
type Build = fn(&mut Parameters) -> Result<Arc<dyn Rule>>;

/// Every rule by its name in specifications.
const CATALOGUE: &[(&str, Build)] = &[
    ("average", |_| Ok(Arc::new(Average))),
    ("median", |_| Ok(Arc::new(Median))),
    ("trimmed_mean", |_| Ok(Arc::new(TrimmedMean))),
    ("meamed", |_| Ok(Arc::new(MeaMed))),
    ("krum", |p| Ok(Arc::new(Krum::from_parameters(p)?))),
    ("multi_krum", |p| Ok(Arc::new(MultiKrum::from_parameters(p)?))),
    ("mda", |_| Ok(Arc::new(MinimumDiameterAveraging))),
    ("geometric_median", |p| Ok(Arc::new(GeometricMedian::from_parameters(p)?))),
];

/// Names of all rules, in the order of the rule table.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    CATALOGUE.iter().map(|(name, _)| *name)
}

/// Every rule with its default parameters.
pub fn all() -> Vec<Arc<dyn Rule>> {
    let none = || Parameters::default();
    CATALOGUE.iter().map(|(_, build)| build(&mut none()).expect("every rule has defaults")).collect()
}

/// The rule of that name with these parameters.
pub(crate) fn build(name: &str, parameters: &mut Parameters) -> Option<Result<Arc<dyn Rule>>> {
    CATALOGUE.iter().find(|(n, _)| *n == name).map(|(_, build)| build(parameters))
}

/// Δ = min{2√(n−f), √d}: what coordinate-wise rules pay for looking at one coordinate at a time.
pub(crate) fn coordinate_factor(n: usize, f: usize, d: usize) -> f64 {
    (2.0 * ((n - f) as f64).sqrt()).min((d as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_rule_as_it_is() {
        let readme = include_str!("../../README.md");
        for rule in all() {
            let row = format!("| `{}` | {} | {} |", rule.name(), rule.definition(), rule.needs());
            assert!(readme.contains(&row), "{row}");
        }
    }

    #[test]
    fn impossible_f_is_refused_with_the_numbers() {
        for rule in all() {
            for (n, f) in [(0, 0), (1, 1), (4, 2), (5, 3), (10, 11)] {
                let refused = rule.check(n, f);
                if rule.non_finite() == NonFinite::Propagate && f <= n && n > 0 {
                    assert_eq!(refused, Ok(()));
                } else {
                    let text = refused.unwrap_err().to_string();
                    assert!(text.contains(&format!("f = {f}")) && text.contains(&format!("n = {n}")), "{text}");
                }
            }
            for (n, f) in [(1, 0), (2, 0), (3, 1), (15, 7)] {
                assert_eq!(rule.check(n, f), Ok(()));
                assert!(rule.lambda(n, f, 10).is_none_or(|l| l >= f as f64 / (n - f) as f64));
            }
        }
    }
}
